//! Frames that were committed ahead of their first touch: counting them, and giving them up.
//!
//! Such frames are taken only while enough of them are free, so they must never be the reason why
//! an allocation fails. When frames run short, those that were never written become deferred,
//! because such a page reads the same as one that was never touched, and are reclaimed like other
//! deferred frames.
//!
//! No counter is kept for them, because a write to such a page causes no fault. The CPU sets the
//! dirty bit of its entry, and these bits are read when the number is requested.
//!
//! Invariant: the record's `ahead` covers all pages of the region that were committed ahead and
//! never written.

use x86_64::structures::paging::page::PageRange;

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

    /// Counts the pages that were committed ahead and never written.
    fn count_ahead(&mut self) -> u64 {
        let Mapping { record, tables, .. } = self;
        let mut frames = 0;
        record.ahead.retain(|pages| {
            let untouched = tables.level1(pages.start).map_or(0, |mut table| table.count_untouched(pages));
            frames += untouched;
            untouched > 0
        });
        frames
    }

    /// Turns pages that were committed ahead and never written into deferred ones, and returns
    /// their number.
    pub(crate) fn demote_ahead(&mut self) -> u64 {
        let mut frames = 0;
        while let Some(pages) = self.record.ahead.pop() {
            frames += self.demote(pages);
        }
        frames
    }

    /// As [`demote_ahead`](Self::demote_ahead), for those of the pages of one level-1 table.
    pub(crate) fn demote(&mut self, pages: PageRange) -> u64 {
        let mut batch = FlushBatch::new();
        let mut frames = 0;
        let is_any = self
            .tables
            .level1(pages.start)
            .is_some_and(|mut table| table.suspend_untouched(pages, &mut batch));
        if is_any {
            let flushed = batch.flush(self.platform);
            self.tables.cpus().record_change(self.record.account.seat(), self.platform);
            self.tables.each_level1(pages, |table, piece| frames += table.settle_untouched(piece, &flushed));
            self.record.record_deferred(pages, frames);
        }
        frames
    }
}

impl State {
    /// As [`Mapping::demote_ahead`], for the first region that has such pages and whose record is
    /// `eligible`.
    pub(crate) fn demote_some<P: Platform>(
        &mut self,
        eligible: impl Fn(&Record) -> bool,
        platform: &P,
    ) -> u64 {
        self.first_mapping(eligible, platform, |mut mapping| {
            if mapping.record.ahead.is_empty() {
                return None;
            }
            let frames = mapping.relieve(Mapping::demote_ahead)?;
            (frames > 0).then_some(frames)
        })
        .unwrap_or_default()
    }
}
