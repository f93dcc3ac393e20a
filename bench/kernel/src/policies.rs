//! The effect of each policy of an address space: the costs of pages with the policy off, and for
//! scrubbing with it on.
//!
//! Everything else in this kernel is measured with the default policies, and with a pool that is
//! not scrubbed, because a benchmark is never idle. First touches are also measured with several
//! limits of fault-around, in instructions only. `segments` measures the effect of images.

use alloc::format;

use kernel_demo::Machine;
use palimpsest_paging::{FaultAround, Policies, ZeroStores};

use crate::BenchError;
use crate::figures::Figures;
use crate::pages::{self, Operation, Variant};

/// The sizes of the ranges in Wasm pages: 64 KiB, 1 MiB.
const RANGES: &[u32] = &[1, 16];

/// The most pages that one fault may commit: from its own page to a whole table.
const LIMITS_PAGES: [u16; 6] = [1, 4, 16, 64, 256, 512];

/// The operations that touch pages for the first time.
const TOUCHES: &[Operation] = &[Operation::FirstTouch, Operation::ClearTouch, Operation::SparseTouch];

/// Measures each of them. It must be called last, because frames that remain scrubbed would make
/// later figures smaller.
pub(crate) fn measure(machine: &Machine, figures: &mut Figures) -> Result<(), BenchError> {
    let standing = machine.space().policies();
    let without = [
        ("/without fault-around", RANGES, TOUCHES, Policies { fault_around: FaultAround::Off, ..standing }),
        (
            "/without stepping over zeros",
            RANGES,
            &[Operation::FillZero],
            Policies { zero_stores: ZeroStores::Off, ..standing },
        ),
    ];
    for (suffix, ranges, kept, policies) in without {
        let variant = Variant { suffix, kept, scrubbed: None };
        with(machine, policies, || pages::measure_variant(machine, ranges, variant, figures))?;
    }
    if machine.request().counts_instructions() {
        limits(machine, figures)?;
    }
    let suffix = "/with scrubbed frames";
    let scrubbed = Variant { suffix, kept: TOUCHES, scrubbed: Some(machine.frames()) };
    pages::measure_variant(machine, RANGES, scrubbed, figures)
}

/// Measures first touches with each limit of fault-around.
fn limits(machine: &Machine, figures: &mut Figures) -> Result<(), BenchError> {
    let standing = machine.space().policies();
    LIMITS_PAGES.into_iter().try_for_each(|limit_pages| {
        let fault_around = FaultAround::Adaptive { limit_pages };
        let suffix = format!("/fault-around up to {limit_pages}");
        with(machine, Policies { fault_around, ..standing }, || {
            pages::measure_first_touch(machine, &suffix, figures)
        })
    })
}

/// Runs `work` under `policies`, and restores the policies afterwards.
fn with<R>(machine: &Machine, policies: Policies, work: impl FnOnce() -> R) -> R {
    let standing = machine.space().policies();
    machine.space().set_policies(policies);
    let result = work();
    machine.space().set_policies(standing);
    result
}
