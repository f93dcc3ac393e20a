//! Which pages were cleared since a mark.
//!
//! A cleared page may have no entry in which a bit could record that. So its number is recorded
//! here, in a few ranges that take no heap. If there are too many, the two that are closest become
//! one, with the pages between them. So the ranges contain every page that was cleared, and maybe
//! others.

use x86_64::structures::paging::page::PageRange;

use crate::pages::hull;

/// The most ranges that are kept apart.
const MOST_RANGES: usize = 8;

/// Ranges that cover all pages that were cleared, in ascending order. None of them touches another.
#[derive(Debug)]
pub(super) struct ClearedPages {
    /// The ranges come first. The last place is only used while one is added.
    places: [PageRange; MOST_RANGES + 1],
    len: usize,
}

impl ClearedPages {
    /// No pages. `any` fills the places, and may be any range.
    pub(super) const fn new(any: PageRange) -> Self {
        Self { places: [any; MOST_RANGES + 1], len: 0 }
    }

    pub(super) fn ranges(&self) -> &[PageRange] {
        &self.places[..self.len]
    }

    /// Adds pages. Not for inlining: most clears are of regions without a mark.
    #[cold]
    pub(super) fn add(&mut self, mut pages: PageRange) {
        if pages.is_empty() {
            return;
        }
        let is_before = |range: &PageRange| range.end < pages.start;
        let first = self.ranges().partition_point(is_before);
        // The ranges that the new one touches become a part of it.
        let touched = self.ranges()[first..].iter().take_while(|range| range.start <= pages.end).count();
        pages = self.ranges()[first..][..touched].iter().copied().fold(pages, hull);
        self.replace(first, touched, pages);
        if self.len > MOST_RANGES {
            let gap = |first: &usize| self.places[first + 1].start - self.places[*first].end;
            let closest = (0..MOST_RANGES).min_by_key(gap).expect("there are several ranges");
            self.replace(closest, 2, hull(self.places[closest], self.places[closest + 1]));
        }
    }

    /// Puts `pages` in place of `count` ranges from the place `first` on.
    fn replace(&mut self, first: usize, count: usize, pages: PageRange) {
        self.places.copy_within(first + count..self.len, first + 1);
        self.places[first] = pages;
        self.len = self.len + 1 - count;
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

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
