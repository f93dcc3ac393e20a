//! A batch of flushes: single pages while they are few, everything when they are many.
//!
//! Called by: whoever clears entries. The batch is an obligation: it is `#[must_use]`, and frames are
//! released only after it was flushed.

use arrayvec::ArrayVec;
use x86_64::structures::paging::Page;
use x86_64::structures::paging::page::PageRange;
use x86_64::structures::paging::page_table::PageTableLevel;

use super::Tlb;
use crate::pages::{count, page_after};

/// The largest number of pages that are flushed one by one.
///
/// `INVLPG` costs some 100 cycles for each page; dropping everything costs a refill of whatever the
/// interrupted code had cached, at most a few thousand cycles later on. They meet near 32 pages (Linux has
/// measured 33 for the same decision), and 32 runs are half a kilobyte on the stack of a fault handler.
pub(crate) const FLUSH_SINGLY: usize = 32;

/// Pages whose entries were cleared and which the TLB may still know.
#[must_use = "entries were cleared: the TLB may know them until the batch is flushed"]
#[derive(Debug)]
pub(crate) struct FlushBatch {
    /// The pages, while the scope is that: a run is one page at least, so there is room.
    runs: ArrayVec<PageRange, FLUSH_SINGLY>,
    /// How many more pages are flushed one by one.
    room: usize,
    scope: Scope,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    Pages,
    Everything,
}

impl FlushBatch {
    pub(crate) const fn new() -> Self {
        Self { runs: ArrayVec::new_const(), room: FLUSH_SINGLY, scope: Scope::Pages }
    }

    /// Adds one page.
    pub(crate) fn add(&mut self, page: Page) {
        self.add_run(page, 1);
    }

    /// Adds pages that follow each other.
    #[inline]
    pub(crate) fn add_run(&mut self, first: Page, count: usize) {
        let Some(room) = self.room.checked_sub(count) else {
            self.scope = Scope::Everything;
            return;
        };
        self.room = room;
        let end = page_after(first, count as u64);
        match self.runs.last_mut() {
            Some(run) if run.end == first => run.end = end,
            Some(_) | None => self.runs.push(Page::range(first, end)),
        }
    }

    /// Adds one page, which is asked for only if it makes a difference.
    pub(crate) fn add_with(&mut self, page: impl FnOnce() -> Page) {
        match self.scope {
            Scope::Pages => self.add(page()),
            Scope::Everything => {}
        }
    }

    /// Adds more pages than are flushed one by one.
    pub(crate) fn add_everything(&mut self) {
        self.scope = Scope::Everything;
    }

    /// Adds what one entry of a table at this level mapped, `page` being one page of it.
    pub(crate) fn add_entry(&mut self, page: Page, level: PageTableLevel) {
        match level {
            PageTableLevel::One => self.add(page),
            PageTableLevel::Two | PageTableLevel::Three | PageTableLevel::Four => self.add_everything(),
        }
    }

    /// Flushes what was added, and leaves the batch empty. An empty batch flushes nothing.
    ///
    /// Not by value: the compiler would copy half a kilobyte.
    pub(crate) fn flush(&mut self, tlb: &impl Tlb) -> Flushed {
        match self.scope {
            Scope::Pages => self.runs.iter().for_each(|run| {
                (0..count(*run)).for_each(|number| tlb.flush(page_after(run.start, number)));
            }),
            Scope::Everything => tlb.flush_all(),
        }
        *self = Self::new();
        Flushed { _by_the_batch: () }
    }
}

/// The proof that the TLB was flushed for everything that was added to one batch.
///
/// What takes a frame out of an entry requires it, because the CPU may use a frame until it has forgotten the entry.
/// Whatever makes a present entry absent adds the entry's pages to a batch. So the only way to the frame leads through
/// the flush.
#[derive(Debug)]
pub(crate) struct Flushed {
    /// Keeps the constructor private to this module.
    _by_the_batch: (),
}

#[cfg(test)]
mod tests {
    use core::cell::RefCell;

    use alloc::vec::Vec;

    use x86_64::VirtAddr;

    use super::*;

    #[derive(Default)]
    struct Log {
        pages: RefCell<Vec<Page>>,
        all: RefCell<u32>,
    }

    // SAFETY: there is no CPU behind it, so nothing is ever translated.
    unsafe impl Tlb for Log {
        fn flush(&self, page: Page) {
            self.pages.borrow_mut().push(page);
        }

        fn flush_all(&self) {
            *self.all.borrow_mut() += 1;
        }
    }

    fn flush_pages(count: u64) -> Log {
        let (log, first) = (Log::default(), Page::containing_address(VirtAddr::new(0x4000_0000)));
        let mut batch = FlushBatch::new();
        (0..count).for_each(|number| batch.add(first + number));
        let Flushed { .. } = batch.flush(&log);
        log
    }

    #[test]
    fn an_empty_batch_flushes_nothing() {
        let log = flush_pages(0);
        assert_eq!((log.pages.borrow().len(), *log.all.borrow()), (0, 0));
    }

    #[test]
    fn up_to_the_threshold_pages_are_flushed_one_by_one() {
        let log = flush_pages(32);
        assert_eq!((log.pages.borrow().len(), *log.all.borrow()), (32, 0));
        assert!(log.pages.borrow().windows(2).all(|pair| pair[1] == pair[0] + 1));
    }

    #[test]
    fn pages_that_lie_apart_are_flushed_each() {
        let (log, first) = (Log::default(), Page::containing_address(VirtAddr::new(0x4000_0000)));
        let mut batch = FlushBatch::new();
        batch.add_run(first + 2, 3);
        batch.add(first + 5);
        batch.add(first);
        let Flushed { .. } = batch.flush(&log);
        assert_eq!(*log.pages.borrow(), [2, 3, 4, 5, 0].map(|number| first + number));
    }

    #[test]
    fn past_the_threshold_everything_is_flushed_once() {
        let log = flush_pages(33);
        assert_eq!((log.pages.borrow().len(), *log.all.borrow()), (0, 1));
    }
}
