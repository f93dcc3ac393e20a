//! Frames that were committed ahead of their first touch: counting them, and giving them up.
//!
//! Such frames are taken only while enough of them are free, so they must never be the reason why
//! an allocation fails. When frames run short, those that were never written become deferred,
//! because such a page cannot be told from one that was never touched, and are reclaimed like other
//! deferred frames.
//!
//! No counter is kept for them. The CPU alone learns that a page is written, without a fault, and
//! the dirty bits of the pages in question are read when the number is asked for.
//!
//! Invariant: the record's `ahead` range covers all pages of the region that were committed ahead
//! and never written.

use crate::pages::hull;
use crate::platform::Platform;
use crate::record::{Record, Residency};
use crate::state::{Mapping, State};
use crate::tlb::FlushBatch;

impl<P: Platform> Mapping<'_, P> {
    /// The figures of the region.
    pub(crate) fn residency(&mut self) -> Residency {
        let ahead_frames = self.count_ahead();
        self.record.figures.residency(ahead_frames)
    }

    /// Counts the pages that were committed ahead and never written. It takes time for those that
    /// were, and for the pages between them, since the last count.
    fn count_ahead(&mut self) -> u64 {
        let mut frames = 0;
        let mut left = self.record.nothing();
        self.tables.each_level1(self.record.ahead, |mut table, piece| {
            let untouched = table.count_untouched(piece);
            if untouched > 0 {
                left = hull(left, piece);
            }
            frames += untouched;
        });
        self.record.ahead = left;
        frames
    }

    /// Turns pages that were committed ahead and never written into deferred ones, and returns
    /// their number.
    pub(crate) fn demote_ahead(&mut self) -> u64 {
        let pages = self.record.ahead;
        let mut batch = FlushBatch::new();
        self.tables.each_level1(pages, |mut table, piece| table.suspend_untouched(piece, &mut batch));
        let flushed = batch.flush(self.platform);
        let mut frames = 0;
        self.tables.each_level1(pages, |mut table, piece| {
            frames += table.settle_untouched(piece, &flushed);
        });
        self.record.ahead = self.record.nothing();
        self.record.record_deferred(pages, frames);
        frames
    }
}

impl State {
    /// As [`Mapping::demote_ahead`], for all regions whose records are `eligible`.
    pub(crate) fn demote_ahead<P: Platform>(
        &mut self,
        eligible: impl Fn(&Record) -> bool,
        platform: &P,
    ) -> u64 {
        let mut frames = 0;
        self.each_mapping(eligible, platform, |mut mapping| frames += mapping.demote_ahead());
        frames
    }
}
