//! Large pages in a sweep of everything: taken out as a whole, or split if a part of them stays.
//!
//! The order is that of the module above: what is detached by the first walk is released by the second one, behind the
//! flush. A split flushes on its own. Called by: the two walks.

use x86_64::structures::paging::Page;
use x86_64::structures::paging::page::PageRange;

use super::{Detacher, Found, Reaper};
use crate::frame::FrameSource;
use crate::table::{Detached, Held, LARGE_PAGE_FRAMES, Table, count};
use crate::tlb::Tlb;

impl<T: Tlb> Detacher<'_, T> {
    /// Detaches a large page, or the part of it that these pages are.
    #[cold]
    pub(super) fn detach_large(&mut self, pages: PageRange, table: &mut Table<'_>) {
        if count(pages) < LARGE_PAGE_FRAMES {
            table.split(pages.start, self.spares, self.tlb);
            self.detach_below(pages, table);
            return;
        }
        table.detach_large(pages.start);
        self.found = Found::Frames;
        self.residency.forget(Detached::LARGE_PAGE);
        // Any page of it (Intel SDM Vol 3A, 4.10.4.1).
        self.batch.add(pages.start);
    }
}

impl<S: FrameSource> Reaper<'_, S> {
    /// Releases the frames of a large page, and the table that was set aside for it.
    ///
    /// # Safety
    ///
    /// As for [`reap`](Self::reap), for the large page that the entry has.
    #[cold]
    pub(super) unsafe fn reap_large(&mut self, page: Page, table: &mut Table<'_>) {
        if matches!(table.held(page), Held::Large(_)) {
            self.residency.forget(Detached::LARGE_PAGE);
        }
        // SAFETY: forwarded from this function's contract.
        self.release(unsafe { table.take_large(page) });
        let spare = self.spares.pop(self.supply.memory);
        self.release_table(spare, table.level());
    }
}
