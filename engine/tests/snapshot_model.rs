//! Generated sequences of writes, clears, growths, snapshots, forks and drops agree with plain
//! copies of the bytes. Forks and snapshots are dropped in any order, and give all bytes back.
//!
//! `PROPTEST_CASES` sets the number of cases. A failure is shrunk to few operations.

#![expect(clippy::unwrap_used, reason = "a test ends where its expectation fails")]

use palimpsest_engine::{
    Config, Engine, Fixed, Images, Instance, Linker, Memory, Module, Snapshot, Store, Strategy,
};
use proptest::{
    collection::vec,
    prelude::any,
    test_runner::{Config as Cases, RngSeed, TestCaseError, TestRunner},
};
use std::{mem::MaybeUninit, ops::Range};

const WASM_PAGE: usize = 65_536;

const GUEST: &str = r#"(module
    (memory (export "memory") 2 5) (table $t (export "table") 2 6 funcref)
    (global $count (mut i64) (i64.const 0))
    (type $f (func (result i32)))
    (data (i32.const 10) "at the start") (data (i32.const 65530) "in two Wasm pages")
    (data $passive "a passive segment")
    (elem (table $t) (i32.const 0) func $one $two)
    (func $one (result i32) (i32.const 1)) (func $two (result i32) (i32.const 2))
    (func (export "init") (memory.init $passive (i32.const 70000) (i32.const 0) (i32.const 17)))
    (func (export "drop") (data.drop $passive))
    (func (export "swap") (local funcref)
        (local.set 0 (table.get $t (i32.const 0)))
        (table.set $t (i32.const 0) (table.get $t (i32.const 1)))
        (table.set $t (i32.const 1) (local.get 0)))
    (func (export "first") (result i32) (call_indirect $t (type $f) (i32.const 0)))
    (func (export "count") (result i64)
        (global.set $count (i64.add (global.get $count) (i64.const 1))) (global.get $count)))"#;

/// What a guest must have.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Model {
    bytes: Vec<u8>,
    first: i32,
    count: i64,
    is_dropped: bool,
}

impl Model {
    fn new() -> Self {
        let mut bytes = vec![0; 2 * WASM_PAGE];
        bytes[10..22].copy_from_slice(b"at the start");
        bytes[65_530..65_547].copy_from_slice(b"in two Wasm pages");
        Self { bytes, first: 1, count: 0, is_dropped: false }
    }
}

/// A guest, and what it must have.
struct Guest {
    store: Store<()>,
    instance: Instance,
    memory: Memory,
    model: Model,
    /// What it must have had at its last snapshot, or at its start.
    base: Model,
}

impl Guest {
    fn of(mut store: Store<()>, instance: Instance, model: Model) -> Self {
        let memory = instance.get_memory(&mut store, "memory").unwrap();
        Self { store, instance, memory, base: model.clone(), model }
    }

    fn call(&mut self, name: &str) -> bool {
        let func = self.instance.get_typed_func::<(), ()>(&self.store, name).unwrap();
        func.call(&mut self.store, ()).is_ok()
    }

    fn check(&mut self) -> Result<(), TestCaseError> {
        let first = self.instance.get_typed_func::<(), i32>(&self.store, "first").unwrap();
        let count = self.instance.get_typed_func::<(), i64>(&self.store, "count").unwrap();
        let first = first.call(&mut self.store, ()).unwrap();
        let count = count.call(&mut self.store, ()).unwrap();
        self.model.count += 1;
        if (first, count) != (self.model.first, self.model.count) {
            return Err(TestCaseError::fail(format!(
                "{first} {count}, not {:?}",
                (self.model.first, self.model.count)
            )));
        }
        if self.memory.data(&self.store) != self.model.bytes {
            return Err(TestCaseError::fail("the bytes are others"));
        }
        Ok(())
    }

    /// Checks that the pages which are reported as written are those that differ.
    fn check_written(&mut self) -> Result<(), TestCaseError> {
        let mut written: Vec<Range<u64>> = Vec::new();
        self.memory.each_written(&mut self.store, |wasm_pages| written.push(wasm_pages));
        for (index, page) in (0..).zip(self.model.bytes.chunks(WASM_PAGE)) {
            let start = usize::try_from(index).unwrap() * WASM_PAGE;
            let before = self.base.bytes.get(start..start + WASM_PAGE);
            let differs = before.map_or_else(|| page.iter().any(|byte| *byte != 0), |before| before != page);
            if differs != written.iter().any(|range| range.contains(&index)) {
                return Err(TestCaseError::fail(format!("Wasm page {index}: {differs}, {written:?}")));
            }
        }
        Ok(())
    }
}

/// Guests and snapshots of one engine.
struct World {
    engine: Engine,
    module: Module,
    images: Images,
    guests: Vec<Guest>,
    snapshots: Vec<(Snapshot, Model)>,
}

/// Returns the one of several that a number selects.
fn select(count: usize, number: u16) -> Option<usize> {
    (count > 0).then(|| usize::from(number) % count.max(1))
}

impl World {
    fn operate(&mut self, [kind, which, at, len]: [u16; 4]) -> Result<(), TestCaseError> {
        let kind = kind % 16;
        if kind < 3 {
            return self.renew(kind, which);
        }
        if kind < 6 {
            return self.copy(kind, which, at);
        }
        let Some(guest) = select(self.guests.len(), which).map(|index| &mut self.guests[index]) else {
            return Ok(());
        };
        let size = guest.model.bytes.len();
        let start = usize::from(at) * 5 % size;
        match kind {
            6..=9 => {
                let range = start..size.min(start + usize::from(len % 9000));
                let value = u8::try_from(len >> 8).unwrap();
                guest.memory.data_mut(&mut guest.store)[range.clone()].fill(value);
                guest.model.bytes[range].fill(value);
            }
            10 => {
                let strategies =
                    [Strategy::Decommit, Strategy::Recommit, Strategy::ZeroNow, Strategy::Deferred];
                let page = start / WASM_PAGE;
                let strategy = strategies[usize::from(len % 4)];
                guest.memory.clear_pages_with(&mut guest.store, page as u64, 1, strategy).unwrap();
                guest.model.bytes[page * WASM_PAGE..][..WASM_PAGE].fill(0);
            }
            11 => {
                if guest.memory.grow(&mut guest.store, 1).is_ok() {
                    guest.model.bytes.resize(size + WASM_PAGE, 0);
                }
            }
            12 => {
                if guest.call("init") != guest.model.is_dropped {
                    if !guest.model.is_dropped {
                        guest.model.bytes[70_000..70_017].copy_from_slice(b"a passive segment");
                    }
                } else {
                    return Err(TestCaseError::fail("the segment is there, or not"));
                }
            }
            13 => {
                guest.call("drop");
                guest.model.is_dropped = true;
            }
            14 => {
                guest.call("swap");
                guest.model.first = 3 - guest.model.first;
            }
            _ => return guest.check_written(),
        }
        guest.check()
    }

    /// Starts a guest, or drops one or a snapshot.
    fn renew(&mut self, kind: u16, which: u16) -> Result<(), TestCaseError> {
        match kind {
            0 if self.guests.len() < 6 => {
                let mut store = Store::new(&self.engine, ());
                let instance = Linker::new().instantiate(&mut store, &self.module).unwrap();
                let mut guest = Guest::of(store, instance, Model::new());
                if self.images == Images::Off {
                    // The segments were written to the new memory.
                    guest.base.bytes.fill(0);
                }
                self.guests.push(guest);
            }
            1 => {
                select(self.guests.len(), which).map(|index| self.guests.swap_remove(index));
            }
            _ => {
                select(self.snapshots.len(), which).map(|index| self.snapshots.swap_remove(index));
            }
        }
        Ok(())
    }

    /// Snapshots a guest, forks a snapshot, or writes one as bytes and reads it.
    fn copy(&mut self, kind: u16, which: u16, other: u16) -> Result<(), TestCaseError> {
        match kind {
            3 => {
                if let Some(guest) = select(self.guests.len(), which).map(|index| &mut self.guests[index]) {
                    let snapshot = guest.store.snapshot(guest.instance).unwrap();
                    guest.base = guest.model.clone();
                    self.snapshots.push((snapshot, guest.model.clone()));
                    guest.check_written()?;
                }
            }
            4 if self.guests.len() < 6 => {
                if let Some((snapshot, model)) =
                    select(self.snapshots.len(), which).map(|index| &self.snapshots[index])
                {
                    let mut store = Store::new(&self.engine, ());
                    let instance = Linker::new().fork(&mut store, snapshot).unwrap();
                    let mut guest = Guest::of(store, instance, model.clone());
                    guest.check_written()?;
                    guest.check()?;
                    self.guests.push(guest);
                }
            }
            _ => {
                let Some(index) = select(self.snapshots.len(), which) else { return Ok(()) };
                let base = select(self.snapshots.len(), other).unwrap();
                let is_whole = self.snapshots[base].1.bytes.len() > self.snapshots[index].1.bytes.len();
                let mut bytes = Vec::new();
                let sink = |piece: &[u8]| {
                    bytes.extend_from_slice(piece);
                    Ok(())
                };
                let snapshot = &self.snapshots[index].0;
                let read = if is_whole {
                    snapshot.write_to(sink).unwrap();
                    Snapshot::read_from(&self.module, &bytes)
                } else {
                    snapshot.write_since(&self.snapshots[base].0, sink).unwrap();
                    Snapshot::read_since(&self.snapshots[base].0, &bytes)
                };
                self.snapshots[index].0 = read.unwrap();
            }
        }
        Ok(())
    }
}

fn run(images: Images, seed: u64) {
    let bytes = Box::leak(vec![MaybeUninit::uninit(); 8 << 20].into_boxed_slice());
    let backing = Fixed::new(bytes);
    let config = Config::default().snapshots(true).images(images);
    let engine = Engine::new(config, backing.clone()).unwrap();
    let module = Module::new(&engine, &wat::parse_str(GUEST).unwrap()).unwrap();
    let free = backing.free_bytes();
    let cases = Cases {
        cases: cases(),
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..Cases::default()
    };
    let operations = vec(any::<[u16; 4]>(), 1..60);
    let run = |operations: Vec<[u16; 4]>| {
        let (engine, module) = (engine.clone(), module.clone());
        let mut world = World { engine, module, images, guests: Vec::new(), snapshots: Vec::new() };
        world.renew(0, 0)?;
        operations.into_iter().try_for_each(|operation| world.operate(operation))?;
        world.guests.iter_mut().try_for_each(Guest::check)?;
        drop(world);
        if backing.free_bytes() == free { Ok(()) } else { Err(TestCaseError::fail("bytes are missing")) }
    };
    TestRunner::new(cases).run(&operations, run).unwrap();
}

fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(60)
}

#[test]
#[cfg_attr(miri, ignore = "it takes hours")]
fn a_tree_of_forks_agrees_with_plain_copies() {
    run(Images::CopyOnWrite, 14);
}

#[test]
#[cfg_attr(miri, ignore = "it takes hours")]
fn a_tree_of_forks_without_images_of_the_module_agrees_with_plain_copies() {
    run(Images::Off, 41);
}
