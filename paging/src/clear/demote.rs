//! Giving up frames that were committed ahead of their first touch.
//!
//! Such frames are taken only while enough of them are free, so they must never be the reason why an allocation fails.
//! When frames run short, those that still hold zeros become deferred, because such a page cannot be told from one that
//! was never touched, and are reclaimed like other deferred frames. Pages that were written stay as they are and are
//! resident from then on.
//!
//! Invariant: the record's `ahead` range covers all pages of the region that were committed ahead.

use crate::platform::Platform;
use crate::record::Record;
use crate::state::{Mapping, State};
use crate::tlb::FlushBatch;

impl<P: Platform> Mapping<'_, P> {
    /// Turns pages that were committed ahead and hold zeros into deferred ones, and returns their number.
    pub(crate) fn demote_ahead(&mut self) -> u64 {
        let pages = self.record.take_ahead();
        let mut batch = FlushBatch::new();
        self.tables.each_level1(pages, |mut table, piece| table.suspend_ahead(piece, &mut batch));
        let flushed = batch.flush(self.platform);
        let mut frames = 0;
        self.tables.each_level1(pages, |mut table, piece| {
            frames += table.settle_ahead(piece, &flushed);
        });
        self.record.note_deferred(pages, frames);
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
