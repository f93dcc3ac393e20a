//! A set of small numbers as a tree of 64-bit words.
//!
//! Level 0 has a bit for each number. A bit of level n + 1 is set if the word of level n that it
//! stands for has any bit set. So finding, adding and removing the smallest member takes one step
//! per level: four levels for 64 GiB of frames. A lookup first tries the word that contained the
//! smallest member last, which usually makes it one step.
//!
//! Invariants: a bit above level 0 is set if and only if its word is not zero. All words of level 0
//! before `first_word` are zero.

use core::ops::RangeInclusive;

/// Levels of the largest tree: 64^7 numbers are more than the 2^40 frames that x86_64 can address.
const MAX_LEVELS: usize = 7;

const BITS: usize = 64;

/// A set of numbers below a bound, over storage that the caller provides.
#[derive(Debug)]
pub(super) struct FreeSet {
    words: &'static mut [u64],
    /// The index in `words` at which each level starts. Only the first `levels` of them are used.
    starts: [usize; MAX_LEVELS],
    levels: usize,
    first_word: usize,
}

impl FreeSet {
    /// The number of words that a set of numbers below `bound` needs.
    pub(super) fn words_for(bound: usize) -> usize {
        level_sizes(bound).sum()
    }

    /// An empty set of numbers below `bound`, over [`words_for`](Self::words_for) words that are
    /// all zero.
    pub(super) fn new(bound: usize, words: &'static mut [u64]) -> Self {
        debug_assert!(words.len() >= Self::words_for(bound), "the storage is smaller than the tree");
        let mut starts = [0; MAX_LEVELS];
        let mut levels = 0;
        let mut next = 0;
        for (start, size) in starts.iter_mut().zip(level_sizes(bound)) {
            *start = next;
            next += size;
            levels += 1;
        }
        Self { words, starts, levels, first_word: 0 }
    }

    pub(super) fn contains(&self, number: usize) -> bool {
        self.words[number / BITS] & bit(number) != 0
    }

    /// The smallest member.
    #[inline(always)]
    pub(super) fn first(&mut self) -> Option<usize> {
        let word = self.words[self.first_word];
        if word != 0 {
            return Some(self.first_word * BITS + word.trailing_zeros() as usize);
        }
        let first = self.descend()?;
        self.first_word = first / BITS;
        Some(first)
    }

    /// Removes the smallest member.
    #[inline(always)]
    pub(super) fn take_first(&mut self) -> Option<usize> {
        let first = self.first()?;
        let word = &mut self.words[self.first_word];
        // Clears the lowest bit, which is that of the smallest member.
        *word &= *word - 1;
        if *word == 0 {
            self.mark_empty(self.first_word);
        }
        Some(first)
    }

    /// Removes this member and those that follow it in the same word, up to `most`, which is not
    /// zero. Returns how many there were.
    #[inline]
    pub(super) fn take_run(&mut self, first: usize, most: u64) -> usize {
        let word = &mut self.words[first / BITS];
        let members = (*word >> (first % BITS)).trailing_ones() as usize;
        let count = usize::try_from(most).map_or(members, |most| most.min(members));
        *word &= !(u64::MAX >> (BITS - count) << (first % BITS));
        if *word == 0 {
            self.mark_empty(first / BITS);
        }
        count
    }

    /// The smallest member, found from the root.
    #[cold]
    fn descend(&self) -> Option<usize> {
        let mut index = 0;
        for level in (0..self.levels).rev() {
            let word = self.words[self.starts[level] + index];
            if word == 0 {
                return None;
            }
            index = index * BITS + word.trailing_zeros() as usize;
        }
        Some(index)
    }

    pub(super) fn contains_any(&self, numbers: RangeInclusive<usize>) -> bool {
        masks(numbers).any(|(word, mask)| self.words[word] & mask != 0)
    }

    pub(super) fn insert(&mut self, number: usize) {
        self.insert_run(number..=number);
    }

    /// Adds numbers that follow each other.
    pub(super) fn insert_run(&mut self, numbers: RangeInclusive<usize>) {
        self.first_word = self.first_word.min(numbers.start() / BITS);
        for (index, mask) in masks(numbers) {
            let word = &mut self.words[index];
            let was_empty = *word == 0;
            *word |= mask;
            if was_empty {
                self.mark_used(index);
            }
        }
    }

    pub(super) fn remove(&mut self, number: usize) {
        let word = &mut self.words[number / BITS];
        *word &= !bit(number);
        if *word == 0 {
            self.mark_empty(number / BITS);
        }
    }

    /// Sets the bits above level 0 for a word of level 0 that is not zero any more.
    #[cold]
    fn mark_used(&mut self, word: usize) {
        let mut index = word;
        for level in 1..self.levels {
            let word = &mut self.words[self.starts[level] + index / BITS];
            let was_empty = *word == 0;
            *word |= bit(index);
            if !was_empty {
                return;
            }
            index /= BITS;
        }
    }

    /// Clears the bits above level 0 for a word of level 0 that has become zero.
    #[cold]
    fn mark_empty(&mut self, word: usize) {
        let mut index = word;
        for level in 1..self.levels {
            let word = &mut self.words[self.starts[level] + index / BITS];
            *word &= !bit(index);
            if *word != 0 {
                return;
            }
            index /= BITS;
        }
    }
}

/// The index of each word of level 0 that these numbers are in, with a mask of their bits.
fn masks(numbers: RangeInclusive<usize>) -> impl Iterator<Item = (usize, u64)> {
    let (first, last) = numbers.into_inner();
    (first / BITS..=last / BITS).map(move |word| {
        let from = if word == first / BITS { u64::MAX << (first % BITS) } else { u64::MAX };
        let to = if word == last / BITS { u64::MAX >> (BITS - 1 - last % BITS) } else { u64::MAX };
        (word, from & to)
    })
}

const fn bit(index: usize) -> u64 {
    1 << (index % BITS)
}

/// The number of words of each level, from level 0 to the root, which is one word.
fn level_sizes(bound: usize) -> impl Iterator<Item = usize> {
    let leaves = bound.div_ceil(BITS).max(1);
    core::iter::successors(Some(leaves), |words| (*words > 1).then(|| words.div_ceil(BITS)))
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;

    fn empty(bound: usize) -> FreeSet {
        FreeSet::new(bound, vec![0; FreeSet::words_for(bound)].leak())
    }

    #[test]
    fn a_tree_has_a_word_for_each_64_words_below() {
        assert_eq!(FreeSet::words_for(0), 1);
        assert_eq!(FreeSet::words_for(64), 1);
        assert_eq!(FreeSet::words_for(65), 2 + 1);
        assert_eq!(FreeSet::words_for(4097), 65 + 2 + 1);
    }

    #[test]
    fn members_come_out_in_order_across_levels() {
        let members = [0, 1, 63, 64, 4095, 4096, 262_143, 262_144, 299_999];
        let mut set = empty(300_000);
        members.iter().rev().for_each(|member| set.insert(*member));
        for member in members {
            assert!(set.contains(member));
            assert_eq!(set.first(), Some(member));
            set.remove(member);
            assert!(!set.contains(member));
        }
        assert_eq!(set.first(), None);
    }

    #[test]
    fn a_run_is_added_across_words() {
        for (first, last) in [(0, 0), (5, 63), (63, 64), (60, 200), (64, 127), (4000, 4999)] {
            let mut set = empty(5000);
            set.insert_run(first..=last);
            let members: Vec<usize> = (0..5000).filter(|number| set.contains(*number)).collect();
            assert_eq!(members, (first..=last).collect::<Vec<_>>());
            assert!(set.contains_any(last..=4999) && set.contains_any(0..=first));
            assert!(first == 0 || !set.contains_any(0..=first - 1));
            assert_eq!(set.first(), Some(first));
            members.into_iter().for_each(|number| set.remove(number));
            assert_eq!(set.first(), None);
        }
    }

    #[test]
    fn a_taken_run_ends_at_a_gap_or_with_its_word_or_when_it_is_long_enough() {
        let mut set = empty(5000);
        set.insert_run(60..=70);
        set.insert_run(80..=90);
        let mut take = |most| set.first().map(|first| (first, set.take_run(first, most)));
        assert_eq!([take(100), take(3), take(100)], [Some((60, 4)), Some((64, 3)), Some((67, 4))]);
        assert_eq!([take(1), take(100), take(1)], [Some((80, 1)), Some((81, 10)), None]);
    }

    #[test]
    fn the_smallest_member_is_taken_first_across_levels() {
        let members = [5, 6, 64, 4096, 4999];
        let mut set = empty(5000);
        members.iter().for_each(|member| set.insert(*member));
        let taken: Vec<usize> = core::iter::from_fn(|| set.take_first()).collect();
        assert_eq!(taken, members);
    }

    #[test]
    fn a_word_that_keeps_a_member_stays_marked_above() {
        let mut set = empty(5000);
        set.insert(4500);
        set.insert(4501);
        set.remove(4500);
        assert_eq!(set.first(), Some(4501));
        set.insert(3);
        set.remove(4501);
        assert_eq!(set.first(), Some(3));
    }
}
