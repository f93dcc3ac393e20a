//! Guests that exhaust a resource: the kernel and the other guests continue.

use alloc::{string::ToString, sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicU32, Ordering};

use kernel_demo::{Machine, errands};
use palimpsest_engine::{
    AsContextMut, Caller, Config, Engine, Error, FrameShortage, FuncType, Instance, InstantiateError, Limits,
    Linker, Lost, MemoryAccessError, Module, ModuleError, OutOfFrames, OutOfHeap, ReentryTooDeep, Store,
    StoreOptions,
};
use palimpsest_paging::Frame;

use crate::{
    harness::{Checks, VmTest, commit_nothing_ahead, free_frames},
    wasm::{Program, config, engine, guest, module},
};

pub(crate) const TESTS: &[VmTest] = &[
    VmTest::new("a-guest-that-takes-all-frames-is-stopped-alone", 11, all_frames),
    VmTest::new("a-guest-is-held-to-its-cap-tables-included", 5, cap_with_tables),
    VmTest::new("a-guest-leaves-a-quarter-of-the-frames-by-default", 4, default_frames),
    VmTest::new("a-guest-leaves-most-addresses-by-default", 5, default_addresses),
    VmTest::new("a-part-of-a-page-is-cleared-at-the-cap", 9, part_at_cap),
    VmTest::new("nothing-leaves-a-guest-after-its-first-lost-write", 63, nothing_leaves),
    VmTest::new("a-frame-source-that-never-frees-is-named", 9, source_never_frees),
    VmTest::new("every-shortage-in-a-life-is-an-error", 2, every_shortage),
    VmTest::new("module-bombs-are-refused-by-name", 2, module_bombs),
    VmTest::new("a-guest-that-fills-the-heap-is-stopped-alone", 17, all_heap),
    VmTest::new("re-entry-ends-at-the-configured-depth", 3, reentry),
];

/// A glutton, and the number of pages that it last reported to the host.
struct Glutton {
    store: Store<()>,
    instance: Instance,
    progress: Arc<AtomicU32>,
}

impl Glutton {
    fn start(machine: &Machine, config: Config) -> Self {
        let engine = engine(machine, config);
        let module = module(&engine, guest!("glutton"));
        let progress = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&progress);
        let mut linker = Linker::new();
        linker
            .func_wrap("host", "progress", move |pages: u32| seen.store(pages, Ordering::Relaxed))
            .expect("the name is free");
        let mut store = Store::new(&engine, ());
        let instance = linker.instantiate(&mut store, &module).expect("the guest links");
        Self { store, instance, progress }
    }

    fn eat(&mut self) -> Result<u32, Error> {
        let Self { store, instance, .. } = self;
        errands::anywhere(|| instance.get_typed_func::<(), u32>(&*store, "eat")?.call(store, ()))
    }
}

fn is_out_of_frames<R>(result: Result<R, Error>) -> bool {
    result.err().is_some_and(|error| error.downcast_ref::<OutOfFrames>().is_some())
}

fn all_frames(checks: &mut Checks, machine: &Machine) {
    let mut bystander = Program::start(machine, guest!("bystander"));
    bystander.must::<(), ()>("start", ());
    let free = free_frames(machine);
    let mut glutton = Glutton::start(machine, config(machine));
    checks.equal("it ends in OutOfFrames", is_out_of_frames(glutton.eat()), true);
    checks.equal("free frames", free_frames(machine), 0);
    let resident = glutton.store.report().resident_frames;
    let reported = u64::from(glutton.progress.load(Ordering::Relaxed));
    // A host call after the first lost write would have reported more pages than there are frames.
    checks.equal("thousands of pages that it reported", reported / 1000, resident / 1000);
    checks.equal("another call is refused", is_out_of_frames(glutton.eat()), true);
    checks.equal("the report says so", glutton.store.report().lost.is_some(), true);
    checks.equal("the bystander works on", bystander.must::<(), u32>("work", ()), 2 * 65_536);
    checks.equal("its report is sound", bystander.store.report().lost.is_none(), true);
    drop(glutton);
    checks.equal("free frames once it is dropped", free_frames(machine), free);
    checks.equal("the bystander touches a new page", bystander.must::<(), u32>("touch_another", ()), 5);
    checks.equal("and works on", bystander.must::<(), u32>("work", ()), 3 * 65_536);
    checks.equal("its frames", bystander.residency().resident_frames, 17);
}

fn cap_with_tables(checks: &mut Checks, machine: &Machine) {
    const CAP: u64 = 2_000;
    let mut limits = Limits::default();
    limits.resident_frames = Some(CAP);
    let mut glutton = Glutton::start(machine, config(machine).limits(limits));
    checks.equal("it ends in OutOfFrames", is_out_of_frames(glutton.eat()), true);
    let report = glutton.store.report();
    checks.equal("frames held", report.held_frames, CAP);
    checks.equal("the most at a time", report.peak_frames, CAP);
    checks.equal("data and tables", report.resident_frames + report.table_frames, CAP);
    checks.equal(
        "one table for 512 pages, and the one above",
        report.table_frames,
        report.resident_frames.div_ceil(512) + 1,
    );
}

fn default_frames(checks: &mut Checks, machine: &Machine) {
    let free = free_frames(machine);
    let mut glutton = Glutton::start(machine, Config::default());
    checks.equal("it ends in OutOfFrames", is_out_of_frames(glutton.eat()), true);
    let (left, held) = (free_frames(machine), glutton.store.report().held_frames);
    // The module's image and a shared table may have one frame each.
    checks.equal("a quarter of the frames is left", left >= free / 4 - 2, true);
    checks.equal("the limit is what it holds", glutton.store.limits().resident_frames, Some(held));
    let mut bystander = Program::start(machine, guest!("bystander"));
    bystander.must::<(), ()>("start", ());
    checks.equal("a bystander works", bystander.must::<(), u32>("work", ()), 2 * 65_536);
}

fn default_addresses(checks: &mut Checks, machine: &Machine) {
    let mut boundless = Program::start(machine, guest!("boundless-memories"));
    checks.equal("its last memory works", boundless.must::<(), u32>("touch", ()), 7);
    let share = machine.space().window_bytes() / 8;
    let report = boundless.store.report();
    checks.equal("bytes that it has reserved are below its share", report.reserved_bytes <= share, true);
    checks.equal("and above a half", report.reserved_bytes >= share / 2, true);
    let others: Vec<_> = (0..100).map(|_| Program::try_start(machine, guest!("four-gib")).is_ok()).collect();
    checks.equal("instances of 4 GiB beside it", others.into_iter().filter(|made| *made).count(), 100);
    let beside = Program::try_start(machine, guest!("boundless-memories"));
    checks.equal("and one like it", beside.is_ok(), true);
}

/// Takes every frame that a clear has released out of the pool. So the pool is, for the address
/// space, a source that never gives a frame again.
fn source_never_frees(checks: &mut Checks, machine: &Machine) {
    const WASM_PAGE: u32 = 65_536;
    let (pool, space) = (machine.frames(), machine.space());
    let free = free_frames(machine);
    let mut kept: Vec<Frame> = Vec::with_capacity(usize::try_from(free).expect("addresses have 64 bits"));
    let mut program = Program::start(machine, guest!("accesses"));
    let memory = program.memory();
    kept.extend((1000..pool.free_frames()).map_while(|_| pool.allocate_frame()));
    let start = space.turnover();
    let mut rounds = 0;
    let lost = loop {
        let written = program.call::<(u32, u32), ()>("fill", (0, WASM_PAGE));
        if let Err(error) = written {
            break error.downcast_ref::<OutOfFrames>().copied();
        }
        rounds += 1;
        let cleared = memory.clear_pages(&mut program.store, 0, 1).expect("the page is inside");
        let released = cleared.frames_released + cleared.tables_released;
        kept.extend((0..released).map_while(|_| pool.allocate_frame()));
    };
    let Some(OutOfFrames { cause: FrameShortage::Source { taken, released, .. }, held_frames }) = lost else {
        panic!("the guest ends because the source is empty, and not in {lost:?}");
    };
    checks.equal("the guest wrote and cleared often", rounds > 50, true);
    checks.equal("it was not large", held_frames < 64, true);
    checks.equal("frames that the source gave", taken - start.taken_frames >= 990, true);
    checks.equal("frames that it got back", released - start.released_frames > 900, true);
    checks.equal("frames in use", (taken - released) < 100, true);
    let turnover = space.turnover();
    checks.equal(
        "the space counts the same",
        (turnover.taken_frames, turnover.released_frames),
        (taken, released),
    );
    let report = program.store.report();
    let released = report.frames_released + report.tables_released + report.tables_waited;
    checks.equal("the store's frames", report.frames_taken, report.held_frames + released);
    let message = OutOfFrames {
        held_frames: 5,
        cause: FrameShortage::Source { available: 0, needed: 1, taken: 700, released: 688 },
    }
    .to_string();
    checks.equal(
        "the message",
        message.contains("of 700 frames that it gave, 688 were released to it and 12 are in use"),
        true,
    );
    drop(program);
    kept.into_iter().for_each(|frame| pool.release_frame(frame));
    checks.equal("free frames at the end", free_frames(machine), free);
}

/// Clears bytes in untouched, resident and initialized pages after the last frame was taken.
fn part_at_cap(checks: &mut Checks, machine: &Machine) {
    const CAP: u64 = 300;
    const PAGE: u32 = 4096;
    const SEGMENT: u32 = 0x10_0000;
    const UNTOUCHED: u32 = 0x1f0_0001;
    // Pages that were committed ahead would give up their frames for another page.
    commit_nothing_ahead(machine);
    let mut limits = Limits::default();
    limits.resident_frames = Some(CAP);
    let engine = engine(machine, config(machine).limits(limits));
    let module = module(&engine, guest!("byte-pages-at-cap"));
    let mut store = Store::new(&engine, ());
    let instance = Linker::new().instantiate(&mut store, &module).expect("the guest links");
    let mut program = Program::new(store, instance);
    let mut pages = 0;
    while program.store.report().held_frames < CAP {
        program.must::<u32, ()>("touch", pages * PAGE);
        pages += 1;
    }
    let mut discard = |start, length| program.must::<(u32, u32), u32>("discard", (start, length));
    checks.equal("discarding in an untouched table", discard(UNTOUCHED, 10), 0);
    checks.equal("discarding across the border of untouched pages", discard(UNTOUCHED + 4090, 10), 0);
    checks.equal("discarding bytes that were not written", discard(5 * PAGE + 1, 10), 0);
    checks.equal("discarding a part of the segment", discard(SEGMENT + 5, 4), 1);
    let mut load = |address| program.must::<u32, u32>("load", address);
    checks.equal("what was written", load(5 * PAGE), 1);
    let segment = [3, 5, 8, 10].map(|offset| load(SEGMENT + offset));
    checks.equal("the segment", segment, [u32::from(b't'), 0, 0, u32::from(b'k')]);
    checks.equal("the store is sound", program.store.report().lost.is_none(), true);
    checks.equal("frames held", program.store.report().held_frames, CAP);
    let past_cap = program.call::<u32, ()>("touch", UNTOUCHED);
    checks.equal("another page is one too many", is_out_of_frames(past_cap), true);
}

/// Runs the guest whose tables take more than the heap, next to a bystander. Returns why it ended.
fn hoard(checks: &mut Checks, machine: &Machine, heap_bytes: usize) -> Option<OutOfHeap> {
    let mut bystander = Program::start(machine, guest!("bystander"));
    bystander.must::<(), ()>("start", ());
    let used = machine.heap().used_bytes;
    let mut limits = Limits::default();
    limits.heap_bytes = heap_bytes;
    // Only the heap bounds the tables.
    limits.table_elements = usize::MAX;
    limits.store_table_elements = usize::MAX;
    let config = machine.engine_config(Limits::default()).limits(limits);
    let engine = engine(machine, config);
    let module = module(&engine, guest!("hoarder"));
    let progress = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&progress);
    let mut linker = Linker::new();
    linker
        .func_wrap("host", "progress", move |tables: u32| seen.store(tables, Ordering::Relaxed))
        .expect("the name is free");
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &module).expect("the guest links");
    let mut hoard =
        || errands::anywhere(|| instance.get_typed_func::<(), ()>(&store, "hoard")?.call(&mut store, ()));
    let ended = hoard().err().and_then(|error| error.downcast_ref::<OutOfHeap>().copied());
    checks.equal(
        "it reported some tables and not all",
        (1..90).contains(&progress.load(Ordering::Relaxed)),
        true,
    );
    checks.equal("another call is refused", hoard().is_err(), true);
    let report = store.report();
    checks.equal("the report says so", report.lost == ended.map(Lost::OutOfHeap), true);
    checks.equal("the kernel allocates", Vec::<u8>::with_capacity(1 << 16).capacity(), 1 << 16);
    drop((store, module, engine, linker));
    checks.equal("its heap is free once it is dropped", machine.heap().used_bytes <= used + 256, true);
    checks.equal("the bystander works on", bystander.must::<(), u32>("work", ()), 2 * 65_536);
    ended
}

fn all_heap(checks: &mut Checks, machine: &Machine) {
    let size = machine.heap().size_bytes;
    checks.equal("the reserve is set aside", machine.reserve_heap(size / 8).is_ok(), true);
    let limit = size / 2;
    let above = hoard(checks, machine, limit);
    checks.equal(
        "above its limit",
        matches!(above, Some(OutOfHeap::AboveLimit { limit: of, .. }) if of == limit),
        true,
    );
    let exhausted = hoard(checks, machine, usize::MAX);
    checks.equal("without a limit", matches!(exhausted, Some(OutOfHeap::Exhausted { .. })), true);
    checks.equal("the reserve is set aside again", machine.has_heap_reserve(), true);
    checks.equal("and released", machine.reserve_heap(0).is_ok(), true);
}

/// The exports of `tests/vm/guests/lost.wat`.
const EFFECTS: [&str; 9] =
    ["return", "trap", "memory_grow", "table_grow", "clear_pages", "discard", "plain", "calling", "untyped"];

/// A guest in a store that may hold 100 frames, whose host functions count their calls in the
/// store's data.
fn lost_guest(engine: &Engine, module: &Module) -> (Store<Arc<AtomicU32>>, Instance) {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let mut linker = Linker::new();
    let count = |calls: &AtomicU32| {
        calls.fetch_add(1, Ordering::Relaxed);
    };
    let called = move |caller: Caller<'_, Arc<AtomicU32>>| count(caller.data());
    linker
        .func_wrap("host", "plain", move || count(&counted))
        .and_then(|linker| linker.func_wrap("host", "calling", called))
        .and_then(|linker| {
            linker.func_new("host", "untyped", FuncType::new([], []), move |caller, _, _| {
                called(caller);
                Ok(())
            })
        })
        .expect("the names are free");
    let mut limits = Limits::default();
    limits.resident_frames = Some(100);
    let options = StoreOptions { limits: Some(limits), ..StoreOptions::default() };
    let mut store = Store::with_options(engine, calls, options);
    let instance = linker.instantiate(&mut store, module).expect("the guest links");
    (store, instance)
}

fn nothing_leaves(checks: &mut Checks, machine: &Machine) {
    let engine = engine(machine, config(machine));
    let module = module(&engine, guest!("lost"));
    for effect in EFFECTS {
        let (mut store, instance) = lost_guest(&engine, &module);
        let run = instance.get_typed_func::<(), ()>(&store, effect).expect("the guest exports it");
        let result = errands::anywhere(|| run.call(&mut store, ()));
        checks.equal(effect, is_out_of_frames(result), true);
        checks.equal("calls of the host", store.data().load(Ordering::Relaxed), 0);
        let table = instance.get_table(&store, "table").map(|table| table.size(&store));
        let report = store.report();
        checks.equal("sizes", (report.committed_bytes, table), (256 << 16, Some(1)));
        checks.equal("frames released by a clear", report.frames_released, 0);
        let memory = instance.get_memory(&store, "memory").expect("the guest exports it");
        let bytes = (memory.data(&store).len(), memory.data_mut(&mut store).len());
        checks.equal("bytes that the embedder gets", bytes, (0, 0));
        let read = matches!(memory.read(&store, 0, &mut [0]), Err(MemoryAccessError::Lost(_)));
        checks.equal("a read is refused", read, true);
        let written = matches!(memory.write(&mut store, 0, &[0]), Err(MemoryAccessError::Lost(_)));
        checks.equal("and so is a write", written, true);
    }
}

/// Runs a whole life while the pool has `left` frames. Returns whether a step of it failed.
fn life_with(machine: &Machine, left: usize, lives: &Lives) -> bool {
    let pool = machine.frames();
    let mut hoard: Vec<Frame> = Vec::with_capacity(lives.free);
    errands::flush_all();
    while pool.free_frames() > left as u64 {
        hoard.extend(pool.allocate_frame());
    }
    let lived = errands::anywhere(|| {
        let mut store = Store::new(lives.module.engine(), ());
        Linker::new().instantiate(&mut store, &lives.module).map(|instance| {
            instance.get_typed_func::<(), u32>(&store, "run").and_then(|run| run.call(&mut store, ()))
        })
    });
    hoard.into_iter().for_each(|frame| pool.release_frame(frame));
    !matches!(lived, Ok(Ok(1)))
}

/// The state that the lives share: the translated module, and the number of frames that are free
/// between lives.
struct Lives {
    module: Module,
    free: usize,
}

fn every_shortage(checks: &mut Checks, machine: &Machine) {
    let engine = engine(machine, config(machine));
    let free = usize::try_from(free_frames(machine)).expect("addresses have 64 bits");
    let lives = Lives { module: module(&engine, guest!("churn")), free };
    checks.equal("a life with enough frames fails", life_with(machine, 200, &lives), false);
    let failed = (0..40).filter(|left| life_with(machine, *left, &lives)).count();
    // The life needs this many frames at its peak. It fails with any smaller number, and with no
    // other.
    let needed = FRAMES_OF_A_LIFE - usize::from(lives.module.image_frames() > 0);
    checks.equal("lives that failed, which are those with too few frames", failed, needed);
}

/// Frames that `churn.wat` holds at its height: 5 of data, 2 tables, and 1 table that regions
/// share. One of its data frames holds its segment, which is not written to again: that is the
/// module's if it has an image.
const FRAMES_OF_A_LIFE: usize = 8;

fn module_bombs(checks: &mut Checks, machine: &Machine) {
    let engine = engine(machine, config(machine));
    // A type section that announces 2^32 - 1 types.
    let lying = [b"\0asm\x01\0\0\0", [1, 5, 0xff, 0xff, 0xff, 0xff, 0x0f].as_slice()].concat();
    let refused =
        matches!(Module::new(&engine, &lying), Err(ModuleError::Limit { limit: "section_entries", .. }));
    checks.equal("too many types are refused", refused, true);
    let table = Program::try_start(machine, guest!("largest-table")).err();
    checks.equal("the table is refused", matches!(table, Some(InstantiateError::TableTooLarge { .. })), true);
}

fn reentry(checks: &mut Checks, machine: &Machine) {
    let engine = engine(machine, config(machine));
    let module = module(&engine, guest!("reentrant"));
    let mut linker = Linker::new();
    linker
        .func_wrap("host", "again", |mut caller: Caller<'_, u32>| {
            *caller.data_mut() += 1;
            let run = caller.get_export("run").and_then(|export| export.into_func());
            run.expect("the guest exports it").call(caller.as_context_mut(), &[], &mut [])
        })
        .expect("the name is free");
    let mut store = Store::new(&engine, 0);
    let instance = linker.instantiate(&mut store, &module).expect("the guest links");
    let run = instance.get_typed_func::<(), ()>(&store, "run").expect("the guest exports it");
    for _ in 0..2 {
        *store.data_mut() = 0;
        let error = errands::anywhere(|| run.call(&mut store, ())).err();
        let limit = error.and_then(|error| error.downcast_ref::<ReentryTooDeep>().map(|deep| deep.limit));
        checks.equal("the limit and the levels", (limit, *store.data()), (Some(16), 16));
    }
    checks.equal("a store that was stopped is not lost", store.report().lost.is_none(), true);
}
