//! Modules with megabytes of data: the cost of instantiating them and of touching a few pages.
//!
//! The host makes the modules and puts them into the boot archive. Each has one memory, one active
//! data segment that fills it, and a function that writes one byte into each of the first pages.

use alloc::format;
use alloc::vec::Vec;

use kernel_demo::Machine;
use palimpsest_engine::Images;
use palimpsest_protocol::Unit;

use crate::figures::{Figures, timed};
use crate::guest::Loaded;
use crate::{BenchError, doing};

const MIB: u32 = 1 << 20;

/// The sizes of the segments in bytes. The cost should not depend on them.
const SIZES: [u32; 2] = [MIB, 8 * MIB];

/// The number of pages that the guest writes to.
const TOUCHED_PAGES: u32 = 16;

/// Measures each size, with copy-on-write images and with data that each instance copies.
pub(crate) fn measure(machine: &Machine, figures: &mut Figures) -> Result<(), BenchError> {
    let ways = [("", Images::CopyOnWrite), ("/without images", Images::Off)];
    ways.into_iter().try_for_each(|(suffix, images)| {
        SIZES.into_iter().try_for_each(|bytes| measure_size(machine, bytes, (suffix, images), figures))
    })
}

fn measure_size(
    machine: &Machine,
    bytes: u32,
    (suffix, images): (&str, Images),
    figures: &mut Figures,
) -> Result<(), BenchError> {
    let file = machine.file(&format!("segments-{bytes}.wasm"));
    let wasm = doing("segments", file.ok_or("a module is not in the boot archive"))?;
    let loaded = Loaded::with_images(machine, wasm, images)?;
    let name = |what: &str| format!("{what}/{bytes}{suffix}");
    // The first instance of a module may build what the others share.
    let (first, running) = timed(|| loaded.instantiate());
    figures.once(name("segments_first"), first);
    let held = running?.residency()?;
    figures.count(name("segments_frames"), Unit::Frames, held.resident_frames);
    let (mut instantiated, mut touched) = (Vec::new(), Vec::new());
    for _ in 0..figures.runs() {
        let store = loaded.store();
        let (ticks, running) = timed(|| loaded.instantiate_in(store));
        let mut running = running?;
        let (more, called) = timed(|| running.call::<u32, ()>("touch", TOUCHED_PAGES));
        called?;
        instantiated.push(ticks);
        touched.push(ticks + more);
    }
    figures.cost(name("segments_instantiate"), &mut instantiated);
    figures.cost(name(&format!("segments_touch_{TOUCHED_PAGES}")), &mut touched);
    Ok(())
}
