//! Snapshots: their forks share frames until they write, and every frame comes back.

use alloc::vec::Vec;

use kernel_demo::{Machine, clock, println};
use palimpsest_engine::{
    Engine, Instance, Linker, Memory, Module, Snapshot, SnapshotBudget, SnapshotError, SnapshotReadError,
    Store, Strategy,
};

use crate::{
    harness::{Checks, VmTest, commit_nothing_ahead},
    random::Random,
    wasm::{config, engine, guest, limits, module},
};

pub(crate) const TESTS: &[VmTest] = &[
    VmTest::new("forks-share-the-frames-of-a-snapshot", 20, shared),
    VmTest::new("a-snapshot-of-a-fork-shares-what-did-not-change", 5, shared_again),
    VmTest::new("a-snapshot-goes-on-in-another-engine", 7, moved),
    VmTest::new("pages-written-since-a-snapshot-or-a-mark-are-reported", 6, written),
    VmTest::new("images-above-their-limit-refuse-a-snapshot", 3, refused),
    VmTest::new("a-frame-of-snapshots-of-two-payers-is-charged-to-the-first", 11, charged),
    VmTest::new("a-tree-of-snapshots-agrees-with-plain-copies", 1, tree),
    VmTest::counting("a-fork-of-a-snapshot-takes-no-time-for-resident-pages", 1, same_time),
];

/// An engine with snapshots, whose images may have this many frames.
fn snapshotting(machine: &Machine, image_frames: u64) -> Engine {
    let mut limits = limits();
    limits.image_frames = image_frames;
    engine(machine, config(machine).limits(limits).snapshots(true))
}

/// A guest of `tests/vm/guests/forks.wat`.
struct Guest {
    store: Store<()>,
    instance: Instance,
    memory: Memory,
}

impl Guest {
    fn start(module: &Module) -> Self {
        let mut store = Store::new(module.engine(), ());
        let instance = Linker::new().instantiate(&mut store, module).expect("the guest imports nothing");
        Self::of(store, instance)
    }

    fn fork(snapshot: &Snapshot) -> Self {
        let mut store = Store::new(snapshot.module().engine(), ());
        let instance = Linker::new().fork(&mut store, snapshot).expect("the snapshot can be forked");
        Self::of(store, instance)
    }

    fn of(store: Store<()>, instance: Instance) -> Self {
        let memory = instance.get_memory(&store, "memory").expect("the guest exports its memory");
        Self { store, instance, memory }
    }

    fn snapshot(&mut self) -> Snapshot {
        self.store.snapshot(self.instance).expect("the guest can be recorded")
    }

    fn call<P: palimpsest_engine::WasmParams, R: palimpsest_engine::WasmResults>(
        &mut self,
        name: &str,
        params: P,
    ) -> R {
        let func = self.instance.get_typed_func::<P, R>(&self.store, name).expect("the guest exports it");
        func.call(&mut self.store, params).expect("the guest's function returns")
    }

    fn resident(&self) -> u64 {
        self.memory.residency(&self.store).resident_frames
    }
}

fn shared(checks: &mut Checks, machine: &Machine) {
    commit_nothing_ahead(machine);
    let engine = snapshotting(machine, 100);
    let mut source = Guest::start(&module(&engine, guest!("forks")));
    source.call::<_, ()>("touch", 20);
    checks.equal("what the guest counts", source.call::<_, i32>("count", ()), 11);
    checks.equal("elements before", source.call::<_, i32>("change", ()), 2);
    checks.equal("its frames", source.resident(), 20);
    let snapshot = source.snapshot();
    checks.equal("its frames after the snapshot", source.resident(), 0);
    checks.equal("frames of the snapshot", snapshot.image_frames(), 20);
    let [mut first, mut second] = [Guest::fork(&snapshot), Guest::fork(&snapshot)];
    checks.equal("frames of a fork", first.resident(), 0);
    checks.equal("what it counts", first.call::<_, i32>("count", ()), 22);
    checks.equal("what the other counts", second.call::<_, i32>("count", ()), 22);
    checks.equal("what the source counts", source.call::<_, i32>("count", ()), 22);
    first.call::<_, ()>("store", (4096, 77));
    checks.equal("frames after a write", first.resident(), 1);
    checks.equal("what was written", first.call::<_, u32>("load", 4096), 77);
    checks.equal("the byte in the other", second.call::<_, u32>("load", 4096), 1);
    checks.equal("the byte in the source", source.call::<_, u32>("load", 4096), 1);
    source.call::<_, ()>("store", (8192, 78));
    checks.equal("frames of the source after a write", source.resident(), 1);
    checks.equal("the byte in a fork", first.call::<_, u32>("load", 8192), 2);
    first.call::<_, ()>("clear", 0);
    checks.equal("frames after a clear", first.resident(), 0);
    checks.equal("what was cleared", first.call::<_, u32>("load", 8192), 0);
    drop((source, snapshot));
    checks.equal("the byte in a fork that is left", second.call::<_, u32>("load", 8192), 2);
    checks.equal("growth", second.call::<_, i32>("grow", 3), 4);
    checks.equal("what the first has after a clear", first.call::<_, u32>("load", 4096), 0);
}

fn shared_again(checks: &mut Checks, machine: &Machine) {
    commit_nothing_ahead(machine);
    let engine = snapshotting(machine, 200);
    let before = machine.space().usage().image_frames;
    let module = module(&engine, guest!("forks"));
    let mut source = Guest::start(&module);
    source.call::<_, ()>("touch", 40);
    let first = source.snapshot();
    let mut fork = Guest::fork(&first);
    fork.call::<_, ()>("touch", 2);
    let second = fork.snapshot();
    let own = module.image_frames();
    let frames = || machine.space().usage().image_frames - before;
    checks.equal("frames of the images", frames(), own + 42);
    drop((first, source));
    checks.equal("frames that a fork and its snapshot use", frames(), own + 40);
    let mut last = Guest::fork(&second);
    drop((second, fork));
    checks.equal("what the last fork reads", last.call::<_, u32>("load", 39 * 4096), 39);
    checks.equal("frames that it uses", frames(), own + 40);
    drop(last);
    checks.equal("frames of the module alone", frames(), own);
}

/// Writes a snapshot as bytes, and what changed since. Another engine reads both.
fn moved(checks: &mut Checks, machine: &Machine) {
    commit_nothing_ahead(machine);
    let mut guest = Guest::start(&module(&snapshotting(machine, 400), guest!("forks")));
    guest.call::<_, ()>("touch", 60);
    guest.call::<_, i32>("count", ());
    let first = guest.snapshot();
    guest.call::<_, ()>("store", (5 * 4096, 200));
    guest.call::<_, ()>("clear", 1);
    guest.call::<_, i32>("change", ());
    let second = guest.snapshot();
    let [mut whole, mut since] = [Vec::new(), Vec::new()];
    first.write_to(sink(&mut whole)).expect("the sink takes all");
    second.write_since(&first, sink(&mut since)).expect("the sink takes all");
    checks.at_most("bytes of what changed", since.len() as u64, 1000);
    drop((guest, first, second));

    let module = module(&snapshotting(machine, 400), guest!("forks"));
    let taken = || machine.space().turnover().taken_frames;
    let before = taken();
    let refused = Snapshot::<()>::read_from_within(&module, &whole, &SnapshotBudget::new(10));
    let expected = matches!(refused, Err(SnapshotReadError::Snapshot(SnapshotError::Budget { .. })));
    checks.equal("a budget of 10 frames for 60 pages", expected, true);
    checks.at_most("frames that it took to refuse them", taken() - before, 5);
    let base = Snapshot::<()>::read_from(&module, &whole).expect("the bytes are a snapshot");
    let read = Snapshot::<()>::read_since(&base, &since).expect("the bytes belong to the base");
    let mut fork = Guest::fork(&read);
    checks.equal("what it counts", fork.call::<_, i32>("count", ()), 22);
    let bytes = [5, 20, 59].map(|page| fork.call::<_, u32>("load", page * 4096));
    checks.equal("the bytes of three pages", bytes, [200, 0, 59]);
    let mut older = Guest::fork(&base);
    let bytes = [5, 20, 59].map(|page| older.call::<_, u32>("load", page * 4096));
    checks.equal("those of the base", bytes, [5, 20, 59]);
    checks.equal("what the base counts", older.call::<_, i32>("count", ()), 21);
}

fn sink(bytes: &mut Vec<u8>) -> impl FnMut(&[u8]) -> Result<(), palimpsest_engine::DataError> {
    |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    }
}

/// Checks the Wasm pages that were written and accessed.
fn written(checks: &mut Checks, machine: &Machine) {
    commit_nothing_ahead(machine);
    let mut guest = Guest::start(&module(&snapshotting(machine, 100), guest!("forks")));
    guest.call::<_, ()>("store", (65_536, 1));
    let snapshot = guest.snapshot();
    let memory = guest.memory;
    let mut pages = Vec::new();
    memory.each_written(&mut guest.store, |wasm_pages| pages.push((wasm_pages.start, wasm_pages.end)));
    checks.equal("written after the snapshot", pages.len(), 0);
    guest.call::<_, ()>("store", (3 * 65_536 - 1, 1));
    guest.call::<_, ()>("clear", 1);
    memory.each_written(&mut guest.store, |wasm_pages| pages.push((wasm_pages.start, wasm_pages.end)));
    checks.equal("written and cleared", pages.as_slice(), &[(1, 3)]);
    pages.clear();
    guest.call::<_, ()>("store", (3 * 65_536, 1));
    memory.mark(&mut guest.store);
    guest.call::<_, ()>("store", (8192, 1));
    guest.call::<_, u32>("load", 3 * 65_536 - 1);
    memory.each_written_since_mark(&mut guest.store, |wasm_pages| {
        pages.push((wasm_pages.start, wasm_pages.end));
    });
    checks.equal("written since the mark", pages.as_slice(), &[(0, 1)]);
    pages.clear();
    guest.call::<_, ()>("clear", 3);
    memory.release(&mut guest.store, 3 * 65_536 - 1, 1).expect("the byte is in the memory");
    memory.each_written_since_mark(&mut guest.store, |wasm_pages| {
        pages.push((wasm_pages.start, wasm_pages.end));
    });
    checks.equal("written or cleared since the mark", pages.as_slice(), &[(0, 1), (2, 4)]);
    pages.clear();
    memory.each_accessed_since_mark(&mut guest.store, |wasm_pages| {
        pages.push((wasm_pages.start, wasm_pages.end));
    });
    checks.equal("accessed since the mark", pages.as_slice(), &[(0, 1), (2, 3)]);
    let fork = Guest::fork(&snapshot);
    checks.equal("bytes of a fork", fork.memory.data(&fork.store)[65_536], 1);
}

fn refused(checks: &mut Checks, machine: &Machine) {
    commit_nothing_ahead(machine);
    let module = module(&snapshotting(machine, 12), guest!("forks"));
    let mut guest = Guest::start(&module);
    guest.call::<_, ()>("touch", 20);
    let error = guest.store.snapshot(guest.instance).expect_err("the limit is lower");
    println!("{error}");
    checks.equal("its frames", guest.resident(), 20);
    checks.equal("what it reads", guest.call::<_, u32>("load", 19 * 4096), 19);
    guest.call::<_, ()>("clear", 0);
    let snapshot = guest.store.snapshot(guest.instance);
    checks.equal("a smaller one is made", snapshot.is_ok(), true);
}

/// Charges snapshots to budgets of two tenants.
///
/// Frames that were committed ahead and never written are charged to neither.
fn charged(checks: &mut Checks, machine: &Machine) {
    let module = module(&snapshotting(machine, 0), guest!("forks"));
    let [one, two] = [30, 10].map(SnapshotBudget::new);
    let charged = || [&one, &two].map(SnapshotBudget::charged_frames);
    let within = |guest: &mut Guest, budget: &SnapshotBudget| {
        guest.store.snapshot_within(guest.instance, budget).expect("the budget suffices")
    };
    let mut source = Guest::start(&module);
    source.call::<_, ()>("touch", 20);
    checks.equal("an engine without image frames", source.store.snapshot(source.instance).is_err(), true);
    let refused = source.store.snapshot_within(source.instance, &two);
    let expected = matches!(refused, Err(SnapshotError::Budget { needed: 20, charged: 0, limit: 10 }));
    checks.equal("a budget of 10 frames", expected, true);
    checks.equal("frames of the source after it was refused", source.resident(), 20);
    let first = within(&mut source, &one);
    checks.equal("frames of the first snapshot", charged(), [20, 0]);
    let again = within(&mut source, &two);
    checks.equal("frames of a snapshot without changes", charged(), [20, 0]);
    drop(again);
    let mut fork = Guest::fork(&first);
    fork.call::<_, ()>("touch", 5);
    let second = within(&mut fork, &two);
    checks.equal("frames of a snapshot of a fork", charged(), [20, 5]);
    drop((first, source));
    checks.equal("frames that are left of the first", charged(), [15, 5]);
    fork.call::<_, ()>("touch", 7);
    let third = within(&mut fork, &one);
    checks.equal("frames of one more of the first payer", charged(), [22, 5]);
    drop(second);
    checks.equal("frames without those that were replaced", charged(), [20, 0]);
    drop(fork);
    checks.equal("frames of the third", (charged(), third.image_frames()), ([20, 0], 20));
    drop(third);
    checks.equal("frames at the end", charged(), [0, 0]);
}

/// Compares a tree of forks with plain copies of their bytes.
fn tree(checks: &mut Checks, machine: &Machine) {
    const WASM_PAGES: u64 = 6;
    const BYTES: usize = 6 << 16;
    let module = module(&snapshotting(machine, 4_000), guest!("forks"));
    let mut guests: Vec<(Guest, Vec<u8>)> = Vec::new();
    let mut snapshots: Vec<(Snapshot, Vec<u8>)> = Vec::new();
    let mut random = Random::new(14);
    let mut differences = 0_u32;
    for _ in 0..3_000 {
        let kind = random.below(16);
        if guests.is_empty() || kind == 0 && guests.len() < 8 {
            let mut guest = Guest::start(&module);
            guest.call::<_, i32>("grow", 2);
            let bytes = guest.memory.data(&guest.store).to_vec();
            guests.push((guest, bytes));
            continue;
        }
        let count = |len: usize| u32::try_from(len).expect("there are few");
        let which = random.below(count(guests.len())) as usize;
        if kind <= 3 {
            if kind == 1 && !snapshots.is_empty() {
                let snapshot = random.below(count(snapshots.len())) as usize;
                snapshots.swap_remove(snapshot);
            } else if kind == 2 && guests.len() > 3 {
                guests.swap_remove(which);
            } else if kind == 3 && !snapshots.is_empty() && guests.len() < 8 {
                let (snapshot, bytes) = &snapshots[random.below(count(snapshots.len())) as usize];
                guests.push((Guest::fork(snapshot), bytes.clone()));
            }
            continue;
        }
        let (guest, bytes) = &mut guests[which];
        match kind {
            4 if snapshots.len() < 6 => snapshots.push((guest.snapshot(), bytes.clone())),
            5 | 6 => {
                let strategies =
                    [Strategy::Decommit, Strategy::Recommit, Strategy::ZeroNow, Strategy::Deferred];
                let strategy = strategies[random.below(4) as usize];
                let page = random.next() % WASM_PAGES;
                let cleared = guest.memory.clear_pages_with(&mut guest.store, page, 1, strategy);
                cleared.expect("the page is there");
                let start = usize::try_from(page << 16).expect("addresses have 64 bits");
                bytes[start..start + (1 << 16)].fill(0);
            }
            7 => {
                let found = guest.memory.data(&guest.store);
                differences += u32::from(found != bytes.as_slice());
            }
            _ => {
                let start = random.below(count(BYTES)) as usize;
                let end = BYTES.min(start + 1 + random.below(20_000) as usize);
                let value = random.next().to_le_bytes()[0];
                guest.memory.data_mut(&mut guest.store)[start..end].fill(value);
                bytes[start..end].fill(value);
            }
        }
    }
    for (guest, bytes) in &guests {
        differences += u32::from(guest.memory.data(&guest.store) != bytes.as_slice());
    }
    for (snapshot, bytes) in &snapshots {
        let fork = Guest::fork(snapshot);
        differences += u32::from(fork.memory.data(&fork.store) != bytes.as_slice());
    }
    checks.equal("memories with other bytes than their copies", differences, 0);
}

/// Counts the instructions of a fork and its first call: a memory of 64 KiB, and one of 4 GiB of
/// which 64 MiB are resident. 16,384 pages that were copied one by one would take millions.
fn same_time(checks: &mut Checks, machine: &Machine) {
    const RESIDENT_FRAMES: u32 = 16_384;
    let module = module(&snapshotting(machine, 40_000), guest!("fork-sizes"));
    let mut small = Guest::start(&module);
    let mut large = Guest::start(&module);
    large.call::<_, i32>("grow", 65_535);
    large.call::<_, ()>("touch", RESIDENT_FRAMES.cast_signed());
    // The engine translates its own functions at their first call.
    Guest::fork(&small.snapshot()).call::<_, i32>("count", ());
    let snapshots = [&mut small, &mut large].map(|guest| {
        let start = clock::ticks();
        let snapshot = guest.snapshot();
        let recorded = clock::ticks() - start;
        let start = clock::ticks();
        drop(guest.snapshot());
        let repeated = clock::ticks() - start;
        let frames = snapshot.image_frames();
        println!("snapshot of {frames} frames: {recorded} instructions, again: {repeated}");
        snapshot
    });
    // Both are forked with the same kernel heap, whose allocator searches a list.
    let costs = snapshots.map(|snapshot| {
        let start = clock::ticks();
        let mut fork = Guest::fork(&snapshot);
        let forked = clock::ticks() - start;
        fork.call::<_, i32>("count", ());
        let called = clock::ticks() - start;
        println!("fork of {} frames: {forked}, with its first call: {called}", snapshot.image_frames());
        called
    });
    checks.at_most("hundredths of the cost of a small fork", costs[1] * 100 / costs[0].max(1), 120);
}
