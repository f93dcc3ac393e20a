//! The partial slabs of one size class: those with a vacant slot.
//!
//! Blocks are allocated from the fullest slab, so that the others become empty. Most calls change
//! that slab alone, so it is stored apart from the ordered rest, and the ordered set changes only
//! when another slab's rank does.

use alloc::collections::BTreeSet;
use core::{cmp::Reverse, mem};

/// A slab's rank: by its number of live blocks, and among equally full slabs the one with the
/// lowest address ranks highest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    live: u16,
    first_page: Reverse<u64>,
}

impl Rank {
    pub(crate) fn new(live: u16, first_page: u64) -> Self {
        Self { live, first_page: Reverse(first_page) }
    }
}

/// The slabs of one class that have a vacant slot, by rank.
#[derive(Clone, Debug, Default)]
pub(crate) struct PartialSlabs {
    /// The slab of the highest rank. `None` only if `others` is empty as well.
    fullest: Option<Rank>,
    others: BTreeSet<Rank>,
}

impl PartialSlabs {
    /// Returns the first page of the fullest slab.
    pub(crate) fn fullest(&self) -> Option<u64> {
        self.fullest.map(|rank| rank.first_page.0)
    }

    /// Adds a slab that is new or was full.
    pub(crate) fn add(&mut self, rank: Rank) {
        match &mut self.fullest {
            Some(fullest) => {
                let other = if rank > *fullest { mem::replace(fullest, rank) } else { rank };
                self.others.insert(other);
            }
            None => self.fullest = Some(rank),
        }
    }

    /// Removes a slab that has become full or was released.
    pub(crate) fn remove(&mut self, rank: Rank) {
        if self.fullest == Some(rank) {
            self.fullest = self.others.pop_last();
        } else {
            self.others.remove(&rank);
        }
    }

    /// Changes the rank of a slab from `from` to `to`.
    pub(crate) fn change(&mut self, from: Rank, to: Rank) {
        if self.fullest == Some(from) && self.others.last().is_none_or(|other| *other < to) {
            self.fullest = Some(to);
            return;
        }
        self.remove(from);
        self.add(to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slabs(ranks: &[(u16, u64)]) -> PartialSlabs {
        let mut slabs = PartialSlabs::default();
        ranks.iter().for_each(|&(live, first)| slabs.add(Rank::new(live, first)));
        slabs
    }

    #[test]
    fn the_fullest_slab_is_first_and_the_lowest_of_equals() {
        assert_eq!(slabs(&[]).fullest(), None);
        assert_eq!(slabs(&[(3, 10), (5, 20), (4, 30)]).fullest(), Some(20));
        assert_eq!(slabs(&[(5, 30), (5, 20), (5, 40)]).fullest(), Some(20));
    }

    #[test]
    fn a_slab_that_another_overtakes_is_no_longer_the_fullest() {
        let mut slabs = slabs(&[(5, 20), (4, 30)]);
        slabs.change(Rank::new(5, 20), Rank::new(6, 20));
        assert_eq!(slabs.fullest(), Some(20));
        slabs.change(Rank::new(6, 20), Rank::new(3, 20));
        assert_eq!(slabs.fullest(), Some(30));
        slabs.change(Rank::new(3, 20), Rank::new(4, 20));
        assert_eq!(slabs.fullest(), Some(20));
    }

    #[test]
    fn the_next_fullest_slab_follows_one_that_is_removed() {
        let mut slabs = slabs(&[(5, 20), (4, 30), (3, 40)]);
        slabs.remove(Rank::new(4, 30));
        slabs.remove(Rank::new(5, 20));
        assert_eq!(slabs.fullest(), Some(40));
        slabs.remove(Rank::new(3, 40));
        assert_eq!(slabs.fullest(), None);
    }
}
