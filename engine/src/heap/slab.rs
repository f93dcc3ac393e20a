//! A slab: a few pages cut into slots of one size, with a live count for each page.
//!
//! Invariants: a page's [`Content`] counts the live objects that have a byte in it; without one the page is idle
//! and known to [`Idle`], or clean, so that it reads zero and has no frame. Two objects share a page only inside a
//! slab. An object goes into the fullest page that has a slot. `Book` is the one that calls.

use core::array;

use super::{book::Block, class::Class, error::NotABlock, idle::Idle, pages::Pages};

/// What a page of a slab holds; that of a fuller page is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Content(u16);

impl Content {
    /// Nothing since it was released: it reads zero.
    const CLEAN: Self = Self(0);
    /// No live object, and perhaps a frame with bytes of those that were.
    const IDLE: Self = Self(1);

    /// One live object more.
    fn plus_one(self) -> Self {
        Self(self.0.max(Self::IDLE.0) + 1)
    }

    /// One live object fewer, of at least one.
    fn minus_one(self) -> Self {
        Self(self.0 - 1)
    }
}

/// Slots of one size class in consecutive pages.
#[derive(Debug)]
pub(super) struct Slab {
    class: Class,
    first_page: u64,
    live: u16,
    /// A bit for each slot, set while there is a live object in it.
    taken: [u64; Class::MOST_SLOTS / 64],
    /// By page.
    contents: [Content; Class::MOST_PAGES],
    /// By page: slots that start in it and have no live object.
    vacant: [u16; Class::MOST_PAGES],
}

impl Slab {
    /// A slab without objects in the clean pages from `first_page` on.
    pub(super) fn new(class: Class, first_page: u64) -> Self {
        let starts =
            |page| u16::try_from(class.slots_from(page).len()).expect("a page has at most 512 slots");
        let vacant = array::from_fn(|page| if page < class.pages() { starts(page) } else { 0 });
        let contents = [Content::CLEAN; Class::MOST_PAGES];
        Self { class, first_page, live: 0, taken: [0; Class::MOST_SLOTS / 64], contents, vacant }
    }

    pub(super) fn class(&self) -> Class {
        self.class
    }

    pub(super) fn pages(&self) -> Pages {
        Pages::new(self.first_page, self.class.pages() as u64)
    }

    /// How many live objects there are.
    pub(super) fn live(&self) -> u16 {
        self.live
    }

    pub(super) fn is_full(&self) -> bool {
        usize::from(self.live) == self.class.slots()
    }

    /// Whether it can give its addresses back: there is no object, and no page that was not released.
    pub(super) fn is_clean(&self) -> bool {
        self.live == 0 && self.contents.iter().all(|content| *content == Content::CLEAN)
    }

    /// Pages that have a byte of a live object.
    pub(super) fn live_pages(&self) -> u64 {
        self.contents.iter().filter(|content| **content > Content::IDLE).count() as u64
    }

    /// Takes a slot in the fullest page that has one.
    ///
    /// # Panics
    ///
    /// If the slab is full.
    pub(super) fn take(&mut self, idle: &mut Idle) -> Block {
        let slot = self.vacant_slot();
        self.taken[slot / 64] |= 1 << (slot % 64);
        self.live += 1;
        let pages = self.class.pages_of(slot);
        self.vacant[*pages.start()] -= 1;
        let mut stale = Pages::new(self.first_page, 0);
        for page in pages {
            if self.occupy(page, idle) == Content::CLEAN {
                continue;
            }
            if stale.count == 0 {
                stale.first += page as u64;
            }
            stale.count += 1;
        }
        let (address, bytes) = (self.address_of(slot), self.class.slot_bytes() as u64);
        let stale_end = (stale.address() + stale.bytes()).min(address + bytes);
        Block { address, bytes, stale: stale.address().max(address)..stale_end }
    }

    /// The slot of the live object at `address`, which is inside the slab.
    pub(super) fn find(&self, address: u64) -> Result<usize, NotABlock> {
        let offset = usize::try_from(address - self.pages().address()).expect("a slab has 64 KiB at most");
        let slot = offset / self.class.slot_bytes();
        if slot * self.class.slot_bytes() != offset {
            return Err(NotABlock::Foreign);
        }
        if self.taken[slot / 64] & (1 << (slot % 64)) == 0 {
            return Err(NotABlock::Freed);
        }
        Ok(slot)
    }

    /// Gives `slot` back, as [`find`](Self::find) has found it. Pages that have no object now are idle.
    pub(super) fn give_back(&mut self, slot: usize, idle: &mut Idle) {
        self.taken[slot / 64] &= !(1 << (slot % 64));
        self.live -= 1;
        let pages = self.class.pages_of(slot);
        self.vacant[*pages.start()] += 1;
        for page in pages {
            self.contents[page] = self.contents[page].minus_one();
            if self.contents[page] == Content::IDLE {
                idle.push(self.first_page + page as u64);
            }
        }
    }

    /// Notes that the idle page `page` of the memory is being released.
    pub(super) fn clean(&mut self, page: u64) {
        let index = usize::try_from(page - self.first_page).expect("a slab has 16 pages at most");
        self.contents[index] = Content::CLEAN;
    }

    /// Counts an object in `page`, and returns what the page held before.
    fn occupy(&mut self, page: usize, idle: &mut Idle) -> Content {
        let before = self.contents[page];
        if before == Content::IDLE {
            idle.remove(self.first_page + page as u64);
        }
        self.contents[page] = before.plus_one();
        before
    }

    /// The first vacant slot that starts in the fullest page with such a slot, of several the lowest.
    fn vacant_slot(&self) -> usize {
        let pages = (0..self.class.pages()).filter(|&page| self.vacant[page] > 0);
        let fuller = |best, page| if self.contents[page] > self.contents[best] { page } else { best };
        let page = pages.reduce(fuller).expect("a slab that is not full has a vacant slot");
        let mut slot = self.class.slots_from(page).start;
        loop {
            let vacant = !self.taken[slot / 64] >> (slot % 64);
            if vacant != 0 {
                return slot + vacant.trailing_zeros() as usize;
            }
            slot = (slot / 64 + 1) * 64;
        }
    }

    fn address_of(&self, slot: usize) -> u64 {
        self.pages().address() + (slot * self.class.slot_bytes()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heap::pages::PAGE_BYTES;
    use std::vec::Vec;

    /// Slots of 2304 bytes: 16 in 9 pages.
    const BYTES: u64 = 2304;

    fn slab(bytes: u64) -> Slab {
        Slab::new(Class::of(bytes).expect("it is small"), 100)
    }

    fn taken(slab: &mut Slab, count: usize) -> Vec<u64> {
        let mut idle = Idle::default();
        (0..count).map(|_| slab.take(&mut idle).address).collect()
    }

    #[test]
    fn every_slot_is_handed_out_once() {
        let mut slab = slab(BYTES);
        let mut addresses = taken(&mut slab, 16);
        assert!(slab.is_full());
        assert_eq!(slab.live_pages(), 9);
        addresses.sort_unstable();
        assert!(addresses.into_iter().eq((0..16).map(|slot| 100 * PAGE_BYTES + slot * BYTES)));
    }

    #[test]
    fn a_page_is_idle_when_its_last_object_is_gone() {
        let (mut slab, mut idle) = (slab(BYTES), Idle::default());
        let addresses = taken(&mut slab, 4);
        // Slots 0 and 2 are inside pages 0 and 1; slot 1 has bytes in both, slot 3 in pages 1 and 2.
        let expected = [(3, 0), (2, 1), (2, 1), (0, 3)];
        for (address, (pages_left, pages_idle)) in addresses.into_iter().zip(expected) {
            let slot = slab.find(address).expect("it is live");
            slab.give_back(slot, &mut idle);
            assert_eq!((slab.live_pages(), idle.len()), (pages_left, pages_idle));
        }
    }

    #[test]
    fn objects_go_into_the_fullest_page() {
        let (mut slab, mut idle) = (slab(1024), Idle::default());
        let addresses = taken(&mut slab, 12);
        // One object is left in the first page, two in the second, three in the third.
        for index in [0, 1, 2, 4, 5, 8] {
            let slot = slab.find(addresses[index]).expect("it is live");
            slab.give_back(slot, &mut idle);
        }
        let pages = [(); 6].map(|()| slab.take(&mut idle).address / PAGE_BYTES);
        assert_eq!(pages, [102, 101, 101, 100, 100, 100]);
    }

    #[test]
    fn bytes_of_pages_that_were_used_are_stale() {
        let (mut slab, mut idle) = (slab(BYTES), Idle::default());
        let base = 100 * PAGE_BYTES;
        assert!(slab.take(&mut idle).stale.is_empty());
        // The second slot starts in a page that has an object, and ends in a clean one.
        assert_eq!(slab.take(&mut idle).stale, base + BYTES..base + PAGE_BYTES);
        assert_eq!(slab.take(&mut idle).stale, base + 2 * BYTES..base + 3 * BYTES);
    }

    #[test]
    fn what_is_not_live_is_told_apart() {
        let (mut slab, mut idle) = (slab(48), Idle::default());
        let address = slab.take(&mut idle).address;
        let slot = slab.find(address).expect("it is live");
        assert_eq!(slab.find(address + 1), Err(NotABlock::Foreign));
        slab.give_back(slot, &mut idle);
        assert_eq!(slab.find(address), Err(NotABlock::Freed));
    }

    #[test]
    fn a_slab_is_clean_when_its_pages_are_released() {
        let (mut slab, mut idle) = (slab(8), Idle::default());
        let address = slab.take(&mut idle).address;
        slab.give_back(slab.find(address).expect("it is live"), &mut idle);
        assert!(!slab.is_clean());
        slab.clean(100);
        assert!(slab.is_clean());
    }
}
