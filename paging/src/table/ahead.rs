//! Pages that were committed ahead of their first touch, and which of them were written.
//!
//! The entry of such a page has a bit that marks it, and starts without the dirty bit. The CPU sets
//! the dirty bit at the first write, without a fault (Intel SDM Vol 3A, 4.8). A page without the
//! bit was never written: it reads as zero, as a page without a frame does, so its frame may be
//! released.
//!
//! A CPU may set the bit at any moment while it can reach the entry. So an entry is first taken out
//! of the CPU's reach, then the TLB is flushed, and only then the bit decides what becomes of the
//! page.

use x86_64::structures::paging::page::PageRange;
use x86_64::structures::paging::page_table::PageTableLevel;

use super::entry::{OWNED, defer, is_dirty, is_untouched, state, suspend};
use super::{EntryState, Table};
use crate::pages::{indices, page_at};
use crate::tlb::{FlushBatch, Flushed};

impl Table<'_> {
    /// The number of pages in the range that were committed ahead and never written.
    pub(crate) fn count_untouched(&mut self, pages: PageRange) -> u64 {
        debug_assert_eq!(self.level, PageTableLevel::One);
        let places = indices(pages, self.level);
        let entries = self.whole().iter().skip(places.start).take(places.len());
        entries.filter(|entry| is_untouched(entry)).count() as u64
    }

    /// Takes the pages that were committed ahead and never written out of the CPU's reach, until
    /// they are settled. Returns whether there are any.
    pub(crate) fn suspend_untouched(&mut self, pages: PageRange, batch: &mut FlushBatch) -> bool {
        debug_assert_eq!(self.level, PageTableLevel::One);
        let places = indices(pages, self.level);
        let first = places.start;
        let mut is_any = false;
        let entries = self.whole();
        for index in places {
            let entry = &mut entries[index];
            if is_untouched(entry) {
                suspend(entry);
                batch.add_with(|| page_at(pages, index - first));
                is_any = true;
            }
        }
        is_any
    }

    /// Turns suspended pages into deferred ones, and returns their number. Maps those again that
    /// were written at the last moment.
    pub(crate) fn settle_untouched(&mut self, pages: PageRange, _: &Flushed) -> u64 {
        debug_assert_eq!(self.level, PageTableLevel::One);
        let mut deferred_frames = 0;
        let places = indices(pages, self.level);
        let entries = self.whole();
        for index in places {
            let entry = &mut entries[index];
            let EntryState::Detached(frame) = state(entry) else { continue };
            if is_dirty(entry) {
                entry.set_frame(frame, OWNED);
            } else {
                defer(entry);
                deferred_frames += 1;
            }
        }
        if deferred_frames > 0 {
            self.mark_deferred();
        }
        deferred_frames
    }
}

#[cfg(test)]
mod tests {
    use x86_64::structures::paging::page_table::PageTableEntry;
    use x86_64::structures::paging::{Page, PageTable, PageTableFlags, PhysFrame};
    use x86_64::{PhysAddr, VirtAddr};

    use super::*;
    use crate::frame::PhysicalMemory;
    use crate::table::entry::OWNED_AHEAD;
    use crate::tlb::tests::Log;

    #[test]
    fn a_page_that_is_written_after_its_entry_was_suspended_is_mapped_again() {
        // SAFETY: no frame is accessed through it.
        let memory = unsafe { PhysicalMemory::new(VirtAddr::zero()) };
        let mut entries = PageTable::new();
        let mut owner = PageTableEntry::new();
        let frame = |number: u64| PhysFrame::containing_address(PhysAddr::new(0x10_0000 + number * 0x1000));
        entries.iter_mut().zip((0..4).map(frame)).for_each(|(entry, frame)| {
            entry.set_frame(frame, OWNED_AHEAD);
        });
        let first_entry: *mut PageTableEntry = (&raw mut entries).cast();
        let mut table = Table { memory, level: PageTableLevel::One, entries: first_entry, owner: &mut owner };
        let first = Page::containing_address(VirtAddr::new(0x4000_0000));
        let pages = Page::range(first, first + 512);
        assert_eq!(table.count_untouched(pages), 4);

        let mut batch = FlushBatch::new();
        assert!(table.suspend_untouched(pages, &mut batch));
        assert_eq!(table.count_untouched(pages), 0);
        // A CPU that still has the translation writes the page.
        let written = table.entry_mut(first + 2);
        written.set_flags(written.flags() | PageTableFlags::DIRTY);
        let flushed = batch.flush(&Log::default());
        assert_eq!(table.settle_untouched(pages, &flushed), 3);

        let states = [0, 1, 2, 3, 4].map(|number| table.state(first + number));
        let deferred = |number| EntryState::Deferred(frame(number));
        let expected =
            [deferred(0), deferred(1), EntryState::Owned(frame(2)), deferred(3), EntryState::Absent];
        assert_eq!(states, expected);
        assert_eq!(table.count_untouched(pages), 0);
    }
}
