//! Giving up what was committed ahead.
//!
//! Frames that were committed ahead of their first touch are taken only while there are enough, so they must
//! never be the reason why somebody else finds none. When frames run short, those that still hold zeros
//! become deferred: nobody can tell the page from one that was never touched, and the frames are reclaimed
//! like other deferred ones. What was written stays, and is not looked at again.
//!
//! Invariant: all pages of a region that are marked as committed ahead are in its record's `ahead` range.
//! Called by: a fault that found no frame, and a lowered limit.

use crate::frame::FrameSource;
use crate::record::Record;
use crate::state::{Env, State};
use crate::table::WindowTables;
use crate::tlb::{FlushBatch, Tlb};

/// Makes the region's pages that were committed ahead and hold zeros deferred ones, and tells how many there
/// are.
pub(crate) fn demote_ahead<S: FrameSource, T: Tlb>(
    record: &mut Record,
    tables: &mut WindowTables,
    env: Env<'_, S, T>,
) -> u64 {
    let pages = record.take_ahead();
    let (mut batch, mut frames) = (FlushBatch::new(), 0);
    tables.each_level1(pages, |mut table, piece| table.suspend_ahead(piece, &mut batch));
    batch.flush(env.tlb);
    // SAFETY: the TLB was flushed just now for all pages that the walk before has suspended.
    tables.each_level1(pages, |mut table, piece| frames += unsafe { table.settle_ahead(piece) });
    record.note_deferred(pages, frames);
    frames
}

/// As [`demote_ahead`], for all regions that are `eligible`.
pub(crate) fn demote_ahead_of<S: FrameSource, T: Tlb>(
    eligible: impl Fn(&Record) -> bool,
    state: &mut State,
    env: Env<'_, S, T>,
) -> u64 {
    let State { tables, directory, .. } = state;
    let records = directory.records_mut().iter_mut().filter(|record| eligible(record));
    records.map(|record| demote_ahead(record, tables, env)).sum()
}
