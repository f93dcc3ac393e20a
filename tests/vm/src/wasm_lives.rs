//! Whole lives of instances: nothing remains of an instance, however it ends.

use kernel_demo::{Machine, errands};
use palimpsest_engine::{BackingError, InstantiateError, Linker, MemoryError, Store, Strategy};

use crate::{
    harness::{Checks, VmTest, free_frames},
    wasm::{Program, config, engine, guest, module},
};

pub(crate) const TESTS: &[VmTest] = &[
    VmTest::new("clearing-from-inside-returns-the-frames", 8, clearing_from_inside),
    VmTest::new("ten-thousand-lives-leave-nothing", 4, ten_thousand_lives_leave_nothing),
    VmTest::new("failing-grows-keep-no-native-stack", 2, failing_grows_keep_no_native_stack),
    VmTest::new("failed-instantiation-leaves-nothing", 6, failed_instantiation_leaves_nothing),
    VmTest::new("next-guest-reads-zero-where-another-wrote", 2, next_guest_reads_zero),
    VmTest::new("stale-bytes-are-seen-in-no-order-of-sizes", 1, stale_bytes),
];

const WASM_PAGE: u32 = 65_536;

fn clearing_from_inside(checks: &mut Checks, machine: &Machine) {
    let mut program = Program::start(machine, guest!("accesses"));
    let free = free_frames(machine);
    program.must::<(u32, u32), ()>("fill", (WASM_PAGE, 3 * WASM_PAGE));
    checks.equal("data frames", program.residency().resident_frames, 48);
    checks.equal("what clear_pages answers", program.must::<_, u32>("clear", (2_u32, 1_u32)), 0);
    checks.equal("data frames left", program.residency().resident_frames, 32);
    checks.equal("a cleared byte", program.must::<_, u32>("load", 2 * WASM_PAGE), 0);
    checks.equal("its neighbour", program.must::<_, u32>("load", 2 * WASM_PAGE - 1), 0x5a);
    program.must::<_, ()>("discard", (0_u32, 65_535 * WASM_PAGE));
    checks.equal("data frames after the instruction", program.residency().resident_frames, 0);
    checks.equal("free frames", free_frames(machine), free);
    checks.equal("frames released", program.residency().frames_released, 48);
}

fn ten_thousand_lives_leave_nothing(checks: &mut Checks, machine: &Machine) {
    let engine = engine(machine, config(machine));
    let module = module(&engine, guest!("churn"));
    let linker = Linker::new();
    let live = || {
        errands::anywhere(|| {
            let mut store = Store::new(&engine, ());
            let instance = linker.instantiate(&mut store, &module).expect("the guest links");
            let run = instance.get_typed_func::<(), u32>(&store, "run").expect("the guest exports it");
            run.call(&mut store, ()).expect("the guest returns")
        })
    };
    // The first life translates the guest's function, which the engine keeps.
    checks.equal("what the guest computes", live(), 1);
    let before = (free_frames(machine), machine.heap().used_bytes, machine.space().usage());
    let wrong = (0..10_000).filter(|_| live() != 1).count();
    checks.equal("lives that computed something else", wrong, 0);
    checks.equal("free frames", free_frames(machine), before.0);
    checks.equal(
        "heap in use and address space",
        (machine.heap().used_bytes, machine.space().usage()),
        (before.1, before.2),
    );
}

fn failing_grows_keep_no_native_stack(checks: &mut Checks, machine: &Machine) {
    let mut program = Program::start(machine, guest!("failing-grows"));
    checks.equal("memory.grow that failed", program.must::<_, u32>("memory", ()), 1_000_000);
    checks.equal("table.grow that failed", program.must::<_, u32>("table", ()), 1_000_000);
}

fn failed_instantiation_leaves_nothing(checks: &mut Checks, machine: &Machine) {
    let free = free_frames(machine);
    let engine = engine(machine, config(machine));
    let linker = Linker::<()>::new();
    let missing = module(&engine, guest!("unknown-import"));
    let mut store = Store::new(&engine, ());
    let error = linker.instantiate(&mut store, &missing).expect_err("nothing is defined");
    checks.equal("the import is named", matches!(error, InstantiateError::UnknownImports(_)), true);
    checks.equal("free frames while the store lives", free_frames(machine), free);
    let large = module(&engine, guest!("two-memories"));
    let error = linker.instantiate(&mut store, &large).expect_err("32 TiB are more than the window");
    let too_large = |cause: &MemoryError| {
        matches!(cause, MemoryError::TooLarge { .. } | MemoryError::Backing(BackingError::TooLarge { .. }))
    };
    let named = matches!(&error, InstantiateError::Memory { index: 1, cause } if too_large(cause));
    checks.equal("the memory is named", named, true);
    checks.equal("free frames after it", free_frames(machine), free);
    checks.equal("regions after it", machine.space().usage().regions, 0);
    let error = Program::try_start(machine, guest!("segment-out-of-bounds")).err();
    checks.equal("the segment is refused", matches!(error, Some(InstantiateError::Segment(_))), true);
}

fn next_guest_reads_zero(checks: &mut Checks, machine: &Machine) {
    const BYTES: u32 = 64 << 20;
    let mut first = Program::start(machine, guest!("accesses"));
    first.must::<(u32, u32), ()>("fill", (0, BYTES));
    drop(first);
    let second = Program::start(machine, guest!("accesses"));
    let memory = second.memory().data(&second.store);
    checks.equal(
        "bytes that are not zero",
        memory[..BYTES as usize].iter().filter(|byte| **byte != 0).count(),
        0,
    );
    let mut third = Program::start(machine, guest!("accesses"));
    let pages = (0..BYTES).step_by(4096);
    pages.for_each(|at| third.must::<u32, ()>("store", at));
    let memory = third.memory().data(&third.store);
    let nonzero = memory[..BYTES as usize].iter().filter(|byte| **byte != 0).count();
    checks.equal("bytes that are not zero beside those written", nonzero, (BYTES / 4096) as usize);
}

/// How the previous guest ends.
#[derive(Clone, Copy)]
enum Ending {
    Dropped,
    Cleared(Strategy),
    /// It is dropped. After it, an instantiation fails that has already written.
    BeforeAFailure,
}

fn stale_bytes(checks: &mut Checks, machine: &Machine) {
    const SIZES: [u32; 4] = [1, 33, 64, 512];
    let endings = [
        Ending::Dropped,
        Ending::Cleared(Strategy::Decommit),
        Ending::Cleared(Strategy::Recommit),
        Ending::Cleared(Strategy::Deferred),
        Ending::BeforeAFailure,
    ];
    let mut stale = 0;
    for (first, second) in SIZES.into_iter().flat_map(|first| SIZES.map(|second| (first, second))) {
        for ending in endings {
            stale += bytes_seen_after(machine, first * WASM_PAGE, ending, second * WASM_PAGE);
        }
    }
    checks.equal("bytes of another guest", stale, 0);
}

/// Returns the number of bytes that are not zero in the first `second` bytes of a guest, after
/// another guest has written `first` bytes.
fn bytes_seen_after(machine: &Machine, first: u32, ending: Ending, second: u32) -> usize {
    let mut writer = Program::start(machine, guest!("accesses"));
    writer.must::<(u32, u32), ()>("fill", (0, first));
    let kept = match ending {
        Ending::Dropped => None,
        Ending::Cleared(strategy) => {
            let memory = writer.memory();
            let cleared = memory.clear_pages_with(&mut writer.store, 0, (first / WASM_PAGE).into(), strategy);
            cleared.expect("the range is inside");
            Some(writer)
        }
        Ending::BeforeAFailure => {
            drop(writer);
            Program::try_start(machine, guest!("segment-out-of-bounds")).ok()
        }
    };
    let mut reader = Program::start(machine, guest!("accesses"));
    // Half of the pages are touched before they are read, so that both the zero frame and fresh
    // ones are seen.
    (0..second).step_by(8192).for_each(|at| reader.must::<u32, ()>("store", at));
    let memory = reader.memory().data(&reader.store);
    let seen = memory[..second as usize].iter().filter(|byte| **byte != 0).count();
    drop(kept);
    seen - (second / 8192) as usize
}
