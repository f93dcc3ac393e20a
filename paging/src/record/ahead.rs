//! The pages of a region that were committed ahead of their first touch.
//!
//! Nothing records when such a page is written, so its dirty bit is read when frames run short. A
//! fault does that, so the number of pages to read is bounded: they are in a few windows, each
//! within one level-1 table. A region that commits ahead in one more table gives up what it has not
//! written of the oldest window.
//!
//! Invariant: every page of the region that was committed ahead and never written is in one window.

use arrayvec::ArrayVec;
use x86_64::structures::paging::page::PageRange;
use x86_64::structures::paging::page_table::PageTableLevel;

use crate::pages::{entry_end, hull};

/// The most windows. A run has one, and a region follows one run at a time, so more than one is for
/// runs that were left unfinished.
const MOST_WINDOWS: usize = 4;

/// Windows of pages, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Ahead(ArrayVec<PageRange, MOST_WINDOWS>);

impl Ahead {
    /// Adds pages of one level-1 table. Returns the oldest window if this makes too many:
    /// its pages are not recorded any more.
    pub(crate) fn add(&mut self, pages: PageRange) -> Option<PageRange> {
        let Self(windows) = self;
        let table_end = |pages: PageRange| entry_end(pages.start, PageTableLevel::Two);
        if let Some(window) = windows.iter_mut().rev().find(|window| table_end(**window) == table_end(pages))
        {
            *window = hull(*window, pages);
            return None;
        }
        let oldest = windows.is_full().then(|| windows.remove(0));
        windows.push(pages);
        oldest
    }

    /// Keeps the windows for which `keep` returns true.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(PageRange) -> bool) {
        self.0.retain(|window| keep(*window));
    }

    /// Whether there are no windows.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes a window out.
    pub(crate) fn pop(&mut self) -> Option<PageRange> {
        self.0.pop()
    }
}

#[cfg(test)]
mod tests {
    use x86_64::VirtAddr;
    use x86_64::structures::paging::Page;

    use super::*;

    /// `count` pages from the one with this number on, in the table with this number.
    fn pages(table: u64, first: u64, count: u64) -> PageRange {
        let first = Page::containing_address(VirtAddr::new(0x4000_0000)) + table * 512 + first;
        Page::range(first, first + count)
    }

    #[test]
    fn pages_of_one_table_are_one_window() {
        let mut ahead = Ahead::default();
        let added = [pages(0, 100, 10), pages(1, 0, 1), pages(0, 2, 3)].map(|pages| ahead.add(pages));
        assert_eq!(added, [None; 3]);
        assert_eq!(
            [ahead.pop(), ahead.pop(), ahead.pop()],
            [Some(pages(1, 0, 1)), Some(pages(0, 2, 108)), None]
        );
    }

    #[test]
    fn the_oldest_window_gives_way() {
        let mut ahead = Ahead::default();
        let added = [0, 1, 2, 3, 4, 4, 5].map(|table| ahead.add(pages(table, 7, 1)));
        let oldest = |table| Some(pages(table, 7, 1));
        assert_eq!(added, [None, None, None, None, oldest(0), None, oldest(1)]);
        ahead.retain(|window| window != pages(3, 7, 1));
        assert_eq!(
            [ahead.pop(), ahead.pop(), ahead.pop(), ahead.pop()],
            [oldest(5), oldest(4), oldest(2), None]
        );
    }
}
