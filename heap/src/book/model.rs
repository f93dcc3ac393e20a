//! Random operations on the books, compared with a model of live blocks and resident pages.
//!
//! The model stands for the guest, which touches every page of each block, and for the memory,
//! which grows up to its maximum and loses the contents of released pages.

use std::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use crate::{
    block::Block,
    book::{Book, Drain, NoRoom, Request, Resized},
    error::NotABlock,
    options::HeapOptions,
    pages::{PAGE_BYTES, Pages},
};

/// A xorshift generator, which returns the same numbers on every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Returns 1 byte to 4 MiB, with each magnitude equally likely.
    fn size(&mut self) -> u64 {
        let magnitude = self.below(23);
        1 + self.below(1 << magnitude)
    }
}

struct Model {
    book: Book,
    idle_pages: u64,
    /// The memory's size in pages.
    end: u64,
    /// The memory's maximum in pages.
    maximum: u64,
    /// Lengths of live blocks in bytes, by address.
    live: BTreeMap<u64, u64>,
    resident: BTreeSet<u64>,
    refused: u64,
}

fn pages_of(address: u64, bytes: u64) -> impl Iterator<Item = u64> {
    address / PAGE_BYTES..=(address + bytes - 1) / PAGE_BYTES
}

impl Model {
    fn new(options: HeapOptions, maximum: u64) -> Self {
        let mut book = Book::new(options);
        book.extend(Pages::new(2, 14));
        let live = BTreeMap::new();
        let resident = BTreeSet::new();
        Self { book, idle_pages: options.idle_pages, end: 16, maximum, live, resident, refused: 0 }
    }

    fn allocate(&mut self, bytes: u64, alignment: u64) -> Option<u64> {
        let request = Request::new(bytes, alignment).expect("the sum fits");
        let block = match self.book.allocate(request).or_else(|cause| self.grow_and_allocate(request, cause))
        {
            Ok(block) => block,
            Err(NoRoom::Entries | NoRoom::Addresses { .. }) => {
                self.refused += 1;
                return None;
            }
        };
        assert!(block.bytes >= bytes.max(1), "{block:?} for {bytes} bytes");
        assert!(block.address.is_multiple_of(alignment.max(if bytes >= 16 { 16 } else { 8 })));
        let stale = |page: &u64| self.resident.contains(page);
        let expected: Vec<u64> = pages_of(block.address, block.bytes).filter(stale).collect();
        let found = !block.stale.is_empty();
        let found = found.then(|| pages_of(block.stale.start, block.stale.end - block.stale.start));
        assert_eq!(found.into_iter().flatten().collect::<Vec<_>>(), expected, "{block:?}");
        self.enter(block.address, block.bytes);
        Some(block.address)
    }

    fn grow_and_allocate(&mut self, request: Request, cause: NoRoom) -> Result<Block, NoRoom> {
        let NoRoom::Addresses { pages, align_pages } = cause else { return Err(cause) };
        let missing = self.book.missing(pages, align_pages, self.end).expect("the sum fits");
        if missing > self.maximum - self.end {
            return Err(cause);
        }
        self.grow(missing);
        let block = self.book.allocate(request);
        assert!(block.is_ok() || block == Err(NoRoom::Entries), "the memory has grown by what was missing");
        block
    }

    fn grow(&mut self, pages: u64) {
        self.book.extend(Pages::new(self.end, pages));
        self.end += pages;
    }

    /// Records a live block, all of which the guest touches.
    fn enter(&mut self, address: u64, bytes: u64) {
        assert!(address >= 2 * PAGE_BYTES && address + bytes <= self.end * PAGE_BYTES, "inside the heap");
        let before = self.live.range(..address + bytes).next_back();
        assert!(before.is_none_or(|(&start, &len)| start + len <= address), "blocks overlap");
        self.live.insert(address, bytes);
        self.resident.extend(pages_of(address, bytes));
    }

    fn some_block(&self, random: &mut Random) -> Option<u64> {
        let near = random.below(self.end * PAGE_BYTES);
        let after = self.live.range(near..).next().or_else(|| self.live.first_key_value());
        after.map(|(&address, _)| address)
    }

    fn free(&mut self, address: u64) {
        assert_eq!(self.book.free(address), Ok(()));
        self.live.remove(&address).expect("it is live");
    }

    fn resize(&mut self, address: u64, bytes: u64) {
        let resized = self.book.resize(address, bytes).expect("it is live");
        let usable = self.book.usable_size(address).expect("it is still there");
        self.live.entry(address).and_modify(|old| *old = usable.min(*old));
        self.release(Drain::Due);
        match resized {
            Resized::InPlace => {
                assert!(usable >= bytes && usable - bytes < PAGE_BYTES, "{usable} for {bytes}");
                self.live.remove(&address);
                self.enter(address, usable);
            }
            Resized::Elsewhere { bytes: old } => {
                assert_eq!(old, usable);
                if self.allocate(bytes, 1).is_some() {
                    self.free(address);
                }
            }
        }
    }

    /// Frees an address at which no block starts.
    fn misuse(&mut self, random: &mut Random) {
        let address = random.below(self.end * PAGE_BYTES);
        if self.live.contains_key(&address) {
            return;
        }
        let cause = self.book.free(address).expect_err("no block is live there");
        assert_eq!(self.book.usable_size(address), Err(cause));
        let inside = self.live.range(..address).next_back().is_some_and(|(at, len)| at + len > address);
        assert!(!inside || cause == NotABlock::Foreign, "in the middle of a block");
    }

    /// Removes the contents of released pages, as the memory does.
    fn release(&mut self, drain: Drain) {
        while let Some(pages) = self.book.next_release(drain) {
            self.resident.retain(|page| !pages.contains(*page));
            let before = self.live.range(..pages.end() * PAGE_BYTES).next_back();
            assert!(before.is_none_or(|(at, len)| at + len <= pages.address()), "a live page is released");
        }
    }

    fn check(&self) {
        let report = self.book.report();
        assert_eq!(
            (report.live_blocks, report.live_bytes),
            (self.live.len() as u64, self.live.values().sum())
        );
        let live: BTreeSet<u64> = self.live.iter().flat_map(|(at, len)| pages_of(*at, *len)).collect();
        assert_eq!(report.live_pages, live.len() as u64);
        assert_eq!(self.resident.len() as u64, report.live_pages + report.idle_pages);
        assert!(report.idle_pages <= self.idle_pages);
    }

    fn step(&mut self, random: &mut Random) {
        self.book.tick();
        match random.below(10) {
            0..4 => drop(self.allocate(random.size(), 1)),
            4 => drop(self.allocate(random.size(), 1 << random.below(18))),
            5..8 => {
                self.some_block(random).into_iter().for_each(|address| self.free(address));
            }
            8 => {
                let bytes = random.size();
                self.some_block(random).into_iter().for_each(|address| self.resize(address, bytes));
            }
            _ => self.misuse(random),
        }
        self.release(Drain::Due);
    }

    /// Frees everything, and checks that no page and no slab is left.
    fn finish(mut self) {
        while let Some((&address, _)) = self.live.first_key_value() {
            self.free(address);
            self.release(Drain::Due);
        }
        self.check();
        self.release(Drain::All);
        assert!(self.resident.is_empty());
        let report = self.book.report();
        assert_eq!((report.slabs, report.idle_pages), (0, 0));
        assert_eq!(report.free_pages, self.end - 2);
    }
}

/// Runs 4,000 random operations for each of two seeds, and returns the number that were refused.
fn run(options: HeapOptions, maximum: u64) -> u64 {
    let seeds = 1..=2_u64;
    let refused = seeds.map(|seed| {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut model = Model::new(options, maximum);
        for number in 0..4_000 {
            model.step(&mut random);
            if number % 16 == 0 {
                model.check();
            }
        }
        let refused = model.refused;
        model.finish();
        refused
    });
    refused.sum()
}

fn options(idle_pages: u64, idle_operations: u64) -> HeapOptions {
    HeapOptions { idle_pages, idle_operations, ..HeapOptions::default() }
}

#[test]
fn random_operations_agree_with_the_model_for_every_hysteresis() {
    for (pages, operations) in [(0, 0), (16, 0), (1000, 7), (3, 2)] {
        assert_eq!(run(options(pages, operations), 1 << 20), 0);
    }
}

#[test]
fn random_operations_agree_with_the_model_where_addresses_are_scarce() {
    assert!(run(options(16, 0), 2_000) > 100);
}

#[test]
fn random_operations_agree_with_the_model_where_entries_are_scarce() {
    let options = HeapOptions { entries: 40, ..options(16, 0) };
    assert!(run(options, 1 << 20) > 100);
}

#[test]
fn small_blocks_keep_the_pages_that_contain_one() {
    let mut model = Model::new(options(0, 0), 1 << 20);
    let addresses: Vec<u64> = (0..64 * 1024).map(|_| model.allocate(64, 1).expect("there is room")).collect();
    assert_eq!(model.resident.len(), 1024);
    for address in addresses.iter().filter(|address| *address % (4 * PAGE_BYTES) != 0) {
        model.free(*address);
        model.release(Drain::Due);
    }
    model.check();
    assert_eq!(model.resident.len(), 256);
    model.finish();
}

#[test]
fn a_guest_that_grows_its_memory_itself_splits_the_heap() {
    let mut model = Model::new(options(0, 0), 1 << 20);
    let first = model.allocate(14 * PAGE_BYTES, 1).expect("it is all there is");
    // The guest grows its memory itself; the heap does not get the new pages.
    model.end += 10;
    let second = model.allocate(2 * PAGE_BYTES, 1).expect("the memory grows");
    assert_eq!((first / PAGE_BYTES, second / PAGE_BYTES), (2, 26));
    model.free(first);
    model.release(Drain::Due);
    assert_eq!(model.book.free(20 * PAGE_BYTES), Err(NotABlock::Foreign));
    assert_eq!(model.book.free(2 * PAGE_BYTES), Err(NotABlock::Freed));
    let third = model.allocate(15 * PAGE_BYTES, 1).expect("the memory grows");
    assert_eq!(third / PAGE_BYTES, 28);
}

#[test]
fn the_last_block_grows_with_the_memory_and_others_do_not() {
    let mut model = Model::new(options(0, 0), 1 << 20);
    let first = model.allocate(5000, 1).expect("there is room");
    let last = model.allocate(5000, 1).expect("there is room");
    assert_eq!(model.book.missing_after(first, 1 << 20, model.end), None);
    // `first` is pages 2 and 3, `last` is 4 and 5. 256 pages from page 4 on end 244 pages past the
    // memory.
    assert_eq!(model.book.missing_after(last, 1 << 20, model.end), Some(244));
    model.grow(244);
    assert_eq!(model.book.resize(last, 1 << 20), Ok(Resized::InPlace));
    assert_eq!(model.book.missing_after(last, u64::MAX, model.end), Some((1 << 52) + 4 - model.end));
}
