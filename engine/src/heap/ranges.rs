//! The addresses that no block has: runs of free pages, coalesced, found by address and by length.
//!
//! Two runs never touch, so there is at most one more of them than there are blocks and slabs between the
//! extents of the heap. Everything takes O(log n). What is free is absent: it holds no frame and reads zero.

use alloc::collections::{BTreeMap, BTreeSet};

use super::pages::Pages;

/// Free runs of pages.
#[derive(Debug, Default)]
pub(super) struct FreeRanges {
    /// Counts of pages by first page.
    by_address: BTreeMap<u64, u64>,
    /// The same as (count, first page).
    by_length: BTreeSet<(u64, u64)>,
}

impl FreeRanges {
    /// How many runs there are.
    pub(super) fn len(&self) -> usize {
        self.by_address.len()
    }

    /// How many pages they have together.
    pub(super) fn page_count(&self) -> u64 {
        self.by_address.values().sum()
    }

    /// The run that `page` is in.
    pub(super) fn containing(&self, page: u64) -> Option<Pages> {
        let (&first, &count) = self.by_address.range(..=page).next_back()?;
        Some(Pages::new(first, count)).filter(|run| run.contains(page))
    }

    /// The run that ends in front of page `end`.
    pub(super) fn ending_at(&self, end: u64) -> Option<Pages> {
        self.containing(end.checked_sub(1)?).filter(|run| run.end() == end)
    }

    /// The run that starts at page `first`.
    pub(super) fn starting_at(&self, first: u64) -> Option<Pages> {
        self.by_address.get(&first).map(|&count| Pages::new(first, count))
    }

    /// Adds pages, none of which is free, and joins them with the runs before and behind.
    pub(super) fn insert(&mut self, pages: Pages) {
        if pages.count == 0 {
            return;
        }
        let (before, behind) = (self.ending_at(pages.first), self.starting_at(pages.end()));
        before.into_iter().chain(behind).for_each(|run| self.remove(run));
        let first = before.map_or(pages.first, |run| run.first);
        let end = behind.map_or(pages.end(), Pages::end);
        self.add(Pages::new(first, end - first));
    }

    /// Takes `count` pages whose first one is a multiple of `align_pages`: from the shortest run that has them,
    /// of several the one with the lowest address.
    ///
    /// For an alignment of more than one page only three runs are looked at: the shortest that is long enough,
    /// the shortest that is long enough wherever it starts, and the last one, which is the one that growing
    /// the memory makes longer.
    pub(super) fn take(&mut self, count: u64, align_pages: u64) -> Option<Pages> {
        let shortest = |least: u64| self.by_length.range((least, 0)..).next();
        let anywhere = count.checked_add(align_pages)?;
        let (shortest, sure) = (shortest(count), shortest(anywhere - 1));
        let runs = shortest.into_iter().chain(sure).map(|&(count, first)| Pages::new(first, count));
        let last = self.by_address.last_key_value().map(|(&first, &count)| Pages::new(first, count));
        let (run, taken) =
            runs.chain(last).find_map(|run| Some((run, aligned_part(run, count, align_pages)?)))?;
        self.cut(run, taken);
        Some(taken)
    }

    /// Takes the `count` pages from `first` on, if all of them are free and a run starts there.
    pub(super) fn take_at(&mut self, first: u64, count: u64) -> Option<Pages> {
        let run = self.starting_at(first).filter(|run| run.count >= count)?;
        let taken = Pages::new(first, count);
        self.cut(run, taken);
        Some(taken)
    }

    /// Takes `taken` out of `run`, and leaves what is before and behind it.
    fn cut(&mut self, run: Pages, taken: Pages) {
        self.remove(run);
        self.add(Pages::new(run.first, taken.first - run.first));
        self.add(Pages::new(taken.end(), run.end() - taken.end()));
    }

    fn add(&mut self, run: Pages) {
        if run.count > 0 {
            self.by_address.insert(run.first, run.count);
            self.by_length.insert((run.count, run.first));
        }
    }

    fn remove(&mut self, run: Pages) {
        self.by_address.remove(&run.first);
        self.by_length.remove(&(run.count, run.first));
    }
}

/// The first `count` pages of `run` behind a multiple of `align_pages`, a power of two.
fn aligned_part(run: Pages, count: u64, align_pages: u64) -> Option<Pages> {
    let first = run.first.checked_next_multiple_of(align_pages)?;
    let fits = first.checked_add(count).is_some_and(|end| end <= run.end());
    fits.then_some(Pages::new(first, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges<const N: usize>(runs: [(u64, u64); N]) -> FreeRanges {
        let mut ranges = FreeRanges::default();
        runs.into_iter().for_each(|(first, count)| ranges.insert(Pages::new(first, count)));
        ranges
    }

    fn list(ranges: &FreeRanges) -> std::vec::Vec<(u64, u64)> {
        assert_eq!(ranges.by_length.len(), ranges.len());
        ranges.by_address.iter().map(|(&first, &count)| (first, count)).collect()
    }

    #[test]
    fn neighbours_become_one_run() {
        let mut ranges = ranges([(10, 5), (20, 5)]);
        ranges.insert(Pages::new(15, 5));
        assert_eq!(list(&ranges), [(10, 15)]);
        ranges.insert(Pages::new(26, 1));
        assert_eq!(list(&ranges), [(10, 15), (26, 1)]);
    }

    #[test]
    fn the_shortest_run_that_is_long_enough_is_used_and_the_lowest_of_equals() {
        let mut ranges = ranges([(10, 9), (30, 4), (40, 4), (50, 2)]);
        assert_eq!(ranges.take(3, 1), Some(Pages::new(30, 3)));
        assert_eq!(ranges.take(4, 1), Some(Pages::new(40, 4)));
        assert_eq!(list(&ranges), [(10, 9), (33, 1), (50, 2)]);
        assert_eq!(ranges.take(10, 1), None);
    }

    #[test]
    fn aligned_pages_leave_both_ends_free() {
        let mut ranges = ranges([(9, 15)]);
        assert_eq!(ranges.take(4, 8), Some(Pages::new(16, 4)));
        assert_eq!(list(&ranges), [(9, 7), (20, 4)]);
        assert_eq!(ranges.take(1, 1 << 51), None);
        assert_eq!(ranges.take(u64::MAX, 2), None);
    }

    #[test]
    fn an_aligned_fit_in_the_last_run_is_found() {
        let mut ranges = ranges([(1, 8), (64, 9)]);
        assert_eq!(ranges.take(8, 64), Some(Pages::new(64, 8)));
    }

    #[test]
    fn pages_at_an_address_are_taken_only_if_all_are_free() {
        let mut ranges = ranges([(10, 5)]);
        assert_eq!(ranges.take_at(10, 6), None);
        assert_eq!(ranges.take_at(11, 1), None);
        assert_eq!(ranges.take_at(10, 2), Some(Pages::new(10, 2)));
        assert_eq!(list(&ranges), [(12, 3)]);
    }
}
