//! Forks of an initialized program, with the state that WASI and the heap keep for it.

use alloc::{format, string::String, sync::Arc, vec::Vec};

use kernel_demo::Machine;
use palimpsest_engine::{Config, DataError, Linker, SnapshotData, Store};
use palimpsest_heap::{Heap, HeapState};
use palimpsest_wasi::{Wasi, WasiState};
use spin::Mutex;

use crate::{
    harness::{Accounts, Checks, VmTest},
    wasm::{Program, config, engine, guest, module},
};

pub(crate) const TESTS: &[VmTest] = &[VmTest::new("a-thousand-forks-are-alive-at-once", 9, thousand_forks)];

const FORKS: u32 = 1000;

/// What the guest's `run` returns: the block's word, and the first word of each page of 1 MiB.
const SUM: u32 = 41 + 4096 * (255 * 256 / 2);

/// The bytes of a machine in which all forks must fit.
const MACHINE_BYTES: u64 = 128 << 20;

struct World {
    wasi: Wasi,
    heap: Heap,
}

impl World {
    fn new(output: &Arc<Mutex<String>>) -> Self {
        let output = Arc::clone(output);
        let write = move |bytes: &[u8]| output.lock().push_str(&String::from_utf8_lossy(bytes));
        Self { wasi: Wasi::builder().stdout(write).build(), heap: Heap::default() }
    }
}

impl SnapshotData for World {
    type State = (WasiState, HeapState);

    fn save(&mut self) -> Result<Self::State, DataError> {
        Ok((self.wasi.save()?, self.heap.save()?))
    }

    fn restore(&mut self, (wasi, heap): &Self::State) -> Result<(), DataError> {
        self.wasi.restore(wasi)?;
        self.heap.restore(heap)
    }
}

fn linker() -> Linker<World> {
    let mut linker = Linker::new();
    palimpsest_wasi::add_to_linker(&mut linker, |world: &mut World| &mut world.wasi).expect("it is empty");
    palimpsest_heap::add_to_linker(&mut linker, |world: &mut World| &mut world.heap)
        .expect("only WASI is there");
    linker
}

fn thousand_forks(checks: &mut Checks, machine: &Machine) {
    let engine = engine(machine, Config::snapshots(config(machine), true));
    let module = module(&engine, guest!("fork-server"));
    let before = Accounts::of(machine);
    let linker = linker();
    let output = Arc::default();
    let mut store = Store::new(&engine, World::new(&output));
    let instance = linker.instantiate(&mut store, &module).expect("the guest links");
    let mut source = Program::new(store, instance);
    source.must::<(), ()>("initialize", ());
    checks.equal("the guest is ready for a snapshot", source.store.take_snapshot_ready(), true);
    let resident = source.residency().resident_frames;
    let snapshot = source.store.snapshot(instance).expect("the store is idle");
    let start = Accounts::of(machine);
    let mut forks = Vec::new();
    let mut wrong = 0;
    for number in 0..FORKS {
        let output = Arc::default();
        let mut store = Store::new(&engine, World::new(&output));
        let instance = linker.fork(&mut store, &snapshot).expect("the snapshot is of this engine");
        let mut fork = Program::new(store, instance);
        wrong += u32::from(fork.call::<u32, u32>("run", number).ok() != Some(SUM));
        wrong += u32::from(*output.lock() != format!("{number}"));
        forks.push(fork);
    }
    checks.equal("forks that did not print their number or lost something", wrong, 0);
    let all = Accounts::of(machine);
    let frames = start.free_frames - all.free_frames;
    let heap_bytes = (all.heap_bytes - start.heap_bytes) as u64;
    checks.at_most("frames of a fork, tables included", frames.div_ceil(FORKS.into()), 5);
    checks.at_most("bytes of frames and of the kernel heap", frames * 4096 + heap_bytes, MACHINE_BYTES / 2);
    let fresh_bytes = u64::from(FORKS) * resident * 4096;
    checks.equal("new instances would fit as well", fresh_bytes <= MACHINE_BYTES, false);
    checks.equal("what the source computes", source.must::<u32, u32>("run", 7), SUM);
    checks.equal("what the source prints", output.lock().as_str(), "7");
    drop((snapshot, source));
    let last = forks.pop().map(|mut fork| fork.must::<(), ()>("initialize", ()));
    checks.equal("a fork runs on without its snapshot", last, Some(()));
    drop(forks);
    drop((linker, output));
    checks.equal("free frames", Accounts::of(machine).free_frames, before.free_frames);
}
