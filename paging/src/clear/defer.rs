//! Clearing pages now and releasing their frames later.
//!
//! A deferred page keeps its frame, with the old bytes, in an entry that the CPU cannot use. A touch zeroes
//! the frame and takes it back; a reclaim releases it. So nobody ever reads the old bytes: they are gone
//! before the entry is present again, and a frame source's frames are zeroed by whoever gets them. (A CPU
//! with the L1 terminal fault may guess bytes through an entry that is not present: here those of the same
//! region.)
//!
//! Invariant: all deferred pages of a region are in its record's `deferred` range, and `deferred_frames`
//! counts them. Called by: the region's `defer` and `reclaim`, the space's `reclaim`, and a fault that found
//! no frame.

use x86_64::structures::paging::Page;
use x86_64::structures::paging::page::PageRange;

use super::{Decommitted, sweep};
use crate::frame::FrameSource;
use crate::record::Record;
use crate::state::{Env, State};
use crate::table::{Sweep, WindowTables};
use crate::tlb::{FlushBatch, Tlb};

/// Takes the resident frames of the pages out of the CPU's reach, and tells how many there are.
pub(crate) fn defer<S: FrameSource, T: Tlb>(
    pages: PageRange,
    record: &mut Record,
    tables: &mut WindowTables,
    env: Env<'_, S, T>,
) -> u64 {
    let (mut batch, mut frames) = (FlushBatch::new(), 0);
    tables.each_resident(pages, |resident| {
        batch.add(resident.page());
        resident.defer();
        frames += 1;
    });
    batch.flush(env.tlb);
    record.note_deferred(pages, frames);
    frames
}

/// Releases up to `budget_frames` deferred frames of a region, from its lowest page on, and tables that this
/// empties.
pub(crate) fn reclaim<S: FrameSource, T: Tlb>(
    budget_frames: u64,
    record: &mut Record,
    tables: &mut WindowTables,
    env: Env<'_, S, T>,
) -> Decommitted {
    if budget_frames == 0 || record.residency.deferred_frames == 0 {
        return Decommitted::default();
    }
    let (all, is_enough) = (record.deferred, record.residency.deferred_frames <= budget_frames);
    let last = if is_enough { None } else { tables.nth_deferred(all, budget_frames) };
    let reached = last.map_or(all.end, |last| last + 1);
    record.deferred = Page::range(reached, all.end);
    sweep(Sweep::Deferred, Page::range(all.start, reached), record, tables, env)
}

/// Releases up to `budget_frames` deferred frames of the regions that are `eligible`, in the order of their
/// addresses.
pub(crate) fn reclaim_from<S: FrameSource, T: Tlb>(
    eligible: impl Fn(&Record) -> bool,
    budget_frames: u64,
    state: &mut State,
    env: Env<'_, S, T>,
) -> Decommitted {
    let State { tables, directory, .. } = state;
    let mut released = Decommitted::default();
    for record in directory.records_mut().iter_mut().filter(|record| eligible(record)) {
        released += reclaim(budget_frames - released.frames_released, record, tables, env);
    }
    released
}
