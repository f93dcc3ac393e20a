//! Flushes of the TLB in batches: single pages while they are few, everything when they are many.
//!
//! Invariant of the crate: an entry that was present is cleared or changed first, then its page is
//! flushed, and only then its frame is released. Mapping an absent page needs no flush, because the
//! CPU does not cache entries that are not present (Intel SDM Vol 3A, 4.10.2.3).

mod cpus;
mod limbo;
mod seat;

use arrayvec::ArrayVec;
use x86_64::structures::paging::Page;
use x86_64::structures::paging::page::PageRange;

pub(crate) use self::cpus::Cpus;
pub(crate) use self::limbo::{Limbo, Wait};
pub(crate) use self::seat::Seat;
use crate::pages::{count, page_after};
use crate::platform::Platform;

/// The largest number of pages that are flushed one by one.
///
/// `INVLPG` costs about 100 cycles per page. A flush of everything costs at most a few thousand
/// cycles later, when the interrupted code refills its caches. The costs meet near 32 pages (Linux
/// has measured 33 for the same decision). 32 runs take half a kilobyte on the stack of a fault
/// handler.
pub(crate) const FLUSH_SINGLY: usize = 32;

/// Pages whose entries were cleared or changed, and whose old translations the TLB may still
/// contain.
#[must_use = "the TLB may contain stale translations until the batch is flushed"]
#[derive(Debug)]
pub(crate) struct FlushBatch {
    /// The pages, as long as the scope is `Pages`. A run has at least one page, so there is room
    /// for it.
    runs: ArrayVec<PageRange, FLUSH_SINGLY>,
    /// How many more pages can be added before everything is flushed.
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

    /// Adds one page, which is computed only if pages are still flushed one by one.
    pub(crate) fn add_with(&mut self, page: impl FnOnce() -> Page) {
        match self.scope {
            Scope::Pages => self.add(page()),
            Scope::Everything => {}
        }
    }

    /// Adds every page of the window.
    pub(crate) fn add_everything(&mut self) {
        self.scope = Scope::Everything;
    }

    /// Whether the flush will drop everything, so that more pages add nothing to it.
    pub(crate) const fn is_everything(&self) -> bool {
        matches!(self.scope, Scope::Everything)
    }

    /// Flushes what was added, and leaves the batch empty. An empty batch flushes nothing.
    ///
    /// Not by value: the compiler would copy half a kilobyte.
    pub(crate) fn flush(&mut self, platform: &impl Platform) -> Flushed {
        match self.scope {
            Scope::Pages => self.runs.iter().for_each(|run| {
                (0..count(*run)).for_each(|number| platform.flush(page_after(run.start, number)));
            }),
            Scope::Everything => platform.flush_all(),
        }
        *self = Self::new();
        Flushed { _by_the_batch: () }
    }
}

/// The proof that the TLB was flushed for everything that was added to one batch.
///
/// What takes a frame out of an entry requires it, because the CPU may use a frame until it has
/// forgotten the entry. Code that makes a present entry absent adds the entry's pages to a batch.
/// So the only way to the frame leads through the flush.
#[derive(Debug)]
pub(crate) struct Flushed {
    /// Keeps the constructor private to this module.
    _by_the_batch: (),
}

#[cfg(test)]
pub(crate) mod tests {
    use core::cell::RefCell;

    use alloc::vec::Vec;

    use x86_64::VirtAddr;

    use super::*;
    use crate::frame::{Allocation, FrameBatch, FrameSource, Request};

    /// A platform without frames that logs the flushes.
    #[derive(Default)]
    pub(crate) struct Log {
        pages: RefCell<Vec<Page>>,
        all: RefCell<u32>,
    }

    // SAFETY: it has no frame.
    unsafe impl FrameSource for Log {
        fn allocate(&self, _: Request) -> Option<Allocation> {
            None
        }

        fn release(&self, _: &mut FrameBatch, _: bool) {}
    }

    // SAFETY: no CPU uses this platform.
    unsafe impl Platform for Log {
        type Frames = Self;

        fn frames(&self) -> &Self {
            self
        }

        fn flush(&self, page: Page) {
            self.pages.borrow_mut().push(page);
        }

        fn flush_all(&self) {
            *self.all.borrow_mut() += 1;
        }
    }

    fn flush_pages(count: u64) -> Log {
        let log = Log::default();
        let first = Page::containing_address(VirtAddr::new(0x4000_0000));
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
        let log = Log::default();
        let first = Page::containing_address(VirtAddr::new(0x4000_0000));
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
