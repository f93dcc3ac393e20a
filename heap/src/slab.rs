//! A slab: a few pages divided into slots of one size, each of which has room for a small block.
//!
//! Each page has a [`Content`], the number of live blocks with a byte in it. A page without one is
//! either *idle*, which means that it keeps its frame and is listed in [`Idle`], or *clean*, which
//! means that it reads zero and holds no frame. Blocks are allocated in the fullest page that has a
//! vacant slot.

use core::array;

use crate::{block::Block, class::Class, error::NotABlock, idle::Idle, pages::Pages};

/// The content of a page of a slab. That of a fuller page is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Content(u16);

impl Content {
    /// Nothing was written since the page was released: it reads zero.
    const CLEAN: Self = Self(0);
    /// No live block, but perhaps a frame with bytes of earlier blocks.
    const IDLE: Self = Self(1);

    /// Adds a live block.
    fn add_block(self) -> Self {
        Self(self.0.max(Self::IDLE.0) + 1)
    }

    /// Removes a live block, of at least one.
    fn remove_block(self) -> Self {
        Self(self.0 - 1)
    }
}

/// What is recorded of a slab besides its class and its pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlabState {
    /// One bit for each slot, set while the slot contains a live block.
    pub(crate) taken: [u64; Class::MAX_SLOTS / 64],
    /// One bit for each page, set unless the page is clean.
    pub(crate) used: u64,
}

/// The slots of one size class in consecutive pages.
#[derive(Clone, Debug)]
pub(crate) struct Slab {
    class: Class,
    first_page: u64,
    /// The number of live blocks.
    live: u16,
    /// The number of slots, which is constant.
    slots: u16,
    /// One bit for each slot, set while the slot contains a live block.
    taken: [u64; Class::MAX_SLOTS / 64],
    /// The content of each page.
    contents: [Content; Class::MAX_PAGES],
    /// The number of vacant slots that start in each page.
    vacant: [u16; Class::MAX_PAGES],
}

impl Slab {
    /// Returns a slab without blocks in the clean pages from `first_page` on.
    pub(crate) fn new(class: Class, first_page: u64) -> Self {
        let starts =
            |page| u16::try_from(class.slots_from(page).len()).expect("a page has at most 512 slots");
        let vacant = array::from_fn(|page| if page < class.pages() { starts(page) } else { 0 });
        let contents = [Content::CLEAN; Class::MAX_PAGES];
        let slots = u16::try_from(class.slots()).expect("a slab has at most 512 slots");
        Self { class, first_page, live: 0, slots, taken: [0; Class::MAX_SLOTS / 64], contents, vacant }
    }

    /// Returns what is recorded of the slab.
    pub(crate) fn state(&self) -> SlabState {
        let used = (0..).zip(&self.contents).filter(|(_, content)| **content != Content::CLEAN);
        SlabState { taken: self.taken, used: used.fold(0, |used, (page, _)| used | 1 << page) }
    }

    /// Returns a slab with this state, and lists its idle pages. Returns `None` if the state has
    /// slots or pages that a slab of this class lacks.
    pub(crate) fn restored(class: Class, first_page: u64, state: SlabState, idle: &mut Idle) -> Option<Self> {
        let SlabState { taken, used } = state;
        if used >> class.pages() != 0 {
            return None;
        }
        let mut slab = Self::new(class, first_page);
        for slot in (0..Class::MAX_SLOTS).filter(|slot| taken[slot / 64] & (1 << (slot % 64)) != 0) {
            if slot >= class.slots() {
                return None;
            }
            slab.live += 1;
            slab.vacant[*class.pages_of(slot).start()] -= 1;
            class.pages_of(slot).for_each(|page| slab.contents[page] = slab.contents[page].add_block());
        }
        slab.taken = taken;
        for page in (0..class.pages()).filter(|page| used & (1 << page) != 0) {
            if slab.contents[page] == Content::CLEAN {
                slab.contents[page] = Content::IDLE;
                idle.push(first_page + page as u64);
            }
        }
        Some(slab)
    }

    pub(crate) fn class(&self) -> Class {
        self.class
    }

    pub(crate) fn pages(&self) -> Pages {
        Pages::new(self.first_page, self.class.pages() as u64)
    }

    /// Returns the number of live blocks.
    pub(crate) fn live(&self) -> u16 {
        self.live
    }

    pub(crate) fn is_full(&self) -> bool {
        self.live == self.slots
    }

    /// Returns whether the slab contains no block and all of its pages were released, so that its
    /// addresses can be freed.
    pub(crate) fn is_clean(&self) -> bool {
        self.live == 0 && self.contents.iter().all(|content| *content == Content::CLEAN)
    }

    /// Returns the number of pages with a byte of a live block.
    pub(crate) fn live_pages(&self) -> u64 {
        self.contents.iter().filter(|content| **content > Content::IDLE).count() as u64
    }

    /// Allocates a block in the fullest page that has a vacant slot.
    ///
    /// # Panics
    ///
    /// If the slab is full.
    pub(crate) fn allocate(&mut self, idle: &mut Idle) -> Block {
        let slot = self.vacant_slot();
        self.taken[slot / 64] |= 1 << (slot % 64);
        self.live += 1;
        let pages = self.class.pages_of(slot);
        self.vacant[*pages.start()] -= 1;
        // The pages of the slot that were not clean. If one of two is, these are still consecutive.
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
        let address = self.address_of(slot);
        let bytes = self.class.slot_bytes() as u64;
        let stale_end = (stale.address() + stale.bytes()).min(address + bytes);
        Block { address, bytes, stale: stale.address().max(address)..stale_end }
    }

    /// Returns the slot of the live block at `address`, an address inside the slab.
    ///
    /// # Errors
    ///
    /// - [`NotABlock::Foreign`] if no slot starts at `address`.
    /// - [`NotABlock::Freed`] if the slot there is vacant.
    pub(crate) fn find(&self, address: u64) -> Result<usize, NotABlock> {
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

    /// Frees the block in `slot`, which [`find`](Self::find) has returned. Pages without a live
    /// block become idle.
    pub(crate) fn free(&mut self, slot: usize, idle: &mut Idle) {
        self.taken[slot / 64] &= !(1 << (slot % 64));
        self.live -= 1;
        let pages = self.class.pages_of(slot);
        self.vacant[*pages.start()] += 1;
        for page in pages {
            self.contents[page] = self.contents[page].remove_block();
            if self.contents[page] == Content::IDLE {
                idle.push(self.first_page + page as u64);
            }
        }
    }

    /// Records that `page`, an idle page of the memory, is being released.
    pub(crate) fn set_clean(&mut self, page: u64) {
        let index = usize::try_from(page - self.first_page).expect("a slab has 16 pages at most");
        self.contents[index] = Content::CLEAN;
    }

    /// Adds a block to `page`, and returns what the page contained before.
    fn occupy(&mut self, page: usize, idle: &mut Idle) -> Content {
        let before = self.contents[page];
        if before == Content::IDLE {
            idle.remove(self.first_page + page as u64);
        }
        self.contents[page] = before.add_block();
        before
    }

    /// Returns the lowest vacant slot that starts in the fullest page with such a slot.
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
    use crate::pages::PAGE_BYTES;
    use std::vec::Vec;

    /// Slots of 2304 bytes: 16 in 9 pages.
    const BYTES: u64 = 2304;

    fn slab(bytes: u64) -> Slab {
        Slab::new(Class::of(bytes).expect("it is small"), 100)
    }

    fn addresses(slab: &mut Slab, count: usize) -> Vec<u64> {
        let mut idle = Idle::default();
        (0..count).map(|_| slab.allocate(&mut idle).address).collect()
    }

    #[test]
    fn every_slot_is_allocated_once() {
        let mut slab = slab(BYTES);
        let mut addresses = addresses(&mut slab, 16);
        assert!(slab.is_full());
        assert_eq!(slab.live_pages(), 9);
        addresses.sort_unstable();
        assert!(addresses.into_iter().eq((0..16).map(|slot| 100 * PAGE_BYTES + slot * BYTES)));
    }

    #[test]
    fn a_page_is_idle_when_its_last_block_is_freed() {
        let mut slab = slab(BYTES);
        let mut idle = Idle::default();
        let addresses = addresses(&mut slab, 4);
        // Slots 0 and 2 are inside pages 0 and 1; slot 1 has bytes in both, slot 3 in pages 1 and
        // 2.
        let expected = [(3, 0), (2, 1), (2, 1), (0, 3)];
        for (address, (pages_left, pages_idle)) in addresses.into_iter().zip(expected) {
            let slot = slab.find(address).expect("it is live");
            slab.free(slot, &mut idle);
            assert_eq!((slab.live_pages(), idle.len()), (pages_left, pages_idle));
        }
    }

    #[test]
    fn blocks_go_into_the_fullest_page() {
        let mut slab = slab(1024);
        let mut idle = Idle::default();
        let addresses = addresses(&mut slab, 12);
        // One block is left in the first page, two in the second, three in the third.
        for index in [0, 1, 2, 4, 5, 8] {
            let slot = slab.find(addresses[index]).expect("it is live");
            slab.free(slot, &mut idle);
        }
        let pages = [(); 6].map(|()| slab.allocate(&mut idle).address / PAGE_BYTES);
        assert_eq!(pages, [102, 101, 101, 100, 100, 100]);
    }

    #[test]
    fn bytes_in_pages_that_were_used_are_stale() {
        let mut slab = slab(BYTES);
        let mut idle = Idle::default();
        let base = 100 * PAGE_BYTES;
        assert!(slab.allocate(&mut idle).stale.is_empty());
        // The second slot starts in a page that contains a block, and ends in a clean one.
        assert_eq!(slab.allocate(&mut idle).stale, base + BYTES..base + PAGE_BYTES);
        assert_eq!(slab.allocate(&mut idle).stale, base + 2 * BYTES..base + 3 * BYTES);
    }

    #[test]
    fn a_freed_slot_and_the_middle_of_a_slot_are_different_errors() {
        let mut slab = slab(48);
        let mut idle = Idle::default();
        let address = slab.allocate(&mut idle).address;
        let slot = slab.find(address).expect("it is live");
        assert_eq!(slab.find(address + 1), Err(NotABlock::Foreign));
        slab.free(slot, &mut idle);
        assert_eq!(slab.find(address), Err(NotABlock::Freed));
    }

    #[test]
    fn a_slab_is_clean_when_all_its_pages_are_released() {
        let mut slab = slab(8);
        let mut idle = Idle::default();
        let address = slab.allocate(&mut idle).address;
        slab.free(slab.find(address).expect("it is live"), &mut idle);
        assert!(!slab.is_clean());
        slab.set_clean(100);
        assert!(slab.is_clean());
    }
}
