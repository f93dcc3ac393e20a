//! The books of one arena: which addresses belong to which memory, and how far each may grow.
//!
//! wasmi takes the bytes of a memory once, as one slice, and neither moves nor extends it later. So
//! each block has a *reach*: the end of the slice that wasmi was given. The block owns its bytes up
//! to its end. The bytes from there to its reach are free, and the block may grow into them.
//!
//! 1. Blocks and their reaches do not overlap: for neighbours `a` and `b`,
//!    `a.end <= a.reach <= b.start`.
//! 2. A reach is only ever lowered. A block that is placed into the reach of another cuts it there,
//!    for good: from then on the bytes were used through other pointers than that of wasmi's slice.

use alloc::vec::Vec;
use core::ops::Range;

/// The unit of addresses: blocks start at multiples of it and have such lengths.
pub(super) const GRANULE: usize = 16;

/// The blocks of an arena, in the order of their addresses.
#[derive(Debug)]
pub(super) struct Books {
    range: Range<usize>,
    blocks: Vec<Block>,
}

/// The addresses of one memory. All three are multiples of [`GRANULE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Block {
    start: usize,
    end: usize,
    reach: usize,
}

/// Free addresses between two blocks.
#[derive(Clone, Copy, Debug)]
struct Hole {
    start: usize,
    end: usize,
    /// Where the part begins that the block before the hole cannot grow into.
    unclaimed: usize,
}

impl Books {
    /// Books without a block, over the granules that lie wholly inside `range`.
    pub(super) fn new(range: Range<usize>) -> Self {
        let end = range.end / GRANULE * GRANULE;
        let start = range.start.checked_next_multiple_of(GRANULE).map_or(end, |start| start.min(end));
        Self { range: start..end, blocks: Vec::new() }
    }

    /// Returns the number of bytes of the arena.
    pub(super) fn len(&self) -> usize {
        self.range.len()
    }

    pub(super) fn is_unused(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Returns all addresses.
    pub(super) fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// Returns the number of bytes that no block owns.
    pub(super) fn free_bytes(&self) -> usize {
        self.holes().map(|hole| hole.end - hole.start).sum()
    }

    /// Returns the number of bytes of the largest hole.
    pub(super) fn largest_hole(&self) -> usize {
        self.holes().map(|hole| hole.end - hole.start).max().unwrap_or(0)
    }

    /// Places a block of `len` bytes that may grow to `most`, and returns its start. Both are
    /// multiples of [`GRANULE`], `len` is not 0 and `most` is not below it.
    ///
    /// Holes that no block can grow into come first: the smallest that has room for `most`, or else
    /// the largest. If `len` fits none of them, the block is placed into the largest hole, so that
    /// the block before it keeps at most half to grow into. What it keeps is a multiple of `len`
    /// shorter than the hole, so that blocks of one length always fill an arena.
    ///
    /// Returns `None` if no hole has `len` bytes, or if the heap has no room for the record.
    pub(super) fn place(&mut self, len: usize, most: usize) -> Option<usize> {
        self.blocks.try_reserve(1).ok()?;
        let (start, limit) = self.unclaimed(len, most).or_else(|| self.claimed(len, most))?;
        let index = self.blocks.partition_point(|block| block.start < start);
        if let Some(before) = index.checked_sub(1) {
            let before = &mut self.blocks[before];
            before.reach = before.reach.min(start);
        }
        let reach = limit.min(start.saturating_add(most));
        self.blocks.insert(index, Block { start, end: start + len, reach });
        Some(start)
    }

    /// Returns the start of a new block in a part of a hole that no block can grow into, and the
    /// end of the part.
    fn unclaimed(&self, len: usize, most: usize) -> Option<(usize, usize)> {
        let parts = self.holes().map(|hole| hole.unclaimed..hole.end).filter(|part| part.len() >= len);
        // Parts with room for all come before the others, smaller ones first.
        let best = parts.min_by_key(|part| (part.len() < most, part.len().abs_diff(most)))?;
        Some((best.start, best.end))
    }

    /// Returns the start of a new block at the end of the largest hole, and the end of the hole.
    fn claimed(&self, len: usize, most: usize) -> Option<(usize, usize)> {
        let hole = self.holes().max_by_key(|hole| hole.end - hole.start)?;
        let room = hole.end - hole.start;
        let taken = (room / 2).max(len).next_multiple_of(len).min(most);
        (len <= room).then(|| (hole.end - taken, hole.end))
    }

    /// Returns the addresses from the start of the block at `start` to its reach.
    ///
    /// # Panics
    ///
    /// Panics if no block starts at `start`.
    pub(super) fn span(&self, start: usize) -> Range<usize> {
        start..self.blocks[self.index(start)].reach
    }

    /// Returns the number of bytes that the block at `start` owns.
    ///
    /// # Panics
    ///
    /// Panics if no block starts at `start`.
    pub(super) fn len_of(&self, start: usize) -> usize {
        self.blocks[self.index(start)].end - start
    }

    /// Makes the block at `start` own `len` bytes, a multiple of [`GRANULE`]. Returns whether its
    /// reach allows that; if not, nothing has changed.
    ///
    /// # Panics
    ///
    /// Panics if no block starts at `start`.
    #[must_use]
    pub(super) fn resize(&mut self, start: usize, len: usize) -> bool {
        let index = self.index(start);
        let block = &mut self.blocks[index];
        let end = start.checked_add(len).filter(|&end| end <= block.reach);
        end.map(|end| block.end = end).is_some()
    }

    /// Frees the block at `start`, with its reach, and the heap of the books with the last block.
    ///
    /// # Panics
    ///
    /// Panics if no block starts at `start`.
    pub(super) fn free(&mut self, start: usize) {
        let index = self.index(start);
        self.blocks.remove(index);
        if self.blocks.is_empty() {
            // The heap is as it was before the first memory.
            self.blocks = Vec::new();
        }
    }

    /// Returns the holes in the order of their addresses. Some may be empty.
    fn holes(&self) -> impl Iterator<Item = Hole> {
        let first = Block { start: self.range.start, end: self.range.start, reach: self.range.start };
        let before = core::iter::once(first).chain(self.blocks.iter().copied());
        let ends = self.blocks.iter().map(|block| block.start).chain([self.range.end]);
        before.zip(ends).map(|(before, end)| Hole { start: before.end, end, unclaimed: before.reach })
    }

    fn index(&self, start: usize) -> usize {
        let found = self.blocks.binary_search_by_key(&start, |block| block.start);
        found.expect("a region frees its block when it is dropped, and not before")
    }
}

#[cfg(test)]
mod tests {
    use super::{Block, Books, GRANULE};
    use proptest::{
        prelude::{Strategy, any},
        prop_assert, prop_assert_eq, prop_oneof, proptest,
        test_runner::{Config, RngSeed},
    };
    use std::{collections::BTreeMap, vec, vec::Vec};

    /// Bytes of the arena. Few, so that blocks meet often.
    const BYTES: usize = 64 * GRANULE;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Place {
            granules: usize,
            most: usize,
        },
        /// Of the block with this number, modulo their count.
        Resize {
            block: usize,
            granules: usize,
        },
        Free {
            block: usize,
        },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let place = (1_usize..12, 0_usize..80)
            .prop_map(|(granules, more)| Step::Place { granules, most: granules.saturating_add(more) });
        let resize =
            (any::<usize>(), 1_usize..40).prop_map(|(block, granules)| Step::Resize { block, granules });
        let free = any::<usize>().prop_map(|block| Step::Free { block });
        proptest::collection::vec(prop_oneof![3 => place, 3 => resize, 2 => free], 1..60)
    }

    /// The oracle: a map of each granule to its owner, and of each block to the granules that were
    /// given to wasmi and not used by another block since.
    #[derive(Default)]
    struct Model {
        owners: BTreeMap<usize, usize>,
        slices: BTreeMap<usize, Vec<usize>>,
    }

    impl Model {
        fn owned(&self, block: usize) -> usize {
            self.owners.values().filter(|owner| **owner == block).count()
        }

        fn free(&self) -> Vec<usize> {
            (0..BYTES / GRANULE).filter(|granule| !self.owners.contains_key(granule)).collect()
        }

        /// Gives `granules` to `block`, and takes them from the slices of all others.
        fn own(&mut self, block: usize, granules: impl Iterator<Item = usize>) {
            for granule in granules {
                assert_eq!(self.owners.insert(granule, block), None, "granule {granule} has two owners");
                for (other, slice) in &mut self.slices {
                    if *other != block && slice.contains(&granule) {
                        slice.retain(|of_slice| *of_slice < granule);
                    }
                }
            }
        }

        fn longest_free_run(&self) -> usize {
            let free = self.free();
            free.chunk_by(|a, b| a + 1 == *b).map(<[usize]>::len).max().unwrap_or(0)
        }
    }

    fn config() -> Config {
        Config { cases: 512, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..Config::default() }
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        #[cfg_attr(miri, ignore = "the books contain no unsafe code, and the oracle is slow")]
        fn books_agree_with_a_map_of_granules(steps in steps()) {
            let mut books = Books::new(0..BYTES);
            let mut model = Model::default();
            for step in steps {
                let starts: Vec<usize> = model.slices.keys().copied().collect();
                let chosen = |block: usize| (!starts.is_empty()).then(|| starts[block % starts.len()]);
                match step {
                    Step::Place { granules, most } => {
                        let placed = books.place(granules * GRANULE, most * GRANULE);
                        prop_assert_eq!(placed.is_some(), model.longest_free_run() >= granules);
                        if let Some(start) = placed {
                            let span = books.span(start);
                            prop_assert!(span.len() <= most * GRANULE);
                            let block = start / GRANULE;
                            model.own(block, block..block + granules);
                            // A slice over bytes of another slice would invalidate that one.
                            for granule in block..span.end / GRANULE {
                                prop_assert!(model.slices.values().all(|slice| !slice.contains(&granule)));
                            }
                            model.slices.insert(block, (block..span.end / GRANULE).collect());
                        }
                    }
                    Step::Resize { block, granules } => {
                        let Some(block) = chosen(block) else { continue };
                        let owned = model.owned(block);
                        let resized = books.resize(block * GRANULE, granules * GRANULE);
                        prop_assert_eq!(resized, model.slices[&block].len() >= granules);
                        if resized && granules >= owned {
                            model.own(block, block + owned..block + granules);
                        } else if resized {
                            for granule in block + granules..block + owned {
                                model.owners.remove(&granule);
                            }
                        }
                    }
                    Step::Free { block } => {
                        let Some(block) = chosen(block) else { continue };
                        books.free(block * GRANULE);
                        model.owners.retain(|_, owner| *owner != block);
                        model.slices.remove(&block);
                    }
                }
                prop_assert_eq!(books.free_bytes(), model.free().len() * GRANULE);
                prop_assert_eq!(books.largest_hole(), model.longest_free_run() * GRANULE);
            }
            for block in model.slices.keys() {
                books.free(block * GRANULE);
            }
            prop_assert!(books.is_unused());
            prop_assert_eq!(books.largest_hole(), BYTES);
            prop_assert_eq!(books.blocks.capacity(), 0);
        }
    }

    #[test]
    fn blocks_of_one_length_fill_an_arena() {
        let largest = if cfg!(miri) { 4 } else { 16 };
        for (count, most) in (1..=largest).flat_map(|count| (1..=count).map(move |most| (count, most))) {
            let mut books = Books::new(0..count * 48);
            for _ in 0..count {
                assert!(books.place(48, most * 48).is_some(), "{count} {most}");
            }
            assert_eq!(books.place(16, 16), None);
        }
    }

    #[test]
    fn a_block_grows_until_the_next_and_never_into_what_another_had() {
        let mut books = Books::new(0..1_000);
        let first = books.place(16, usize::MAX / GRANULE * GRANULE).expect("there is room");
        assert_eq!((first, books.span(first)), (0, 0..992));
        let second = books.place(16, 320).expect("there is room");
        assert_eq!((second, books.span(second)), (672, 672..992));
        assert!(books.resize(first, 672) && !books.resize(first, 688));
        books.free(second);
        // The bytes are free, but wasmi's slice of the first block is not valid there any more.
        assert!(!books.resize(first, 688));
        assert_eq!(books.largest_hole(), 320);
    }

    #[test]
    fn a_block_is_placed_where_no_other_can_grow_before_it_takes_from_one() {
        let mut books = Books::new(0..1_024);
        assert_eq!((books.place(16, 512), books.place(64, 64)), (Some(0), Some(512)));
        let third = books.place(480, 480);
        assert_eq!(third, Some(32), "the smaller hole without a claim has 448 bytes");
        assert_eq!(books.blocks[0], Block { start: 0, end: 16, reach: 32 });
        assert_eq!(vec![books.free_bytes(), books.largest_hole()], [1_024 - 560, 448]);
    }

    #[test]
    fn a_range_of_any_alignment_loses_its_ends() {
        for (start, len) in (0..20).flat_map(|start| (0..40).map(move |len| (start, len))) {
            let books = Books::new(start..start + len);
            assert!(books.len() <= len && books.len() + 2 * GRANULE > len);
            assert!(books.range.start.is_multiple_of(GRANULE));
        }
        assert_eq!(Books::new(usize::MAX - 3..usize::MAX).len(), 0);
    }
}
