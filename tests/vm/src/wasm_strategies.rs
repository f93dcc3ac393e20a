//! The four clearing strategies and the two commit policies: what is released, and what is
//! reported.

use alloc::vec::Vec;

use kernel_demo::Machine;
use palimpsest_engine::{
    BackingError, Cleared, Commit, FrameShortage, GrowError, InstantiateError, Limits, Linker, MemoryError,
    Store, StoreOptions, Strategy,
};

use crate::{
    harness::{Checks, VmTest, commit_nothing_ahead, free_frames},
    wasm::{Program, config, engine, guest, limits, module},
};

pub(crate) const TESTS: &[VmTest] = &[
    VmTest::new("every-strategy-leaves-zeros-and-says-what-it-did", 16, every_strategy),
    VmTest::new("a-guest-clears-with-its-memorys-strategy", 6, memory_strategy),
    VmTest::new("deferred-frames-are-reclaimed-within-the-budget", 7, reclaim),
    VmTest::new("deferred-frames-serve-a-shortage-before-anybody-is-lost", 3, deferred_under_shortage),
    VmTest::new("a-reserved-store-is-refused-what-cannot-be-reserved", 6, reserved_refused),
    VmTest::new("a-reserved-store-cannot-be-starved", 7, reserved_not_starved),
    VmTest::new("a-reserved-guest-sees-minus-one-and-ends-itself", 4, reserved_grower),
];

const WASM_PAGE: u32 = 65_536;

/// A guest that has written four Wasm pages, 64 frames.
fn written(machine: &Machine) -> Program {
    let mut program = Program::start(machine, guest!("accesses"));
    program.must::<(u32, u32), ()>("fill", (0, 4 * WASM_PAGE));
    program
}

fn figures(cleared: Cleared) -> (u64, u64, u64) {
    (cleared.frames_released, cleared.frames_retained, cleared.frames_committed)
}

fn every_strategy(checks: &mut Checks, machine: &Machine) {
    let expected = [
        (Strategy::Decommit, (32, 0, 0), 32, 32),
        (Strategy::Recommit, (32, 0, 32), 64, 0),
        (Strategy::ZeroNow, (0, 32, 0), 64, 0),
        (Strategy::Deferred, (0, 32, 0), 32, 0),
    ];
    // Pages after the cleared range would be resident too.
    commit_nothing_ahead(machine);
    for (strategy, did, resident, freed) in expected {
        let mut program = written(machine);
        let memory = program.memory();
        let free = free_frames(machine);
        let cleared =
            memory.clear_pages_with(&mut program.store, 1, 2, strategy).expect("the range is inside");
        checks.equal("released, retained, committed", figures(cleared), did);
        checks.equal("resident frames", program.residency().resident_frames, resident);
        checks.equal("frames that are free again", free_frames(machine) - free, freed);
        let bytes = &memory.data(&program.store)[..4 * WASM_PAGE as usize];
        let nonzero = bytes.iter().filter(|byte| **byte != 0).count();
        checks.equal("bytes that are not zero", nonzero, 2 * WASM_PAGE as usize);
    }
}

fn memory_strategy(checks: &mut Checks, machine: &Machine) {
    // Pages after the cleared range would be resident too.
    commit_nothing_ahead(machine);
    let mut program = written(machine);
    let memory = program.memory();
    memory.set_strategy(&mut program.store, Strategy::ZeroNow);
    checks.equal("the import reports: retained", program.must::<_, u32>("clear", (0_u32, 1_u32)), 1);
    checks.equal("resident frames", program.residency().resident_frames, 64);
    checks.equal("what the guest reads", program.must::<_, u32>("load", 0_u32), 0);
    memory.set_strategy(&mut program.store, Strategy::Decommit);
    checks.equal("the import reports: released", program.must::<_, u32>("clear", (0_u32, 1_u32)), 0);
    checks.equal("resident frames then", program.residency().resident_frames, 48);
    checks.equal("frames released", program.residency().frames_released, 16);
}

fn reclaim(checks: &mut Checks, machine: &Machine) {
    let mut program = written(machine);
    let memory = program.memory();
    memory.clear_pages_with(&mut program.store, 0, 4, Strategy::Deferred).expect("the range is inside");
    let free = free_frames(machine);
    program.must::<u32, ()>("store", 5);
    checks.equal("a page that was taken back", program.must::<_, u32>("load", 4_u32), 0);
    checks.equal("deferred frames", program.store.report().deferred_frames, 63);
    checks.equal("taking it back took no frame", free_frames(machine), free);
    checks.equal("reclaimed within the budget", program.store.reclaim(10).frames_released, 10);
    checks.equal("all that is left", program.store.reclaim(u64::MAX).frames_released, 53);
    checks.equal("frames that are free again", free_frames(machine) - free, 63);
    checks.equal("what the guest reads", program.must::<_, u32>("load", 3 * WASM_PAGE), 0);
}

fn deferred_under_shortage(checks: &mut Checks, machine: &Machine) {
    let mut program = written(machine);
    let memory = program.memory();
    memory.clear_pages_with(&mut program.store, 0, 4, Strategy::Deferred).expect("the range is inside");
    let mut other = Program::start(machine, guest!("accesses"));
    let pool = machine.frames();
    let mut hoard = Vec::with_capacity(usize::try_from(pool.free_frames()).expect("addresses have 64 bits"));
    while let Some(frame) = pool.allocate_frame() {
        hoard.push(frame);
    }
    // The tables and frames for both pages come from what the other guest has deferred.
    other.must::<u32, ()>("store", 0);
    other.must::<u32, ()>("store", 0x8000_0000);
    hoard.into_iter().for_each(|frame| pool.release_frame(frame));
    checks.equal("resident frames", other.residency().resident_frames, 2);
    checks.equal("the other store is not lost", other.store.report().lost.is_none(), true);
    checks.equal("deferred frames are fewer", program.store.report().deferred_frames < 64, true);
}

/// A store whose frames are reserved, with one instance of `wasm`.
fn reserved(machine: &Machine, wasm: &[u8], limits: Limits) -> Result<Program, InstantiateError> {
    let engine = engine(machine, config(machine));
    let module = module(&engine, wasm);
    let options = StoreOptions { limits: Some(limits), commit: Commit::Reserved };
    let mut store = Store::with_options(&engine, (), options);
    let instance = Linker::new().instantiate(&mut store, &module)?;
    Ok(Program::new(store, instance))
}

fn reserved_refused(checks: &mut Checks, machine: &Machine) {
    let free = free_frames(machine);
    let refused = reserved(machine, guest!("accesses"), limits()).err();
    let cause = match refused {
        Some(InstantiateError::Memory {
            cause: MemoryError::Backing(BackingError::OutOfFrames { cause, .. }),
            ..
        }) => Some(cause),
        _ => None,
    };
    let named = matches!(cause, Some(FrameShortage::Source { needed, .. }) if needed > 1 << 20);
    checks.equal("4 GiB and its tables cannot be reserved", named, true);
    checks.equal("free frames", free_frames(machine), free);
    let mut program = reserved(machine, guest!("bystander"), limits()).expect("2 Wasm pages can");
    let memory = program.memory();
    checks.equal("data and tables", program.store.report().charged_frames, 32 + 2);
    let grown = memory.grow(&mut program.store, 65_534);
    let named = matches!(
        grown,
        Err(GrowError::OutOfFrames { cause: FrameShortage::Source { needed, .. }, .. }) if needed > 1 << 20
    );
    checks.equal("growing to 4 GiB is refused for want of frames", named, true);
    checks.equal("the size stays", memory.size(&program.store), 2);
    let mut limits = Limits::default();
    limits.resident_frames = Some(33);
    let refused = reserved(machine, guest!("bystander"), limits).err();
    checks.equal("the cap counts reserved frames", refused.is_some(), true);
}

fn reserved_not_starved(checks: &mut Checks, machine: &Machine) {
    let mut program = reserved(machine, guest!("bystander"), limits()).expect("2 Wasm pages can");
    let pool = machine.frames();
    let mut hoard = Vec::with_capacity(usize::try_from(pool.free_frames()).expect("addresses have 64 bits"));
    while let Some(frame) = pool.allocate_frame() {
        hoard.push(frame);
    }
    checks.equal("frames left are those reserved", pool.free_frames(), 34);
    program.must::<(), ()>("start", ());
    checks.equal("another page", program.must::<(), u32>("touch_another", ()), 5);
    let memory = program.memory();
    let cleared = memory.clear_pages(&mut program.store, 0, 2).expect("the range is inside");
    checks.equal("frames released", cleared.frames_released, 17);
    checks.equal("resident frames", program.residency().resident_frames, 0);
    checks.equal("no other caller gets them", pool.allocate_frame().is_none(), true);
    program.must::<(), ()>("start", ());
    checks.equal("the next touch finds them", program.residency().resident_frames, 16);
    checks.equal("the store is sound", program.store.report().lost.is_none(), true);
    hoard.into_iter().for_each(|frame| pool.release_frame(frame));
}

fn reserved_grower(checks: &mut Checks, machine: &Machine) {
    let mut program = reserved(machine, guest!("grower"), limits()).expect("0 Wasm pages can be reserved");
    let wasm_pages: u32 = program.must("run", ());
    let report = program.store.report();
    checks.equal("it wrote to every Wasm page that it got", report.resident_frames, u64::from(wasm_pages));
    checks.equal("the store is sound", report.lost.is_none(), true);
    // A Wasm page more would have been 16 frames of data, and perhaps a table.
    let free = free_frames(machine);
    let reserved = report.charged_frames - report.held_frames;
    checks.equal("frames that are free and not reserved are too few", free - reserved < 17, true);
    checks.equal("and it has most of the memory", u64::from(wasm_pages) * 16 > 40_000, true);
}
