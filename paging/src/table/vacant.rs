//! Absent entries, as the fast path of a first write needs them.
//!
//! Invariant: a [`Vacant`] is the exclusive borrow of an absent level-1 entry, and of the entry
//! that owns its table.

use x86_64::structures::paging::Page;
use x86_64::structures::paging::page::PageRange;
use x86_64::structures::paging::page_table::{PageTableEntry, PageTableLevel};

use super::Table;
use super::entry::{OWNED, count_up};
use super::leaf::{skip_absent, skip_absent_groups};
use crate::frame::ZeroedFrame;
use crate::pages::{entry_end, indices, part_start};

/// An absent entry of a level-1 table.
#[derive(Debug)]
pub(crate) struct Vacant<'t> {
    entry: &'t mut PageTableEntry,
    owner: &'t mut PageTableEntry,
}

impl Table<'_> {
    /// The end of the absent entries with which the range begins: the end of the range, the end of
    /// this table, or a page whose entry is not absent. The first entry is absent.
    #[inline]
    pub(crate) fn end_of_absent(&mut self, pages: PageRange) -> Page {
        if pages.end <= entry_end(pages.start, self.level) {
            return pages.end;
        }
        let places = indices(pages, self.level);
        let absent = if self.level == PageTableLevel::One {
            let entries = self.whole();
            let grouped = skip_absent_groups(entries, places.clone());
            skip_absent(entries, grouped..places.end) - places.start
        } else {
            places.take_while(|index| self.entry_at(*index).is_unused()).count()
        };
        part_start(pages, self.level, absent)
    }

    /// The page's entry, if this is a table of level 1 and it is absent.
    #[inline]
    pub(crate) fn vacant(&mut self, page: Page) -> Option<Vacant<'_>> {
        let is_vacant = self.level == PageTableLevel::One && self.entry(page).is_unused();
        is_vacant.then(|| {
            let (entry, owner) = self.entry_and_owner(page);
            Vacant { entry, owner }
        })
    }
}

impl Vacant<'_> {
    /// Makes the entry the owner of a data frame of zeros.
    #[inline(always)]
    pub(crate) fn put(self, zeroed: ZeroedFrame) {
        count_up(self.owner, 1);
        self.entry.set_frame(zeroed.into_frame().into_phys(), OWNED);
    }
}
