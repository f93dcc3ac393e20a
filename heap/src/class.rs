//! Size classes: the sizes of slots, and the number of pages in a slab of each.
//!
//! The sizes are 8 bytes, multiples of 16 bytes up to 128, and then eight evenly spaced classes for
//! each doubling. Above 128 bytes a slot is larger than the request by an eighth at most. A slab
//! has a whole number of slots, so no space is left at its end, and at most
//! [`MAX_SLOTS`](Class::MAX_SLOTS) of them. Slots of 16 bytes and more are aligned to 16 bytes.

use core::ops::{Range, RangeInclusive};

use crate::pages::PAGE_LEN;

/// A size class, numbered in ascending order of size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Class(u8);

/// The number of classes of 8, 16, 32, ... 128 bytes. The classes after them divide a doubling.
const EVEN: u8 = 9;
/// The base-2 logarithm of the number of classes in a doubling.
const STEPS_LOG2: u32 = 3;

impl Class {
    /// The number of classes.
    pub(crate) const COUNT: usize = 48;
    /// The bytes of the largest slot. Larger blocks take whole pages.
    pub(crate) const LARGEST_BYTES: u64 = 3840;
    /// The maximum number of slots in a slab.
    pub(crate) const MAX_SLOTS: usize = 512;
    /// The maximum number of pages in a slab.
    pub(crate) const MAX_PAGES: usize = 16;

    /// Returns the class with the smallest slots that have room for `bytes`.
    pub(crate) fn of(bytes: u64) -> Option<Self> {
        let number = match bytes {
            0..=8 => 0,
            9..=128 => bytes.div_ceil(16),
            129..=Self::LARGEST_BYTES => {
                let doubling = (bytes - 1).ilog2();
                // The slot has one eighth of the doubling more than these 8 to 15.
                let eighths = (bytes - 1) >> (doubling - STEPS_LOG2);
                u64::from(EVEN) + u64::from(doubling - 7) * 8 + (eighths - 8)
            }
            _ => return None,
        };
        Some(Self(u8::try_from(number).expect("there are 48 classes")))
    }

    /// Returns the class with this number.
    pub(crate) fn numbered(number: u64) -> Option<Self> {
        u8::try_from(number).ok().map(Self).filter(|class| class.index() < Self::COUNT)
    }

    /// Returns its number, which is less than [`COUNT`](Self::COUNT).
    pub(crate) fn index(self) -> usize {
        self.0.into()
    }

    /// Returns the bytes of a slot.
    pub(crate) fn slot_bytes(self) -> usize {
        match self.0 {
            0 => 8,
            number @ 1..EVEN => usize::from(number) * 16,
            EVEN.. => self.units() << ((self.0 - EVEN) / 8 + 4),
        }
    }

    /// Returns the number of pages in a slab.
    pub(crate) fn pages(self) -> usize {
        match self.0 {
            0 => 1,
            number @ 1..EVEN => usize::from(number) * 2,
            EVEN.. => self.units(),
        }
    }

    /// Returns the number of slots in a slab.
    pub(crate) fn slots(self) -> usize {
        self.pages() * PAGE_LEN / self.slot_bytes()
    }

    /// Returns the size of a slot in eighths of its doubling: 9 to 16. That many pages have room
    /// for a power of two of such slots.
    fn units(self) -> usize {
        usize::from((self.0 - EVEN) % 8) + 9
    }

    /// Returns the slots whose first byte is in page `page` of the slab.
    pub(crate) fn slots_from(self, page: usize) -> Range<usize> {
        let first = |page: usize| (page * PAGE_LEN).div_ceil(self.slot_bytes());
        first(page)..first(page + 1)
    }

    /// Returns the pages of the slab that `slot` has bytes in: one or two.
    pub(crate) fn pages_of(self, slot: usize) -> RangeInclusive<usize> {
        let start = slot * self.slot_bytes();
        start / PAGE_LEN..=(start + self.slot_bytes() - 1) / PAGE_LEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn classes() -> impl Iterator<Item = Class> {
        (0..48).map(Class)
    }

    fn slot_for(bytes: u64) -> Option<u64> {
        Class::of(bytes).map(|class| class.slot_bytes() as u64)
    }

    #[test]
    fn every_size_gets_the_smallest_slot_with_room_for_it() {
        let sizes: Vec<u64> = classes().map(|class| class.slot_bytes() as u64).collect();
        assert!(sizes.is_sorted_by(|small, large| small < large), "{sizes:?}");
        assert_eq!((sizes.len(), sizes.last()), (Class::COUNT, Some(&Class::LARGEST_BYTES)));
        for bytes in 0..=Class::LARGEST_BYTES {
            let smallest = sizes.iter().copied().find(|&slot| slot >= bytes);
            assert_eq!(slot_for(bytes), smallest, "{bytes}");
        }
        assert_eq!(Class::of(Class::LARGEST_BYTES + 1), None);
        assert_eq!(Class::of(u64::MAX), None);
    }

    #[test]
    fn at_most_an_eighth_is_wasted_above_128_bytes() {
        for bytes in 129..=Class::LARGEST_BYTES {
            let slot = slot_for(bytes).expect("the size is at most the largest slot");
            assert!((slot - bytes) * 8 <= bytes, "{bytes} in {slot}");
        }
    }

    #[test]
    fn slots_of_16_bytes_and_more_are_aligned_to_16() {
        assert!(classes().skip(1).all(|class| class.slot_bytes().is_multiple_of(16)));
    }

    #[test]
    fn slabs_have_no_space_left_and_stay_within_their_bounds() {
        for class in classes() {
            assert_eq!(class.slots() * class.slot_bytes(), class.pages() * PAGE_LEN, "{class:?}");
            assert!(class.slots() <= Class::MAX_SLOTS, "{class:?}");
            assert!(class.pages() <= Class::MAX_PAGES, "{class:?}");
        }
    }

    #[test]
    fn each_slot_starts_in_one_page_and_has_bytes_in_at_most_two() {
        for class in classes() {
            let by_page = (0..class.pages()).flat_map(|page| class.slots_from(page));
            assert!(by_page.eq(0..class.slots()), "{class:?}");
            assert!((0..class.slots()).all(|slot| class.pages_of(slot).count() <= 2), "{class:?}");
        }
    }

    #[test]
    fn a_size_rounded_up_to_an_alignment_gets_slots_of_that_alignment() {
        for alignment in (0..12).map(|log2| 1_u64 << log2) {
            for bytes in (1..=Class::LARGEST_BYTES).map(|bytes| bytes.next_multiple_of(alignment)) {
                let slot = slot_for(bytes);
                assert!(slot.is_none_or(|slot| slot.is_multiple_of(alignment)), "{bytes} to {alignment}");
            }
        }
    }
}
