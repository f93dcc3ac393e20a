//! Generated operations on a memory agree with a plain `Vec<u8>`, under every strategy, image mode,
//! commit policy and fuel mode.
//!
//! `PROPTEST_CASES` sets the number of cases. A failure is shrunk to few operations.

#![expect(clippy::unwrap_used, reason = "a test ends where its expectation fails")]

use palimpsest_engine::{
    Commit, Config, Engine, Error, Fixed, Fuel, Images, Instance, Linker, Memory, Module, Store,
    StoreOptions, Strategy, TrapCode, Val,
};
use proptest::{
    collection::vec,
    prelude::{Strategy as _, any},
    test_runner::{Config as Cases, RngSeed, TestCaseError, TestRunner},
};
use std::{mem::MaybeUninit, sync::OnceLock};

const WASM_PAGE: u64 = 65_536;
/// The declared maximum of the memory, in Wasm pages.
const MAXIMUM: u64 = 5;
/// The content of the passive segment.
const PASSIVE: &[u8] = b"a passive segment";
/// The active segments, by their places. The second one crosses a page of 4 KiB.
const ACTIVE: [(usize, &[u8]); 2] = [(10, b"at the start"), (65_530, b"in two Wasm pages")];

const GUEST: &str = r#"(module
    (import "palimpsest" "clear_pages" (func $clear_pages (param i32 i32) (result i32)))
    (memory (export "memory") 2 5)
    (data (i32.const 10) "at the start") (data (i32.const 65530) "in two Wasm pages")
    (data $passive "a passive segment")
    (func (export "load") (param i32) (result i32) (i32.load8_u (local.get 0)))
    (func (export "store") (param i32 i32) (i32.store8 (local.get 0) (local.get 1)))
    (func (export "fill") (param i32 i32 i32)
        (memory.fill (local.get 0) (local.get 1) (local.get 2)))
    (func (export "copy") (param i32 i32 i32)
        (memory.copy (local.get 0) (local.get 1) (local.get 2)))
    (func (export "init") (param i32 i32 i32)
        (memory.init $passive (local.get 0) (local.get 1) (local.get 2)))
    (func (export "drop") (data.drop $passive))
    (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
    (func (export "clear_pages") (param i32 i32) (drop (call $clear_pages (local.get 0) (local.get 1)))))"#;

/// Returns the guest's module.
fn wasm() -> &'static [u8] {
    static WASM: OnceLock<Vec<u8>> = OnceLock::new();
    WASM.get_or_init(|| wat::parse_str(GUEST).unwrap())
}

/// An operation: what is done, and three numbers.
#[derive(Clone, Copy, Debug)]
struct Operation {
    kind: u8,
    at: u32,
    from: u32,
    len: u32,
}

impl Operation {
    /// Places near the borders of pages, lengths of all magnitudes, and a few that are too large.
    fn of([kind, at, from, len]: [u16; 4]) -> Self {
        let place = |number: u16| match number % 16 {
            15 => u32::MAX - u32::from(number >> 4),
            border => u32::from(border % 7) * 32_768 + u32::from(number >> 8),
        };
        let len = u32::from(len) << (kind >> 12) >> (kind >> 8 & 15);
        Self { kind: kind.to_le_bytes()[0] % 16, at: place(at), from: place(from), len }
    }
}

/// A guest, and the bytes that its memory must have.
struct Pair {
    engine: Engine,
    module: Module,
    options: StoreOptions,
    store: Store<()>,
    instance: Instance,
    memory: Memory,
    bytes: Vec<u8>,
    is_dropped: bool,
}

fn instantiate(engine: &Engine, module: &Module, options: StoreOptions) -> (Store<()>, Instance, Memory) {
    let mut store = Store::with_options(engine, (), options);
    // An engine that is not metered refuses it.
    let _ = store.set_fuel(u64::MAX >> 1);
    let instance = Linker::new().instantiate(&mut store, module).unwrap();
    let memory = instance.get_memory(&store, "memory").unwrap();
    (store, instance, memory)
}

/// The bytes of a new memory.
fn initial() -> Vec<u8> {
    let mut bytes = vec![0; 2 * 65_536];
    for (at, part) in ACTIVE {
        bytes[at..at + part.len()].copy_from_slice(part);
    }
    bytes
}

impl Pair {
    fn new(engine: Engine, options: StoreOptions) -> Self {
        let module = Module::new(&engine, wasm()).unwrap();
        let (store, instance, memory) = instantiate(&engine, &module, options);
        Self { engine, module, options, store, instance, memory, bytes: initial(), is_dropped: false }
    }

    fn call(&mut self, name: &str, arguments: &[u32]) -> Result<u32, Error> {
        let arguments: Vec<_> = arguments.iter().map(|value| Val::I32(value.cast_signed())).collect();
        let func = self.instance.get_func(&self.store, name).unwrap();
        let mut results = vec![Val::I32(0); func.ty(&self.store).results().len()];
        func.call(&mut self.store, &arguments, &mut results)?;
        Ok(results.first().and_then(Val::i32).unwrap_or(0).cast_unsigned())
    }

    /// Returns the range if it is inside the memory.
    fn range(&self, at: u32, len: u32) -> Option<std::ops::Range<usize>> {
        let range = at as usize..at as usize + len as usize;
        (range.end <= self.bytes.len()).then_some(range)
    }

    /// Zeroes the range in the model. Returns whether it is inside.
    fn zero(&mut self, at: u64, len: u64) -> bool {
        let end = at.checked_add(len).filter(|end| *end <= self.bytes.len() as u64);
        let range = end.map(|end| usize::try_from(at).unwrap()..usize::try_from(end).unwrap());
        if let Some(range) = range.clone() {
            self.bytes[range].fill(0);
        }
        range.is_some()
    }

    fn step(&mut self, Operation { kind, at, from, len }: Operation) {
        let out_of_bounds = |done: Result<u32, Error>, fits: bool| match done {
            Ok(_) => assert!(fits, "the range is not inside"),
            Err(error) => {
                assert_eq!(
                    (error.as_trap_code(), fits),
                    (Some(TrapCode::MemoryOutOfBounds), false),
                    "{error}"
                );
            }
        };
        let (pages, count) = (u64::from(at) / 32_768 % 7, u64::from(len % 4));
        match kind {
            0 => match (self.call("load", &[at]), self.bytes.get(at as usize)) {
                (Ok(byte), Some(expected)) => assert_eq!(byte, u32::from(*expected)),
                (done, expected) => out_of_bounds(done, expected.is_some()),
            },
            1 | 2 => {
                let done = self.call("store", &[at, from]);
                let byte = self.bytes.get_mut(at as usize);
                out_of_bounds(done, byte.is_some());
                byte.into_iter().for_each(|byte| *byte = from.to_le_bytes()[0]);
            }
            3 | 4 => {
                let done = self.call("fill", &[at, from, len]);
                let range = self.range(at, len);
                out_of_bounds(done, range.is_some());
                range.into_iter().for_each(|range| self.bytes[range].fill(from.to_le_bytes()[0]));
            }
            5 | 6 => {
                let done = self.call("copy", &[at, from, len]);
                let ranges = self.range(at, len).zip(self.range(from, len));
                out_of_bounds(done, ranges.is_some());
                if let Some((_, source)) = ranges {
                    self.bytes.copy_within(source, at as usize);
                }
            }
            7 => {
                let (start, len) = (from % 20, len % 20);
                let done = self.call("init", &[at, start, len]);
                let segment = if self.is_dropped { &[][..] } else { PASSIVE };
                let source = segment.get(start as usize..(start + len) as usize);
                let both = self.range(at, len).zip(source);
                out_of_bounds(done, both.is_some());
                both.into_iter().for_each(|(range, source)| self.bytes[range].copy_from_slice(source));
            }
            8 => {
                self.call("drop", &[]).unwrap();
                self.is_dropped = true;
            }
            9 => self.grow(count),
            10 => {
                let fits = self.zero(pages * WASM_PAGE, count * WASM_PAGE);
                let pages = [u32::try_from(pages).unwrap(), u32::try_from(count).unwrap()];
                assert_eq!(self.call("clear_pages", &pages).is_ok(), fits);
            }
            11 => {
                let fits = self.zero(pages * WASM_PAGE, count * WASM_PAGE);
                let strategy = strategies()[from as usize % 4];
                let cleared = self.memory.clear_pages_with(&mut self.store, pages, count, strategy);
                assert_eq!(cleared.is_ok(), fits);
            }
            12 => {
                let fits = self.zero(at.into(), len.into());
                assert_eq!(self.memory.release(&mut self.store, at.into(), len.into()).is_ok(), fits);
            }
            13 => {
                let fits = self.zero(pages * WASM_PAGE, count * WASM_PAGE);
                let cleared = self.memory.discard(&mut self.store, pages * WASM_PAGE, count * WASM_PAGE);
                assert_eq!(cleared.is_ok(), fits);
            }
            14 => {
                let bytes = &PASSIVE[..(len % 18) as usize];
                let written = self.memory.write(&mut self.store, at as usize, bytes);
                let range = self.range(at, bytes.len().try_into().unwrap());
                assert_eq!(written.is_ok(), range.is_some());
                range.into_iter().for_each(|range| self.bytes[range].copy_from_slice(bytes));
            }
            _ => {
                let (store, instance, memory) = instantiate(&self.engine, &self.module, self.options);
                (self.store, self.instance, self.memory) = (store, instance, memory);
                (self.bytes, self.is_dropped) = (initial(), false);
            }
        }
    }

    fn grow(&mut self, delta: u64) {
        let pages = self.bytes.len() as u64 / WASM_PAGE;
        let grown = self.call("grow", &[u32::try_from(delta).unwrap()]).unwrap();
        if pages + delta > MAXIMUM {
            assert_eq!(grown, u32::MAX);
        } else {
            assert_eq!(u64::from(grown), pages);
            self.bytes.resize(usize::try_from((pages + delta) * WASM_PAGE).unwrap(), 0);
        }
    }
}

fn strategies() -> [Strategy; 4] {
    [Strategy::Decommit, Strategy::Recommit, Strategy::ZeroNow, Strategy::Deferred]
}

/// Returns a configuration for each number below 32, and all of them together.
fn config(number: u8) -> (Config, StoreOptions) {
    let fuel = if number & 1 == 0 { Fuel::Unmetered } else { Fuel::Metered };
    let images = if number & 2 == 0 { Images::CopyOnWrite } else { Images::Off };
    let commit = if number & 4 == 0 { Commit::OnTouch } else { Commit::Reserved };
    let strategy = strategies()[usize::from(number >> 3 & 3)];
    let config = Config::default().fuel(fuel).images(images).strategy(strategy);
    (config, StoreOptions { commit, ..StoreOptions::default() })
}

#[test]
fn a_memory_agrees_with_a_vector_under_every_configuration() {
    let bytes = Box::leak(vec![MaybeUninit::uninit(); 4 << 20].into_boxed_slice());
    let backing = Fixed::new(bytes);
    let free = backing.free_bytes();
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(192);
    let cases = Cases { cases, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..Cases::default() };
    let operations = vec(any::<[u16; 4]>().prop_map(Operation::of), 0..40);
    let result = TestRunner::new(cases).run(&(0..32_u8, operations), |(number, operations)| {
        let (config, options) = config(number);
        let mut pair = Pair::new(Engine::new(config, backing.clone()).unwrap(), options);
        for operation in operations {
            pair.step(operation);
            let bytes = pair.memory.data(&pair.store);
            if bytes != pair.bytes {
                let different = bytes.iter().zip(&pair.bytes).position(|(byte, expected)| byte != expected);
                panic!("{} bytes, {different:?} is different after {operation:?}", bytes.len());
            }
        }
        drop(pair);
        assert_eq!(backing.free_bytes(), free, "memory is in use after the end of the store");
        Ok::<(), TestCaseError>(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
}
