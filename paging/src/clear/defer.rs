//! Clearing pages now and releasing their frames later.
//!
//! A deferred page keeps its frame, with the old bytes, in an entry that the CPU cannot use. A
//! touch zeroes the frame and takes it back; a reclaim releases it. So the old bytes are never
//! read: they are gone before the entry is present again, and every frame of the frame source is
//! zeroed before its next use. (A CPU with the L1 terminal fault may guess bytes through an entry
//! that is not present; here those are bytes of the same region.)
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
        self.tables.each_resident(pages, |resident| {
            resident.defer(&mut batch);
            frames += 1;
        });
        batch.flush(self.platform);
        self.record.record_deferred(pages, frames);
        frames
    }

    /// Releases up to `budget_frames` deferred frames, from the lowest page on, and tables that
    /// this empties.
    pub(crate) fn reclaim(&mut self, budget_frames: u64) -> Decommitted {
        let deferred_frames = self.record.figures.deferred_frames;
        if budget_frames == 0 || deferred_frames == 0 {
            return Decommitted::default();
        }
        let all = self.record.deferred;
        let is_enough = deferred_frames <= budget_frames;
        let last = if is_enough { None } else { self.tables.nth_deferred(all, budget_frames) };
        let reached = last.map_or(all.end, |last| last + 1);
        self.record.deferred = Page::range(reached, all.end);
        self.sweep(Sweep::Deferred, Page::range(all.start, reached))
    }
}

impl State {
    /// Releases up to `budget_frames` deferred frames of the regions whose records are `eligible`,
    /// in the order of their addresses.
    pub(crate) fn reclaim<P: Platform>(
        &mut self,
        eligible: impl Fn(&Record) -> bool,
        budget_frames: u64,
        platform: &P,
    ) -> Decommitted {
        let mut released = Decommitted::default();
        self.each_mapping(eligible, platform, |mut mapping| {
            released += mapping.reclaim(budget_frames - released.frames_released);
        });
        released
    }
}
