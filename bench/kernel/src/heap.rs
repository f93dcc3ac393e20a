//! Measures `palimpsest-heap`: what a guest pays for a block, from its call of `malloc` to the
//! return of its `free`.
//!
//! Two patterns: one block at a time, as temporary buffers are used; and many at once, freed in
//! reverse order. Each block is written to, so that its first page is resident. The figures include
//! the guest's own loop.

use alloc::format;
use alloc::vec::Vec;

use kernel_demo::Machine;

use crate::BenchError;
use crate::figures::{Figures, timed};
use crate::guest::{Loaded, guest};

/// Sizes of blocks in bytes: two that share pages with others, and one of whole pages.
const SIZES: [u32; 3] = [16, 1024, 64 << 10];

/// The number of blocks in a reading.
const BLOCKS: u32 = 256;

/// Measures both patterns.
pub(crate) fn measure(machine: &Machine, figures: &mut Figures) -> Result<(), BenchError> {
    let loaded = Loaded::with_heap(machine, guest!("heap"))?;
    for pattern in ["one", "many"] {
        for bytes in SIZES {
            let mut running = loaded.instantiate()?;
            // The first call translates the function.
            running.call::<_, u32>(pattern, (BLOCKS, bytes))?;
            let mut readings = Vec::with_capacity(figures.runs());
            for _ in 0..figures.runs() {
                let (ticks, called) = timed(|| running.call::<_, u32>(pattern, (BLOCKS, bytes)));
                called?;
                readings.push(ticks);
            }
            figures.cost_each(format!("heap_{pattern}/{bytes} bytes"), &mut readings, BLOCKS.into());
        }
    }
    Ok(())
}
