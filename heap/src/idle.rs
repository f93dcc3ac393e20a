//! Hysteresis: slab pages that contain no live block and keep their frames for a while.
//!
//! A program that frees a block and allocates another of the same size reuses the page without a
//! fault. Pages are released in the order in which they became empty: when there are more of them
//! than a threshold, or when a delay has passed. The delay is measured in calls of heap functions.

use alloc::collections::VecDeque;

use crate::options::HeapOptions;

/// A page that has become empty and was not released.
#[derive(Clone, Copy, Debug)]
struct Empty {
    page: u64,
    /// The number of the operation that emptied it.
    since: u64,
}

/// The idle pages, in the order in which they became empty.
///
/// At most two more than the threshold, because a block in a slab has bytes in at most two pages
/// and the caller releases what is due after each operation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Idle {
    pages: VecDeque<Empty>,
    operations: u64,
}

impl Idle {
    /// Returns the number of idle pages.
    pub(crate) fn len(&self) -> u64 {
        self.pages.len() as u64
    }

    /// Counts an operation.
    pub(crate) fn tick(&mut self) {
        self.operations += 1;
    }

    /// Adds `page`, which has become empty.
    pub(crate) fn push(&mut self, page: u64) {
        self.pages.push_back(Empty { page, since: self.operations });
    }

    /// Removes `page`, which is in use again. Searches the youngest first, because it is usually
    /// the one.
    pub(crate) fn remove(&mut self, page: u64) {
        if let Some(index) = self.pages.iter().rposition(|empty| empty.page == page) {
            self.pages.remove(index);
        }
    }

    /// Removes and returns the oldest page if `options` require its release.
    pub(crate) fn pop_due(&mut self, options: &HeapOptions) -> Option<u64> {
        let oldest = self.pages.front()?;
        let too_many = self.len() > options.idle_pages;
        let too_old =
            options.idle_operations != 0 && self.operations - oldest.since >= options.idle_operations;
        if too_many || too_old { self.pop() } else { None }
    }

    /// Removes and returns the oldest page.
    pub(crate) fn pop(&mut self) -> Option<u64> {
        self.pages.pop_front().map(|empty| empty.page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(idle_pages: u64, idle_operations: u64) -> HeapOptions {
        HeapOptions { idle_pages, idle_operations, ..HeapOptions::default() }
    }

    #[test]
    fn above_the_threshold_the_oldest_page_is_due() {
        let mut idle = Idle::default();
        [7, 8, 9].into_iter().for_each(|page| idle.push(page));
        idle.remove(8);
        idle.push(8);
        assert_eq!(idle.pop_due(&options(3, 0)), None);
        assert_eq!(idle.pop_due(&options(2, 0)), Some(7));
        assert_eq!(idle.pop_due(&options(2, 0)), None);
        assert_eq!([idle.pop(), idle.pop(), idle.pop()], [Some(9), Some(8), None]);
    }

    #[test]
    fn a_page_is_due_when_the_delay_has_passed_and_not_before() {
        let mut idle = Idle::default();
        let options = options(16, 3);
        idle.push(1);
        idle.tick();
        idle.push(2);
        idle.tick();
        assert_eq!(idle.pop_due(&options), None);
        idle.tick();
        assert_eq!(idle.pop_due(&options), Some(1));
        assert_eq!(idle.pop_due(&options), None);
        assert_eq!(idle.len(), 1);
    }

    #[test]
    fn a_threshold_of_0_keeps_nothing() {
        let mut idle = Idle::default();
        idle.push(5);
        assert_eq!(idle.pop_due(&options(0, 0)), Some(5));
    }
}
