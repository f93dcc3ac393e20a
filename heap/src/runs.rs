//! Runs of free pages, coalesced, and indexed by address and by length.
//!
//! Two runs never touch, so each gap between large blocks, slabs and pages of the guest's own is at
//! most one run. Every operation takes O(log n) time. A free page holds no frame and reads zero.

use alloc::collections::{BTreeMap, BTreeSet};

use crate::pages::Pages;

/// The runs of free pages of a heap.
#[derive(Clone, Debug, Default)]
pub(crate) struct FreeRuns {
    /// Numbers of pages, by first page.
    by_address: BTreeMap<u64, u64>,
    /// The same runs as (number of pages, first page).
    by_length: BTreeSet<(u64, u64)>,
}

impl FreeRuns {
    /// Returns the number of runs.
    pub(crate) fn len(&self) -> usize {
        self.by_address.len()
    }

    /// Returns the number of free pages.
    pub(crate) fn page_count(&self) -> u64 {
        self.by_address.values().sum()
    }

    /// Returns the runs, sorted by address.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Pages> {
        self.by_address.iter().map(|(&first, &count)| Pages::new(first, count))
    }

    /// Returns the run with the highest addresses.
    pub(crate) fn last(&self) -> Option<Pages> {
        self.by_address.last_key_value().map(|(&first, &count)| Pages::new(first, count))
    }

    /// Returns the run that contains `page`.
    pub(crate) fn containing(&self, page: u64) -> Option<Pages> {
        let (&first, &count) = self.by_address.range(..=page).next_back()?;
        Some(Pages::new(first, count)).filter(|run| run.contains(page))
    }

    /// Returns the run whose last page is the one before `end`.
    pub(crate) fn ending_at(&self, end: u64) -> Option<Pages> {
        self.containing(end.checked_sub(1)?).filter(|run| run.end() == end)
    }

    /// Returns the run that starts at page `first`.
    pub(crate) fn starting_at(&self, first: u64) -> Option<Pages> {
        self.by_address.get(&first).map(|&count| Pages::new(first, count))
    }

    /// Adds pages, none of which is free, and joins them with the adjacent runs.
    pub(crate) fn insert(&mut self, pages: Pages) {
        if pages.count == 0 {
            return;
        }
        let before = self.ending_at(pages.first);
        let after = self.starting_at(pages.end());
        before.into_iter().chain(after).for_each(|run| self.remove(run));
        let first = before.map_or(pages.first, |run| run.first);
        let end = after.map_or(pages.end(), Pages::end);
        self.add(Pages::new(first, end - first));
    }

    /// Removes and returns `count` pages, the first of which is a multiple of `align_pages`. They
    /// come from the shortest run that contains such pages, and among equally short runs from the
    /// lowest.
    ///
    /// If the alignment is more than one page, only three runs are examined: the shortest with
    /// `count` pages, the shortest that is long enough wherever it starts, and the last one,
    /// because that is the run that grows with the memory.
    pub(crate) fn take(&mut self, count: u64, align_pages: u64) -> Option<Pages> {
        let shortest = |least: u64| self.by_length.range((least, 0)..).next();
        let sufficient = count.checked_add(align_pages)? - 1;
        let candidates = shortest(count).into_iter().chain(shortest(sufficient));
        let runs = candidates.map(|&(count, first)| Pages::new(first, count));
        let last = self.by_address.last_key_value().map(|(&first, &count)| Pages::new(first, count));
        let (run, taken) =
            runs.chain(last).find_map(|run| Some((run, aligned_part(run, count, align_pages)?)))?;
        self.cut(run, taken);
        Some(taken)
    }

    /// Removes and returns the `count` pages from `first` on, if all of them are free and a run
    /// starts at `first`.
    pub(crate) fn take_at(&mut self, first: u64, count: u64) -> Option<Pages> {
        let run = self.starting_at(first).filter(|run| run.count >= count)?;
        let taken = Pages::new(first, count);
        self.cut(run, taken);
        Some(taken)
    }

    /// Removes `taken` from `run`. The pages before and after it remain free.
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

/// Returns the first `count` pages of `run` that start at a multiple of `align_pages`, a power of
/// two.
fn aligned_part(run: Pages, count: u64, align_pages: u64) -> Option<Pages> {
    let first = run.first.checked_next_multiple_of(align_pages)?;
    let fits = first.checked_add(count).is_some_and(|end| end <= run.end());
    fits.then_some(Pages::new(first, count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn free<const N: usize>(pages: [(u64, u64); N]) -> FreeRuns {
        let mut runs = FreeRuns::default();
        pages.into_iter().for_each(|(first, count)| runs.insert(Pages::new(first, count)));
        runs
    }

    fn list(runs: &FreeRuns) -> Vec<(u64, u64)> {
        assert_eq!(runs.by_length.len(), runs.len());
        runs.by_address.iter().map(|(&first, &count)| (first, count)).collect()
    }

    #[test]
    fn neighbours_become_one_run() {
        let mut runs = free([(10, 5), (20, 5)]);
        runs.insert(Pages::new(15, 5));
        assert_eq!(list(&runs), [(10, 15)]);
        runs.insert(Pages::new(26, 1));
        assert_eq!(list(&runs), [(10, 15), (26, 1)]);
    }

    #[test]
    fn the_shortest_run_that_is_long_enough_is_used_and_the_lowest_of_equals() {
        let mut runs = free([(10, 9), (30, 4), (40, 4), (50, 2)]);
        assert_eq!(runs.take(3, 1), Some(Pages::new(30, 3)));
        assert_eq!(runs.take(4, 1), Some(Pages::new(40, 4)));
        assert_eq!(list(&runs), [(10, 9), (33, 1), (50, 2)]);
        assert_eq!(runs.take(10, 1), None);
    }

    #[test]
    fn aligned_pages_leave_both_ends_free() {
        let mut runs = free([(9, 15)]);
        assert_eq!(runs.take(4, 8), Some(Pages::new(16, 4)));
        assert_eq!(list(&runs), [(9, 7), (20, 4)]);
        assert_eq!(runs.take(1, 1 << 51), None);
        assert_eq!(runs.take(u64::MAX, 2), None);
    }

    #[test]
    fn an_aligned_fit_in_the_last_run_is_found() {
        let mut runs = free([(1, 8), (64, 9)]);
        assert_eq!(runs.take(8, 64), Some(Pages::new(64, 8)));
    }

    #[test]
    fn pages_at_an_address_are_taken_only_if_all_are_free() {
        let mut runs = free([(10, 5)]);
        assert_eq!(runs.take_at(10, 6), None);
        assert_eq!(runs.take_at(11, 1), None);
        assert_eq!(runs.take_at(10, 2), Some(Pages::new(10, 2)));
        assert_eq!(list(&runs), [(12, 3)]);
    }
}
