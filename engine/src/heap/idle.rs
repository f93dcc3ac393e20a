//! Hysteresis: pages that became empty a short while ago and still have their frames.
//!
//! Owns their order. A program that frees an object and makes another finds the page as it left it and does
//! not fault; what stays empty longer is released, oldest first: when there are more pages than the
//! threshold, or when the delay is over. Time is the number of calls of the heap's functions.

use alloc::collections::VecDeque;

use super::options::HeapOptions;

/// A page that is empty and was not released.
#[derive(Clone, Copy, Debug)]
struct Empty {
    page: u64,
    /// The operation that emptied it.
    since: u64,
}

/// The empty pages, in the order in which they became so: no more than the threshold, and two.
#[derive(Debug, Default)]
pub(super) struct Idle {
    pages: VecDeque<Empty>,
    operations: u64,
}

impl Idle {
    /// How many there are.
    pub(super) fn len(&self) -> u64 {
        self.pages.len() as u64
    }

    /// Counts an operation.
    pub(super) fn tick(&mut self) {
        self.operations += 1;
    }

    /// Notes that `page` has become empty.
    pub(super) fn push(&mut self, page: u64) {
        self.pages.push_back(Empty { page, since: self.operations });
    }

    /// Notes that `page` is in use again. Looks at the youngest first: it is often the one.
    pub(super) fn remove(&mut self, page: u64) {
        if let Some(index) = self.pages.iter().rposition(|empty| empty.page == page) {
            self.pages.remove(index);
        }
    }

    /// Takes out the oldest page, if `options` say that it has to go.
    pub(super) fn pop_due(&mut self, options: &HeapOptions) -> Option<u64> {
        let oldest = self.pages.front()?;
        let too_many = self.len() > options.idle_pages;
        let too_old =
            options.idle_operations != 0 && self.operations - oldest.since >= options.idle_operations;
        if too_many || too_old { self.pop() } else { None }
    }

    /// Takes out the oldest page.
    pub(super) fn pop(&mut self) -> Option<u64> {
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
    fn a_page_is_due_when_the_delay_is_over_and_not_before() {
        let (mut idle, options) = (Idle::default(), options(16, 3));
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
