//! The free addresses of the window, in blocks.
//!
//! A block is a power of two of pages, aligned to its size. So a region of 2 MiB or more is the
//! only user of its level-1 tables, and a region of 1 GiB or more is the only user of its level-2
//! tables. Smaller blocks are parts of a *chunk*, 1 GiB whose blocks share a level-2 table. A chunk
//! belongs to one CPU, so that regions that were made by different CPUs share no table.
//!
//! A chunk ends with its last block, because a larger block may need its addresses. If another CPU
//! makes a chunk there, tables of its regions may have to wait for the CPUs that have used the
//! addresses before ([`Pasts`]), until each of these has flushed once. Chunks that stay with their
//! CPU would avoid this wait, but not the flush: a reserve flushes after the end of a region
//! anyway, at any address.
//!
//! Blocks are buddies: a block that is too large is halved until it fits, and a block that is freed
//! joins its other half if that is free. A take or a free visits at most one block of each size.
//!
//! Invariants: a [`Block`] is owned, and its pages belong to no other block. No two halves of one
//! block are both free. All blocks of a chunk, free or not, are of one CPU. The bookkeeping is on
//! the heap, so the fault path does not use it.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use core::ops::Range;
use core::{array, fmt};

use x86_64::VirtAddr;
use x86_64::structures::paging::Page;
use x86_64::structures::paging::page::PageRange;
use x86_64::structures::paging::page_table::PageTableLevel;

use super::past::Pasts;
use crate::pages::{entry_pages, pages_per_table};

/// One half of the address space has 2^35 pages, so no block is larger, and orders 0 to 35 are
/// enough.
const ORDERS: usize = 36;

/// A chunk has 2^18 pages.
const CHUNK_ORDER: usize = pages_per_table(PageTableLevel::Two).trailing_zeros() as usize;

/// The free blocks of the window.
pub(crate) struct Placement {
    /// The first pages of the free blocks of `1 << order` pages, by order, from a chunk on.
    free: [BTreeSet<u64>; ORDERS],
    /// For each CPU, those of the free blocks in its chunks.
    in_chunks: Box<[[BTreeSet<u64>; CHUNK_ORDER]]>,
    /// The first page of the half in which the window lies. Pages are numbered from there.
    origin: Page,
    largest_pages: u64,
    free_pages: u64,
    pub(crate) pasts: Pasts,
}

/// An owned power of two of pages, aligned to its size.
#[must_use = "dropped addresses are never used again: free them in the placement"]
#[derive(Debug)]
pub(crate) struct Block {
    start: Page,
    pages: u64,
    /// The CPU whose chunk the block is in, if it is in one.
    cpu: usize,
}

impl Placement {
    /// A placement over a window that lies in one half of the address space and starts and ends at
    /// multiples of 1 GiB.
    pub(crate) fn new(window: PageRange, cpus: usize) -> Self {
        let origin = half_of(window.start);
        let mut next = window.start - origin;
        let end = window.end - origin;
        let mut free = array::from_fn(|_| BTreeSet::new());
        let mut largest_pages = 0;
        while next < end {
            let order = largest_order(next, end - next);
            free[order].insert(next);
            next += 1 << order;
            largest_pages = largest_pages.max(1 << order);
        }
        let in_chunks = (0..cpus).map(|_| array::from_fn(|_| BTreeSet::new())).collect();
        Self { free, in_chunks, origin, largest_pages, free_pages: window.len(), pasts: Pasts::default() }
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
        let largest = |free: &[BTreeSet<u64>]| (0..free.len()).rev().find(|order| !free[*order].is_empty());
        let in_chunks = || self.in_chunks.iter().filter_map(|free| largest(free)).max();
        largest(&self.free).or_else(in_chunks).map_or(0, |order| 1 << order)
    }

    /// Takes the smallest block that has `pages` pages, if there is one. A block below 1 GiB is in
    /// a chunk of this CPU. Only if no 1 GiB is free it may be in a chunk of another one.
    pub(crate) fn take(&mut self, pages: u64, cpu: usize) -> Option<Block> {
        let pages = pages.checked_next_power_of_two()?;
        let order = pages.trailing_zeros() as usize;
        let (number, cpu) = if order < CHUNK_ORDER {
            self.take_in_chunk(order, cpu)?
        } else {
            (take_from(&mut self.free, order)?, cpu)
        };
        self.free_pages -= pages;
        Some(Block { start: self.origin + number, pages, cpu })
    }

    /// Takes a block in a chunk. Returns the number of its first page, and the CPU of the chunk.
    fn take_in_chunk(&mut self, order: usize, cpu: usize) -> Option<(u64, usize)> {
        if let Some(number) = take_from(&mut self.in_chunks[cpu], order) {
            return Some((number, cpu));
        }
        if let Some(number) = take_from(&mut self.free, CHUNK_ORDER) {
            put_rest(&mut self.in_chunks[cpu], number, order..CHUNK_ORDER);
            return Some((number, cpu));
        }
        let mut others = self.in_chunks.iter_mut().enumerate();
        others.find_map(|(other, free)| Some((take_from(free, order)?, other)))
    }

    /// Frees a block. Returns whether no other block has a page of its
    /// [shard](Block::shard_pages).
    pub(crate) fn free(&mut self, block: Block) -> bool {
        self.free_pages += block.pages;
        let number = block.start - self.origin;
        let order = block.pages.trailing_zeros() as usize;
        let (number, order) = if order < CHUNK_ORDER {
            join(&mut self.in_chunks[block.cpu], number, order)
        } else {
            (number, order)
        };
        if order < CHUNK_ORDER {
            self.in_chunks[block.cpu][order].insert(number);
            return false;
        }
        // A block of the largest order is one half of the address space, so it has no other half.
        let (number, order) = join(&mut self.free[..ORDERS - 1], number, order);
        self.free[order].insert(number);
        true
    }
}

/// Takes a block of this order out of the free ones, by order. A larger block is divided: it keeps
/// its first part, and each half after that is free.
fn take_from(free: &mut [BTreeSet<u64>], order: usize) -> Option<u64> {
    let (found, number) = (order..free.len()).find_map(|order| Some((order, free[order].pop_first()?)))?;
    put_rest(free, number, order..found);
    Some(number)
}

/// Frees what is left of a block after its first part was taken: a half of each of these orders.
fn put_rest(free: &mut [BTreeSet<u64>], number: u64, orders: Range<usize>) {
    for order in orders {
        free[order].insert(number + (1 << order));
    }
}

/// Joins a block to its other half as long as that is free. Returns the block that this makes, the
/// largest of which is one order above the free ones.
fn join(free: &mut [BTreeSet<u64>], mut number: u64, mut order: usize) -> (u64, usize) {
    while order < free.len() && free[order].remove(&(number ^ (1 << order))) {
        number &= !(1 << order);
        order += 1;
    }
    (number, order)
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

    /// The pages of the block's shard: its own, or those of its chunk.
    pub(crate) fn shard_pages(&self) -> PageRange {
        if self.is_shard() { self.pages() } else { entry_pages(self.start, PageTableLevel::Three) }
    }

    /// Whether the block has a shard to itself.
    pub(crate) const fn is_shard(&self) -> bool {
        self.owns_tables(PageTableLevel::Two)
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
        Placement::new(Page::range(start, start + gib * GIB_PAGES), 2)
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
            let block = placement.take(pages, 0).expect("8 GiB hold all of them");
            assert_eq!(block.pages().len(), pages.next_power_of_two());
            assert!(block.start.start_address().is_aligned(block.pages().size()));
            placement.free(block);
        }
        assert!(placement.take(8 * GIB_PAGES, 0).is_some(), "what came back is one block again");
    }

    #[test]
    fn a_block_needs_the_tables_that_are_its_own() {
        let mut placement = window(1 << 40, 8);
        let mut most = |block_pages, pages| {
            placement.take(block_pages, 0).expect("8 GiB hold all of them").most_tables(pages)
        };
        assert_eq!([most(256, 256), most(512, 0), most(512, 1), most(1024, 513)], [0, 0, 1, 2]);
        assert_eq!([most(GIB_PAGES, 1), most(2 * GIB_PAGES, GIB_PAGES + 1)], [1 + 1, 513 + 2]);
    }

    #[test]
    fn a_block_reports_which_tables_it_shares() {
        let mut placement = window(1 << 40, 8);
        let mut lowest =
            |pages| placement.take(pages, 0).expect("8 GiB hold all of them").lowest_shared_tables();
        assert_eq!([lowest(1), lowest(256)], [Some(PageTableLevel::One); 2]);
        assert_eq!([lowest(512), lowest(GIB_PAGES / 2)], [Some(PageTableLevel::Two); 2]);
        assert_eq!(lowest(GIB_PAGES), None);
    }

    #[test]
    fn small_blocks_of_two_cpus_are_in_different_chunks() {
        let mut placement = window(1 << 40, 3);
        let mut take = |cpu| placement.take(16, cpu).expect("each CPU has a chunk");
        let blocks = [take(0), take(1), take(0), take(1)];
        let shards = blocks.each_ref().map(Block::shard_pages);
        assert_eq!((shards[0], shards[1]), (shards[2], shards[3]));
        assert_ne!(shards[0], shards[1]);
        let is_whole = blocks.map(|block| placement.free(block));
        assert_eq!(is_whole, [false, false, true, true], "the last block of a chunk frees it");
        assert_eq!(placement.largest_free_pages(), 2 * GIB_PAGES);
    }

    #[test]
    fn a_full_window_lends_chunks_of_other_cpus() {
        let mut placement = window(1 << 40, 1);
        let first = placement.take(16, 0).expect("the window is empty");
        let second = placement.take(16, 1).expect("the chunk of the other CPU has room");
        assert_eq!(first.shard_pages(), second.shard_pages());
        assert!(!placement.free(first));
        assert!(placement.free(second), "the chunk is whole again");
        assert_eq!(placement.free_pages(), GIB_PAGES);
        assert!(placement.take(GIB_PAGES, 1).is_some());
    }
}
