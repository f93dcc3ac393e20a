//! The slabs of one size class that have a vacant slot, the fullest one at hand.
//!
//! Objects go into the fullest slab, so that the others run empty. A program that makes and frees objects works
//! on that one alone most of the time, so it is kept apart from the ordered rest, and the order changes only
//! when the place of another slab does.

use alloc::collections::BTreeSet;
use core::{cmp::Reverse, mem};

/// A slab's place: its live objects, then its first page. Of several as full as each other the lowest is first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    live: u16,
    first_page: Reverse<u64>,
}

impl Place {
    pub(super) fn new(live: u16, first_page: u64) -> Self {
        Self { live, first_page: Reverse(first_page) }
    }
}

/// Slabs with vacant slots.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    /// The greatest; nothing only if there are no others.
    fullest: Option<Place>,
    others: BTreeSet<Place>,
}

impl Shelf {
    /// The first page of the fullest slab.
    pub(super) fn fullest(&self) -> Option<u64> {
        self.fullest.map(|place| place.first_page.0)
    }

    /// Adds a slab that is new, or was full.
    pub(super) fn add(&mut self, place: Place) {
        match &mut self.fullest {
            Some(fullest) => {
                let other = if place > *fullest { mem::replace(fullest, place) } else { place };
                self.others.insert(other);
            }
            None => self.fullest = Some(place),
        }
    }

    /// Removes a slab that is full, or gone.
    pub(super) fn remove(&mut self, place: Place) {
        if self.fullest == Some(place) {
            self.fullest = self.others.pop_last();
        } else {
            self.others.remove(&place);
        }
    }

    /// Moves a slab that was at `from` to `to`.
    pub(super) fn change(&mut self, from: Place, to: Place) {
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

    fn shelf(places: &[(u16, u64)]) -> Shelf {
        let mut shelf = Shelf::default();
        places.iter().for_each(|&(live, first)| shelf.add(Place::new(live, first)));
        shelf
    }

    #[test]
    fn the_fullest_is_at_hand_and_the_lowest_of_equals() {
        assert_eq!(shelf(&[]).fullest(), None);
        assert_eq!(shelf(&[(3, 10), (5, 20), (4, 30)]).fullest(), Some(20));
        assert_eq!(shelf(&[(5, 30), (5, 20), (5, 40)]).fullest(), Some(20));
    }

    #[test]
    fn a_slab_that_falls_behind_another_is_not_the_fullest_any_more() {
        let mut shelf = shelf(&[(5, 20), (4, 30)]);
        shelf.change(Place::new(5, 20), Place::new(6, 20));
        assert_eq!(shelf.fullest(), Some(20));
        shelf.change(Place::new(6, 20), Place::new(3, 20));
        assert_eq!(shelf.fullest(), Some(30));
        shelf.change(Place::new(3, 20), Place::new(4, 20));
        assert_eq!(shelf.fullest(), Some(20));
    }

    #[test]
    fn what_is_removed_is_followed_by_the_next() {
        let mut shelf = shelf(&[(5, 20), (4, 30), (3, 40)]);
        shelf.remove(Place::new(4, 30));
        shelf.remove(Place::new(5, 20));
        assert_eq!(shelf.fullest(), Some(40));
        shelf.remove(Place::new(3, 40));
        assert_eq!(shelf.fullest(), None);
    }
}
