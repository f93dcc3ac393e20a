//! Pages that were committed ahead: which of them were never written.
//!
//! A frame of zeros behind a page cannot be told from no frame, so one that was committed ahead and still
//! holds zeros may be released. It is looked at while the CPU cannot reach it, so that no write is missed:
//! the entry is suspended, the TLB is flushed, and then it is settled. Called by: `ahead`.

use x86_64::structures::paging::page::PageRange;
use x86_64::structures::paging::page_table::PageTableLevel;

use super::entry::{OWNED, defer, held, is_ahead, suspend};
use super::{Held, Table};
use crate::pages::{indices, page_at};
use crate::tlb::FlushBatch;

impl Table<'_> {
    /// Takes the pages of a level-1 table that were committed ahead out of the CPU's reach, until they are
    /// settled.
    pub(crate) fn suspend_ahead(&mut self, pages: PageRange, batch: &mut FlushBatch) {
        debug_assert_eq!(self.level, PageTableLevel::One);
        let indices = indices(pages, self.level);
        let first = indices.start;
        for index in indices {
            let entry = &mut self.entries[index];
            if matches!(held(entry), Held::Owned(_)) && is_ahead(entry) {
                suspend(entry);
                batch.add_with(|| page_at(pages, index - first));
            }
        }
    }

    /// Makes suspended pages of zeros deferred ones, and tells how many there are; the others are mapped
    /// again for good.
    ///
    /// # Safety
    ///
    /// The caller guarantees that the TLB was flushed for the pages after they were suspended.
    pub(crate) unsafe fn settle_ahead(&mut self, pages: PageRange) -> u64 {
        debug_assert_eq!(self.level, PageTableLevel::One);
        let mut deferred_frames = 0;
        for index in indices(pages, self.level) {
            let entry = &mut self.entries[index];
            let Held::Deferred(frame) = held(entry) else { continue };
            if !is_ahead(entry) {
                continue;
            }
            // SAFETY: the entry owns the frame, is borrowed exclusively, and no CPU translates by it, by this
            // function's contract; the frame holds data, so no reference to it exists.
            if unsafe { self.memory.is_zero_at(frame) } {
                defer(entry);
                deferred_frames += 1;
            } else {
                entry.set_frame(frame, OWNED);
            }
        }
        deferred_frames
    }
}
