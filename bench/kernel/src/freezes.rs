//! Images that are made of regions in place: the cost of a freeze, of one more after a few writes,
//! and of a fork up to its first write. Before the freeze: the cost of a mark, and of finding the
//! pages that were written.
//!
//! The regions are those of the paging crate, so that the interpreter is not in the figures.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use kernel_demo::Machine;
use palimpsest_paging::{Account, AddressSpace, Platform, Region};

use crate::figures::{Figures, timed};
use crate::{BenchError, doing};

const PAGE_BYTES: u64 = 4 << 10;

/// The bytes of a region that are written before it is frozen: 64 MiB.
const RESIDENT_BYTES: u64 = 64 << 20;

/// The number of pages that are written between two freezes.
const DIRTY_PAGES: u64 = 16;

/// How far these pages are apart if they are spread over the region: each is in another table, and
/// at another place there.
const SPREAD_BYTES: u64 = RESIDENT_BYTES / DIRTY_PAGES - 61 * PAGE_BYTES;

/// The capacities of the regions that are forked, and the bytes of them that the image has. The
/// cost should not depend on them.
const FORKS: [(u64, u64); 2] = [(64 << 10, 64 << 10), (4 << 30, RESIDENT_BYTES)];

/// Measures all of them.
pub(crate) fn measure(machine: &Machine, figures: &mut Figures) -> Result<(), BenchError> {
    freezes(machine.space(), figures)?;
    descending(machine.space(), figures)?;
    FORKS.into_iter().try_for_each(|(capacity, resident)| forks(machine.space(), capacity, resident, figures))
}

fn freezes(space: &AddressSpace<impl Platform>, figures: &mut Figures) -> Result<(), BenchError> {
    let [mut first, mut spread, mut adjacent, mut unchanged] = [const { Vec::new() }; 4];
    let [mut marked, mut visited] = [Vec::new(), Vec::new()];
    for _ in 0..figures.runs() {
        let mut region = new_region(space, RESIDENT_BYTES)?;
        write(&region, pages_of(RESIDENT_BYTES));
        let (ticks, ()) = timed(|| region.mark());
        marked.push(ticks);
        let mut pages = 0;
        let (ticks, ()) = timed(|| region.each_written(|run| pages += run.len()));
        visited.push(ticks);
        assert_eq!(pages, RESIDENT_BYTES / PAGE_BYTES, "all pages were written");
        let (ticks, frozen) = timed(|| region.freeze());
        let _shown = doing("freezing", frozen)?;
        first.push(ticks);
        for (distance, readings) in [(SPREAD_BYTES, &mut spread), (PAGE_BYTES, &mut adjacent)] {
            write(&region, (0..DIRTY_PAGES).map(|page| page * distance));
            let (ticks, frozen) = timed(|| region.freeze());
            doing("freezing", frozen)?;
            readings.push(ticks);
        }
        let (ticks, frozen) = timed(|| region.freeze());
        doing("freezing", frozen)?;
        unchanged.push(ticks);
    }
    figures.cost_per_page(format!("mark/{RESIDENT_BYTES}"), &mut marked, RESIDENT_BYTES / PAGE_BYTES);
    figures.cost_per_page(format!("written/{RESIDENT_BYTES}"), &mut visited, RESIDENT_BYTES / PAGE_BYTES);
    figures.cost_per_page(format!("freeze/{RESIDENT_BYTES}"), &mut first, RESIDENT_BYTES / PAGE_BYTES);
    figures.cost(format!("freeze_after_{DIRTY_PAGES}/{RESIDENT_BYTES}"), &mut spread);
    figures.cost(format!("freeze_after_{DIRTY_PAGES}/{RESIDENT_BYTES}/adjacent"), &mut adjacent);
    figures.cost(format!("freeze_after_0/{RESIDENT_BYTES}"), &mut unchanged);
    Ok(())
}

/// Measures the freeze of pages that were written from the last to the first. So no frame follows
/// the one of the page before.
fn descending(space: &AddressSpace<impl Platform>, figures: &mut Figures) -> Result<(), BenchError> {
    let mut readings = Vec::new();
    for _ in 0..figures.runs() {
        let mut region = new_region(space, RESIDENT_BYTES)?;
        write(&region, pages_of(RESIDENT_BYTES).rev());
        let (ticks, frozen) = timed(|| region.freeze());
        doing("freezing", frozen)?;
        readings.push(ticks);
    }
    let name = format!("freeze/{RESIDENT_BYTES}/descending");
    figures.cost_per_page(name, &mut readings, RESIDENT_BYTES / PAGE_BYTES);
    Ok(())
}

fn forks(
    space: &AddressSpace<impl Platform>,
    capacity: u64,
    resident: u64,
    figures: &mut Figures,
) -> Result<(), BenchError> {
    let mut source = new_region(space, capacity)?;
    write(&source, pages_of(resident));
    let image = doing("freezing", source.freeze())?.image;
    let [mut attached, mut written] = [Vec::new(), Vec::new()];
    for _ in 0..figures.runs() {
        let mut fork = new_region(space, capacity)?;
        let (ticks, outcome) = timed(|| fork.attach(&image));
        doing("attaching", outcome)?;
        attached.push(ticks);
        let (ticks, ()) = timed(|| write(&fork, [0]));
        written.push(ticks);
    }
    figures.cost(format!("fork_attach/{capacity}"), &mut attached);
    figures.cost(format!("fork_first_write/{capacity}"), &mut written);
    Ok(())
}

/// A region all of which can be used.
fn new_region<P: Platform>(space: &AddressSpace<P>, bytes: u64) -> Result<Region<'_, P>, BenchError> {
    let account = Arc::new(Account::new(None));
    let mut region = doing("reserving", space.reserve(bytes, &account))?;
    doing("setting the limit", region.set_limit(bytes))?;
    space.enter(&account);
    Ok(region)
}

/// The distances of the pages of so many bytes.
fn pages_of(bytes: u64) -> impl DoubleEndedIterator<Item = u64> {
    (0..bytes / PAGE_BYTES).map(|page| page * PAGE_BYTES)
}

/// Writes the bytes at these distances from the start of a region.
fn write<P: Platform>(region: &Region<'_, P>, offsets: impl IntoIterator<Item = u64>) {
    let limit = region.limit_bytes();
    for offset in offsets {
        assert!(offset < limit, "the limit is the capacity");
        let byte: *mut u8 = (region.base() + offset).as_mut_ptr();
        // SAFETY: the byte is below the region's limit, and nothing refers to the region's memory.
        unsafe { byte.write_volatile(1) };
    }
}
