//! The free addresses of the window, in blocks.
//!
//! A block is a power of two of pages, aligned to its size. So a region of 2 MiB or more is the
//! only user of its level-1 tables, and a region of 1 GiB or more is the only user of its level-2
//! tables.
//!
//! Blocks are buddies: a block that is too large is halved until it fits, and a block that is freed
//! joins its other half if that is free. A take or a free visits at most one block of each size.
//!
//! Invariants: a [`Block`] is owned, and its pages belong to no other block. No two halves of one
//! block are both free. The bookkeeping is on the heap, so the fault path does not use it.

use alloc::collections::BTreeSet;
use core::{array, fmt};

use x86_64::VirtAddr;
use x86_64::structures::paging::Page;
use x86_64::structures::paging::page::PageRange;
use x86_64::structures::paging::page_table::PageTableLevel;

use crate::pages::pages_per_table;

/// One half of the address space has 2^35 pages, so no block is larger, and orders 0 to 35 are
/// enough.
const ORDERS: usize = 36;

/// The free blocks of the window.
pub(crate) struct Placement {
    /// The first pages of the free blocks of `1 << order` pages, by order.
    free: [BTreeSet<u64>; ORDERS],
    /// The first page of the half in which the window lies. Pages are numbered from there.
    origin: Page,
    largest_pages: u64,
    free_pages: u64,
}

/// An owned power of two of pages, aligned to its size.
#[must_use = "dropped addresses are never used again: free them in the placement"]
#[derive(Debug)]
pub(crate) struct Block {
    start: Page,
    pages: u64,
}

impl Placement {
    /// A placement over a window that lies in one half of the address space.
    pub(crate) fn new(window: PageRange) -> Self {
        let origin = half_of(window.start);
        let (mut next, end) = (window.start - origin, window.end - origin);
        let mut free = array::from_fn(|_| BTreeSet::new());
        let mut largest_pages = 0;
        while next < end {
            let order = largest_order(next, end - next);
            free[order].insert(next);
            next += 1 << order;
            largest_pages = largest_pages.max(1 << order);
        }
        Self { free, origin, largest_pages, free_pages: window.len() }
    }

    /// The largest number of pages that a block of the empty window can have.
    pub(crate) const fn largest_pages(&self) -> u64 {
        self.largest_pages
    }

    /// The number of pages that are in no block.
    pub(crate) const fn free_pages(&self) -> u64 {
        self.free_pages
    }

    /// The number of pages of the largest block that is free.
    pub(crate) fn largest_free_pages(&self) -> u64 {
        let largest = (0..ORDERS).rev().find(|order| !self.free[*order].is_empty());
        largest.map_or(0, |order| 1 << order)
    }

    /// Takes the smallest block that has `pages` pages, if there is one.
    pub(crate) fn take(&mut self, pages: u64) -> Option<Block> {
        let pages = pages.checked_next_power_of_two()?;
        let order = pages.trailing_zeros() as usize;
        let (found, number) =
            (order..ORDERS).find_map(|order| Some((order, self.free[order].pop_first()?)))?;
        self.free_pages -= pages;
        // The block keeps its first part, and each half after that is free.
        for order in order..found {
            self.free[order].insert(number + (1 << order));
        }
        Some(Block { start: self.origin + number, pages })
    }

    pub(crate) fn free(&mut self, block: Block) {
        self.free_pages += block.pages;
        let mut number = block.start - self.origin;
        let mut order = block.pages.trailing_zeros() as usize;
        // A block of the largest order is one half of the address space, so it has no other half.
        while order < ORDERS - 1 && self.free[order].remove(&(number ^ (1 << order))) {
            number &= !(1 << order);
            order += 1;
        }
        self.free[order].insert(number);
    }
}

impl fmt::Debug for Placement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Placement").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Block {
    pub(crate) fn pages(&self) -> PageRange {
        Page::range(self.start, self.start + self.pages)
    }

    /// Whether the block owns the tables of this level over it, or shares them with its neighbours.
    pub(crate) const fn owns_tables(&self, level: PageTableLevel) -> bool {
        self.pages >= pages_per_table(level)
    }

    /// The most tables that the first `pages` pages of the block can need and do not share.
    pub(crate) fn most_tables(&self, pages: u64) -> u64 {
        [PageTableLevel::One, PageTableLevel::Two]
            .into_iter()
            .filter(|level| self.owns_tables(*level))
            .map(|level| pages.div_ceil(pages_per_table(level)))
            .sum()
    }

    /// The lowest level of tables that the block shares with its neighbours, if there is one.
    pub(crate) const fn lowest_shared_tables(&self) -> Option<PageTableLevel> {
        if !self.owns_tables(PageTableLevel::One) {
            Some(PageTableLevel::One)
        } else if !self.owns_tables(PageTableLevel::Two) {
            Some(PageTableLevel::Two)
        } else {
            None
        }
    }
}

fn half_of(page: Page) -> Page {
    let low = Page::containing_address(VirtAddr::zero());
    let high = Page::containing_address(VirtAddr::new_truncate(1 << 47));
    if page < high { low } else { high }
}

/// The order of the largest block that starts at this page and has at most `pages` pages. There is
/// at least one page.
fn largest_order(number: u64, pages: u64) -> usize {
    let order = number.trailing_zeros().min(pages.ilog2()) as usize;
    order.min(ORDERS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB_PAGES: u64 = 1 << 18;

    fn window(start: u64, gib: u64) -> Placement {
        let start = Page::containing_address(VirtAddr::new(start));
        Placement::new(Page::range(start, start + gib * GIB_PAGES))
    }

    #[test]
    fn the_largest_block_is_the_largest_aligned_one() {
        assert_eq!(window(1 << 44, 16 << 10).largest_pages(), (16 << 10) * GIB_PAGES);
        assert_eq!(window(1 << 30, 3).largest_pages(), 2 * GIB_PAGES, "1 to 4 GiB holds 2 to 4");
        assert_eq!(window(1 << 30, 2).largest_pages(), GIB_PAGES, "1 to 3 GiB holds no aligned 2 GiB");
        assert_eq!(window(0xffff_8000_0000_0000, 512).largest_pages(), 512 * GIB_PAGES);
    }

    #[test]
    fn blocks_are_rounded_up_and_aligned_to_their_size() {
        let mut placement = window(0xffff_9000_0000_0000, 8);
        for pages in [1, 3, 600, GIB_PAGES - 1, GIB_PAGES + 1] {
            let block = placement.take(pages).expect("8 GiB hold all of them");
            assert_eq!(block.pages().len(), pages.next_power_of_two());
            assert!(block.start.start_address().is_aligned(block.pages().size()));
            placement.free(block);
        }
        assert!(placement.take(8 * GIB_PAGES).is_some(), "what came back is one block again");
    }

    #[test]
    fn a_block_needs_the_tables_that_are_its_own() {
        let mut placement = window(1 << 40, 8);
        let mut most = |block_pages, pages| {
            placement.take(block_pages).expect("8 GiB hold all of them").most_tables(pages)
        };
        assert_eq!([most(256, 256), most(512, 0), most(512, 1), most(1024, 513)], [0, 0, 1, 2]);
        assert_eq!([most(GIB_PAGES, 1), most(2 * GIB_PAGES, GIB_PAGES + 1)], [1 + 1, 513 + 2]);
    }

    #[test]
    fn a_block_knows_which_tables_it_shares() {
        let mut placement = window(1 << 40, 8);
        let mut lowest =
            |pages| placement.take(pages).expect("8 GiB hold all of them").lowest_shared_tables();
        assert_eq!([lowest(1), lowest(256)], [Some(PageTableLevel::One); 2]);
        assert_eq!([lowest(512), lowest(GIB_PAGES / 2)], [Some(PageTableLevel::Two); 2]);
        assert_eq!(lowest(GIB_PAGES), None);
    }
}
