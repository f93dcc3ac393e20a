//! Pages that were committed ahead: which of them were never written.
//!
//! A page whose frame holds zeros cannot be told from a page without a frame, so a frame that was committed ahead and
//! still holds zeros may be released. The frame is examined while the CPU cannot reach it, so that no write is missed:
//! the entry is suspended, the TLB is flushed, and then the entry is settled.

use x86_64::structures::paging::page::PageRange;
use x86_64::structures::paging::page_table::PageTableLevel;

use super::entry::{OWNED, defer, is_ahead, state, suspend};
use super::{EntryState, Table};
use crate::pages::{indices, page_at};
use crate::tlb::{FlushBatch, Flushed};

impl Table<'_> {
    /// Takes the pages of a level-1 table that were committed ahead out of the CPU's reach, until they are settled.
    pub(crate) fn suspend_ahead(&mut self, pages: PageRange, batch: &mut FlushBatch) {
        debug_assert_eq!(self.level, PageTableLevel::One);
        let indices = indices(pages, self.level);
        let first = indices.start;
        for index in indices {
            let entry = &mut self.entries[index];
            if matches!(state(entry), EntryState::Owned(_)) && is_ahead(entry) {
                suspend(entry);
                batch.add_with(|| page_at(pages, index - first));
            }
        }
    }

    /// Turns suspended pages of zeros into deferred ones, and maps the others again for good. Returns the number of
    /// deferred ones.
    pub(crate) fn settle_ahead(&mut self, pages: PageRange, _: &Flushed) -> u64 {
        debug_assert_eq!(self.level, PageTableLevel::One);
        let mut deferred_frames = 0;
        for index in indices(pages, self.level) {
            let entry = &mut self.entries[index];
            let EntryState::Deferred(frame) = state(entry) else { continue };
            if !is_ahead(entry) {
                continue;
            }
            // SAFETY: the entry owns the frame, is borrowed exclusively, and is suspended: no CPU translates by it,
            // because the TLB was flushed after that. The frame holds data, so no reference to it exists.
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
