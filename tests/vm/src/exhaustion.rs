//! Every allocation of a guest's life fails once, in a kernel whose heap has a reserve.
//!
//! The host's test of `palimpsest-exhaustion` does the same over a byte slice.

use kernel_demo::{Machine, errands, println};
use palimpsest_engine::{Backing, Config, Paged};
use palimpsest_exhaustion::{End, Failure, live, live_in_forks};

use crate::{
    harness::{Checks, VmTest, free_frames},
    wasm::{Program, guest, limits},
};

pub(crate) const TESTS: &[VmTest] = &[
    VmTest::new("an-allocation-that-fails-ends-one-guest", 5, one_allocation),
    VmTest::new("a-heap-that-is-full-ends-one-guest", 5, full_heap),
    VmTest::new("an-allocation-that-fails-ends-one-snapshot-or-fork", 5, one_allocation_of_forks),
    VmTest::new("a-heap-that-is-full-ends-one-snapshot-or-fork", 5, full_heap_of_forks),
];

/// A script of `palimpsest-exhaustion`.
type Script = fn(Config, Backing) -> Result<(), End>;

/// Bytes of the reserve. The life takes less in all.
const RESERVE_BYTES: usize = 1 << 20;

fn one_allocation(checks: &mut Checks, machine: &Machine) {
    lives(checks, machine, live, Failure::Once);
}

fn full_heap(checks: &mut Checks, machine: &Machine) {
    lives(checks, machine, live, Failure::From);
}

fn one_allocation_of_forks(checks: &mut Checks, machine: &Machine) {
    lives(checks, machine, live_in_forks, Failure::Once);
}

fn full_heap_of_forks(checks: &mut Checks, machine: &Machine) {
    lives(checks, machine, live_in_forks, Failure::From);
}

/// Lives once for each allocation of a life, in which it fails.
fn lives(checks: &mut Checks, machine: &Machine, script: Script, failure: fn(usize) -> Failure) {
    let mut bystander = Program::start(machine, guest!("bystander"));
    bystander.must::<(), ()>("start", ());
    checks.equal("the reserve is set aside", machine.reserve_heap(RESERVE_BYTES).is_ok(), true);
    // The first life extends the lists of the address space, which never shrink.
    checks.equal("a life without failures", live_with(machine, script, Failure::Never), Ok(false));
    let allocations = machine.failing_heap().allocations();
    checks.equal("it allocates often", allocations > 1_000, true);
    println!("{allocations} allocations");
    let before = Books::of(machine);
    let mut ended = 0;
    for number in 0..allocations {
        match live_with(machine, script, failure(number)) {
            Ok(is_out_of_heap) if Books::of(machine) == before => ended += u32::from(is_out_of_heap),
            other => checks.equal(
                "what the life leaves",
                (number, other, Books::of(machine)),
                (number, Ok(true), before),
            ),
        }
    }
    println!("{ended} lives ended as out of heap");
    checks.equal("lives that ended", ended > 700, true);
    checks.equal("the bystander works on", bystander.must::<(), u32>("work", ()), 2 * 65_536);
    machine.reserve_heap(0).expect("a reserve of 0 bytes needs no block");
}

/// Returns whether the life with this failure ended as out of heap.
///
/// # Errors
///
/// The step of a life that ended otherwise.
fn live_with(machine: &Machine, script: Script, failure: Failure) -> Result<bool, &'static str> {
    let heap = machine.failing_heap();
    heap.arm(failure);
    let life =
        errands::anywhere(|| script(machine.engine_config(limits()), Paged::new(machine.space()).into()));
    heap.disarm();
    match life {
        Ok(()) => Ok(false),
        Err(End::OutOfHeap { .. }) => Ok(true),
        Err(wrong @ End::Wrong { doing, .. }) => {
            println!("{failure:?}: {wrong}");
            Err(doing)
        }
    }
}

/// What must be the same before and after a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Books {
    free_frames: u64,
    heap_bytes: usize,
    regions: u64,
    has_reserve: bool,
}

impl Books {
    fn of(machine: &Machine) -> Self {
        Self {
            free_frames: free_frames(machine),
            heap_bytes: machine.heap().used_bytes,
            regions: machine.space().usage().regions,
            has_reserve: machine.has_heap_reserve(),
        }
    }
}
