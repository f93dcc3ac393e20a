//! Clearing pages now and releasing their frames later.
//!
//! A deferred page keeps its frame, with the old bytes, in an entry that the CPU cannot use. A
//! touch zeroes the frame and takes it back; a reclaim releases it. So the old bytes are never
//! read: they are gone before the entry is present again, and every frame of the frame source is
//! zeroed before its next use. (A CPU with the L1 terminal fault may read bytes speculatively
//! through an entry that is not present; here those are bytes of the same region.)
//!
//! Invariant: the record's `deferred` range covers all deferred pages of the region, and
//! `deferred_frames` is their number.

use x86_64::structures::paging::Page;
use x86_64::structures::paging::page::PageRange;

use super::Decommitted;
use crate::platform::Platform;
use crate::record::Record;
use crate::state::{Mapping, State};
use crate::table::Sweep;
use crate::tlb::FlushBatch;

impl<P: Platform> Mapping<'_, P> {
    /// Takes the resident frames of the pages out of the CPU's reach, and returns their number.
    pub(crate) fn defer(&mut self, pages: PageRange) -> u64 {
        let mut batch = FlushBatch::new();
        let mut frames = 0;
        self.tables.each_level1(pages, |table, piece| frames += table.defer_resident(piece, &mut batch));
        batch.flush(self.platform);
        self.tables.cpus().record_change(self.record.account.seat(), self.platform);
        self.record.record_deferred(pages, frames);
        frames
    }

    /// Releases up to `budget_frames` deferred frames of the lowest level-1 table that has any, and
    /// the tables that this empties.
    ///
    /// The marks lead to the table, so this takes the same time for a region of any size.
    pub(crate) fn reclaim_some(&mut self, budget_frames: u64) -> Decommitted {
        if budget_frames == 0 || self.record.figures.deferred_frames == 0 {
            return Decommitted::default();
        }
        let all = self.record.deferred;
        let Some(some) = self.tables.first_deferred(all, budget_frames) else {
            debug_assert!(false, "no mark leads to a deferred page");
            return Decommitted::default();
        };
        self.record.deferred = Page::range(some.end, all.end);
        self.sweep(Sweep::Deferred, some)
    }
}

impl State {
    /// As [`Mapping::reclaim_some`], for the first region that has deferred frames and whose record
    /// is `eligible`.
    pub(crate) fn reclaim_some<P: Platform>(
        &mut self,
        eligible: impl Fn(&Record) -> bool,
        budget_frames: u64,
        platform: &P,
    ) -> Decommitted {
        self.first_mapping(eligible, platform, |mut mapping| {
            if mapping.record.figures.deferred_frames == 0 {
                return None;
            }
            let released = mapping.relieve(|mapping| mapping.reclaim_some(budget_frames))?;
            (released.frames_released > 0).then_some(released)
        })
        .unwrap_or_default()
    }
}
