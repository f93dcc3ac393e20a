//! Which pages were cleared since a mark.
//!
//! A cleared page may have no entry in which a bit could record that. So its number is recorded
//! here, in a few ranges. If there are too many, the two that are closest become one, with the
//! pages between them. So the ranges contain every page that was cleared, and maybe others.
//!
//! A mark allocates the ranges, so that a clear uses no heap, and the owner of many regions without
//! a mark does not move places for ranges with each.

use alloc::vec::Vec;
use core::slice;

use x86_64::structures::paging::page::PageRange;

use crate::pages::hull;

/// The most ranges that are kept apart.
const MOST_RANGES: usize = 8;

/// Ranges that cover all pages that were cleared.
#[derive(Debug)]
pub(super) enum ClearedPages {
    /// In ascending order. None of them touches another. There is room for one more than the most,
    /// while one is added.
    Ranges(Vec<PageRange>),
    /// The heap had no room for ranges, so these pages count as cleared.
    All(PageRange),
}

impl ClearedPages {
    /// No pages, of a region that has these.
    pub(super) fn new(all: PageRange) -> Self {
        let mut ranges = Vec::new();
        match ranges.try_reserve_exact(MOST_RANGES + 1) {
            Ok(()) => Self::Ranges(ranges),
            Err(_) => Self::All(all),
        }
    }

    pub(super) fn ranges(&self) -> &[PageRange] {
        match self {
            Self::Ranges(ranges) => ranges,
            Self::All(all) => slice::from_ref(all),
        }
    }

    /// Adds pages. Not for inlining: most clears are of regions without a mark.
    #[cold]
    pub(super) fn add(&mut self, mut pages: PageRange) {
        let Self::Ranges(ranges) = self else { return };
        if pages.is_empty() {
            return;
        }
        let first = ranges.partition_point(|range| range.end < pages.start);
        // The ranges that the new one touches become a part of it.
        let touched = ranges[first..].iter().take_while(|range| range.start <= pages.end).count();
        pages = ranges.drain(first..first + touched).fold(pages, hull);
        ranges.insert(first, pages);
        if ranges.len() > MOST_RANGES {
            let gap = |first: &usize| ranges[first + 1].start - ranges[*first].end;
            let closest = (0..MOST_RANGES).min_by_key(gap).expect("there are several ranges");
            let next = ranges.remove(closest + 1);
            ranges[closest] = hull(ranges[closest], next);
        }
    }
}

#[cfg(test)]
mod tests {
    use x86_64::VirtAddr;
    use x86_64::structures::paging::Page;

    use super::*;
    use crate::pages::page_after;

    /// Adds pages with these numbers one after the other, and returns the ranges.
    fn added(ranges: &[(u64, u64)]) -> Vec<(u64, u64)> {
        let zero = Page::containing_address(VirtAddr::zero());
        let mut cleared = ClearedPages::new(Page::range(zero, zero));
        for (start, end) in ranges {
            cleared.add(Page::range(page_after(zero, *start), page_after(zero, *end)));
        }
        cleared.ranges().iter().map(|range| (range.start - zero, range.end - zero)).collect()
    }

    #[test]
    fn ranges_that_touch_become_one() {
        assert_eq!(added(&[]), []);
        assert_eq!(added(&[(5, 5), (7, 7)]), []);
        assert_eq!(added(&[(5, 7), (1, 3)]), [(1, 3), (5, 7)]);
        assert_eq!(added(&[(5, 7), (1, 3), (3, 5)]), [(1, 7)]);
        assert_eq!(added(&[(1, 3), (5, 7), (9, 11), (6, 9)]), [(1, 3), (5, 11)]);
        assert_eq!(added(&[(1, 3), (5, 7), (9, 11), (0, 20)]), [(0, 20)]);
        assert_eq!(added(&[(0, 20), (5, 7)]), [(0, 20)]);
    }

    #[test]
    fn the_two_closest_of_too_many_ranges_become_one() {
        let mut ranges =
            [(80, 81), (10, 11), (30, 31), (40, 41), (60, 61), (0, 1), (20, 21), (70, 71)].to_vec();
        let mut sorted = ranges.clone();
        sorted.sort_unstable();
        assert_eq!(added(&ranges), sorted);
        ranges.push((36, 37));
        assert_eq!(added(&ranges)[3..5], [(30, 31), (36, 41)]);
        ranges.push((5, 6));
        assert_eq!(added(&ranges)[..2], [(0, 6), (10, 11)]);
        ranges.push((83, 84));
        assert_eq!(added(&ranges)[7..], [(80, 84)]);
    }
}
