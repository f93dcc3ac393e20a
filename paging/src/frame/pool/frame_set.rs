//! A set of free frames by their numbers, which knows where whole 2 MiB of them are.
//!
//! Two trees of bits: one of the numbers, and one of the groups of 512 numbers that are members as a whole. The
//! numbers are such that a group is 2 MiB of physical memory from a multiple of 2 MiB on (see `carve`). A group is
//! noted when it is complete, and not looked at when it loses a member, since that is what nearly every fault does:
//! whoever wants a group finds out.
//!
//! Invariant: a group all of whose numbers are members is noted in `whole`, maybe among others that were so once.
//! Called by: the frame pool, for the frames that may hold anything and for those that hold zeros.

use core::ops::RangeInclusive;

use super::free_set::FreeSet;

/// The frames of 2 MiB.
pub(super) const GROUP: usize = 512;

/// The numbers that one word of a tree has bits for.
const WORD: usize = 64;

/// Groups that may turn out to be incomplete before a search for a whole one is given up. They are forgotten, so the
/// next search goes on behind them.
const MOST_INCOMPLETE: usize = 64;

/// A set of numbers below a bound, which is a multiple of [`GROUP`].
#[derive(Debug)]
pub(super) struct FrameSet {
    members: FreeSet,
    whole: FreeSet,
}

impl FrameSet {
    /// The number of words that a set of numbers below `bound` needs.
    pub(super) fn words_for(bound: usize) -> usize {
        FreeSet::words_for(bound) + FreeSet::words_for(bound / GROUP)
    }

    /// An empty set of numbers below `bound`, over [`words_for`](Self::words_for) words that are all zero.
    pub(super) fn new(bound: usize, words: &'static mut [u64]) -> Self {
        debug_assert!(bound.is_multiple_of(GROUP), "the last group is cut short");
        let (members, whole) = words.split_at_mut(FreeSet::words_for(bound));
        Self { members: FreeSet::new(bound, members), whole: FreeSet::new(bound / GROUP, whole) }
    }

    pub(super) fn contains(&self, number: usize) -> bool {
        self.members.contains(number)
    }

    pub(super) fn contains_any(&self, numbers: RangeInclusive<usize>) -> bool {
        self.members.contains_any(numbers)
    }

    /// The smallest member.
    #[inline(always)]
    pub(super) fn first(&mut self) -> Option<usize> {
        self.members.first()
    }

    /// Removes the smallest member.
    #[inline(always)]
    pub(super) fn take_first(&mut self) -> Option<usize> {
        self.members.take_first()
    }

    /// Removes this member and those that follow it in the same word, up to `most` in all, which is not zero;
    /// tells how many.
    #[inline]
    pub(super) fn take_run(&mut self, first: usize, most: u64) -> usize {
        self.members.take_run(first, most)
    }

    /// Removes a group that is in the set as a whole, and tells its first number; the smallest that is noted.
    pub(super) fn take_group(&mut self) -> Option<usize> {
        for _ in 0..MOST_INCOMPLETE {
            let group = self.whole.take_first()?;
            let first = group * GROUP;
            if self.is_whole(group) {
                (first..first + GROUP).step_by(WORD).for_each(|word| {
                    self.members.take_run(word, WORD as u64);
                });
                return Some(first);
            }
        }
        None
    }

    pub(super) fn insert(&mut self, number: usize) {
        self.members.insert(number);
        self.note(number);
    }

    /// Adds numbers that follow each other.
    #[inline]
    pub(super) fn insert_run(&mut self, numbers: RangeInclusive<usize>) {
        let (start, end) = (*numbers.start(), *numbers.end());
        self.members.insert_run(numbers);
        (start / GROUP..end / GROUP).for_each(|group| self.note(group * GROUP + (GROUP - 1)));
        self.note(end);
    }

    pub(super) fn remove(&mut self, number: usize) {
        self.members.remove(number);
    }

    /// Notes the group of a number that was added, if that has made it whole.
    #[inline]
    fn note(&mut self, number: usize) {
        // Mostly the word of the number itself shows that something is missing.
        if self.members.is_full_at(number) && self.is_whole(number / GROUP) {
            self.whole.insert(number / GROUP);
        }
    }

    #[cold]
    fn is_whole(&self, group: usize) -> bool {
        self.members.contains_all(group * GROUP..=group * GROUP + (GROUP - 1))
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn empty(groups: usize) -> FrameSet {
        let bound = groups * GROUP;
        FrameSet::new(bound, vec![0; FrameSet::words_for(bound)].leak())
    }

    #[test]
    fn a_group_is_there_to_be_taken_while_all_of_its_numbers_are() {
        let mut set = empty(5);
        set.insert_run(1..=4 * GROUP);
        assert_eq!(set.take_group(), Some(GROUP), "the first group lacks its first number");
        set.remove(2 * GROUP + 77);
        set.insert(0);
        assert_eq!((set.take_group(), set.take_group()), (Some(0), Some(3 * GROUP)));
        assert_eq!(set.take_group(), None);
        set.insert(2 * GROUP + 77);
        assert_eq!(set.take_group(), Some(2 * GROUP));
        assert_eq!((set.first(), set.contains(4 * GROUP)), (Some(4 * GROUP), true));
        set.remove(4 * GROUP);
        assert_eq!(set.first(), None);
    }

    #[test]
    fn a_group_that_lost_a_run_comes_back_with_the_last_of_its_numbers() {
        let mut set = empty(1);
        set.insert_run(0..=GROUP - 1);
        assert_eq!((set.take_run(64, 64), set.take_run(130, 3)), (64, 3));
        assert_eq!(set.take_group(), None);
        set.insert_run(64..=127);
        assert_eq!(set.take_group(), None);
        set.insert_run(130..=132);
        assert_eq!((set.take_group(), set.first()), (Some(0), None));
    }

    #[test]
    fn a_search_for_a_group_is_bounded_and_the_next_one_goes_on() {
        let mut set = empty(3 * MOST_INCOMPLETE);
        set.insert_run(0..=3 * MOST_INCOMPLETE * GROUP - 1);
        (0..2 * MOST_INCOMPLETE + 1).for_each(|group| set.remove(group * GROUP + group));
        assert_eq!((set.take_group(), set.take_group()), (None, None));
        assert_eq!(set.take_group(), Some((2 * MOST_INCOMPLETE + 1) * GROUP));
    }
}
