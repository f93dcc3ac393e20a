//! What an instance costs before it runs: instantiation and growth, of one Wasm page and of 65,536.

use alloc::format;
use alloc::vec::Vec;

use kernel_demo::Machine;
use palimpsest_protocol::Unit;

use crate::figures::{Figures, timed};
use crate::guest::{Loaded, guest};
use crate::{BenchError, doing};

/// The guests, and what their memories' sizes are called: Wasm pages.
const SIZES: [(&str, &[u8]); 2] = [("1", guest!("page")), ("65536", guest!("four-gib"))];

/// Wasm pages to grow by.
const GROWTH: [u64; 2] = [1, 65_535];

/// Measures both.
pub(crate) fn measure(machine: &Machine, figures: &mut Figures) -> Result<(), BenchError> {
    instantiation(machine, figures)?;
    growth(machine, figures)
}

/// Instantiates in an existing store, because a kernel has one for each program.
fn instantiation(machine: &Machine, figures: &mut Figures) -> Result<(), BenchError> {
    for (size, wasm) in SIZES {
        let loaded = Loaded::new(machine, wasm)?;
        // The first instance also pays for the growth of the kernel's own lists.
        drop(loaded.instantiate()?);
        holdings(machine, &loaded, size, figures)?;
        let mut readings = Vec::with_capacity(figures.runs());
        for _ in 0..figures.runs() {
            let store = loaded.store();
            let (ticks, running) = timed(|| loaded.instantiate_in(store));
            running?;
            readings.push(ticks);
        }
        figures.cost(format!("instantiate/{size}"), &mut readings);
    }
    Ok(())
}

/// Counts the frames and the heap bytes of an instance that has not run.
fn holdings(machine: &Machine, loaded: &Loaded, size: &str, figures: &mut Figures) -> Result<(), BenchError> {
    let heap_bytes = || machine.heap().used_bytes as u64;
    let empty = heap_bytes();
    let store = loaded.store();
    let with_store = heap_bytes();
    let running = loaded.instantiate_in(store)?;
    let with_instance = heap_bytes();
    let held = running.residency()?;
    figures.count(format!("instantiate_data_frames/{size}"), Unit::Frames, held.resident_frames);
    figures.count(format!("instantiate_table_frames/{size}"), Unit::Frames, held.table_frames);
    figures.count(format!("store_heap/{size}"), Unit::Bytes, with_store - empty);
    figures.count(format!("instance_heap/{size}"), Unit::Bytes, with_instance - with_store);
    Ok(())
}

fn growth(machine: &Machine, figures: &mut Figures) -> Result<(), BenchError> {
    let loaded = Loaded::new(machine, guest!("growing"))?;
    for wasm_pages in GROWTH {
        let mut readings = Vec::with_capacity(figures.runs());
        for _ in 0..figures.runs() {
            let mut running = loaded.instantiate()?;
            let memory = running.memory()?;
            let (ticks, grown) = timed(|| memory.grow(&mut running.store, wasm_pages));
            doing("growing", grown)?;
            readings.push(ticks);
        }
        figures.cost(format!("grow/{wasm_pages}"), &mut readings);
    }
    Ok(())
}
