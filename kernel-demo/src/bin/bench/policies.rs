//! What each policy brings: the costs of pages with it off, or, for scrubbing, with it on.
//!
//! Everything else in this kernel is measured with the policies that an address space has from the start, and
//! with a pool that nobody scrubs, since nothing is idle in a benchmark.

use kernel_demo::Machine;
use palimpsest_paging::{FaultAround, Policies, ZeroStores};

use crate::BenchError;
use crate::figures::Figures;
use crate::pages::{self, Operation, Variant};

/// The sizes of the ranges in Wasm pages: 64 KiB, 1 MiB.
const RANGES: [u32; 2] = [1, 16];

/// What comes of touching pages for the first time.
const TOUCHES: &[Operation] = &[Operation::FirstTouch, Operation::ClearTouch, Operation::SparseTouch];

/// Measures each of them. To be called last: scrubbed frames that are left over stay scrubbed.
pub(crate) fn measure(machine: &Machine, figures: &mut Figures) -> Result<(), BenchError> {
    let standing = machine.space().policies();
    let without = [
        ("/without fault-around", TOUCHES, Policies { fault_around: FaultAround::Off, ..standing }),
        (
            "/without stepping over zeros",
            &[Operation::FillZero],
            Policies { zero_stores: ZeroStores::Off, ..standing },
        ),
    ];
    for (suffix, kept, policies) in without {
        machine.space().set_policies(policies);
        let variant = Variant { suffix, kept, scrubbed: None };
        let measured = pages::measure_variant(machine, &RANGES, variant, figures);
        machine.space().set_policies(standing);
        measured?;
    }
    let suffix = "/with scrubbed frames";
    let scrubbed = Variant { suffix, kept: TOUCHES, scrubbed: Some(machine.frames()) };
    pages::measure_variant(machine, &RANGES, scrubbed, figures)
}
