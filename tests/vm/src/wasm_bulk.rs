//! Bulk instructions of a metered guest: they end soon after the guest has lost its frames, and no
//! piece takes long.

use kernel_demo::{Machine, clock, errands};
use palimpsest_engine::{Fuel, Limits, Linker, OutOfFrames, Poll, Store, StoreOptions, Task, Val};

use crate::{
    harness::{Checks, VmTest},
    wasm::{config, engine, guest, module},
};

pub(crate) const TESTS: &[VmTest] = &[
    VmTest::new("a-long-bulk-instruction-ends-soon-after-the-last-frame", 6, end_when_lost),
    VmTest::counting("a-piece-of-a-bulk-instruction-is-short", 3, pieces_are_short),
];

const INSTRUCTIONS: [&str; 3] = ["fill", "copy-down", "copy-up"];

/// The bytes of a piece, and what it costs.
const PIECE_BYTES: u64 = 1 << 16;
const PIECE_FUEL: u64 = PIECE_BYTES / 64;

/// The limit of the guest: 2 MiB.
const CAP_FRAMES: u64 = 512;

/// A task that calls `name`, a bulk instruction of `len` bytes.
fn bulk(machine: &Machine, name: &str, len: u64) -> Task<()> {
    let engine = engine(machine, config(machine).fuel(Fuel::Metered));
    let module = module(&engine, guest!("bulk"));
    let mut limits = Limits::default();
    limits.resident_frames = Some(CAP_FRAMES);
    let options = StoreOptions { limits: Some(limits), ..StoreOptions::default() };
    let store = Store::with_options(&engine, (), options);
    Task::instantiate(store, &Linker::new(), &module, name, &[Val::I64(len.cast_signed())])
        .expect("the guest links")
}

fn end_when_lost(checks: &mut Checks, machine: &Machine) {
    for name in INSTRUCTIONS {
        let mut task = bulk(machine, name, 1 << 39);
        let poll = errands::anywhere(|| task.run(u64::MAX / 2));
        let lost = matches!(&poll, Poll::Failed(error) if error.downcast_ref::<OutOfFrames>().is_some());
        checks.equal("the guest is out of frames", lost, true);
        // A copy reads pages that have no frame, so it takes no more frames than a fill.
        let affordable = CAP_FRAMES * 4096 / 64 + 2 * PIECE_FUEL;
        checks.at_most("fuel used", task.fuel_used(), affordable + affordable / 20);
    }
}

/// Under `-icount` the clock counts instructions. A turn here pays for a quarter of a piece, so the
/// longest one is that in which a piece is executed.
fn pieces_are_short(checks: &mut Checks, machine: &Machine) {
    const INSTRUCTIONS_A_PIECE: u64 = 100_000;
    for name in INSTRUCTIONS {
        let mut task = bulk(machine, name, 8 * PIECE_BYTES);
        let mut longest = 0;
        loop {
            let start = clock::ticks();
            let poll = task.run(PIECE_FUEL / 4);
            longest = longest.max(clock::ticks() - start);
            match poll {
                Poll::Runnable | Poll::Waiting { .. } => {}
                Poll::Returned(_) => break,
                Poll::Failed(error) => panic!("{name} ended with {error}"),
            }
        }
        checks.at_most(name, longest, INSTRUCTIONS_A_PIECE);
    }
}
