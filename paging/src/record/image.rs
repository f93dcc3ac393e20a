//! The image of a region, and which of its pages the region still takes from it.
//!
//! There is a bit for each page of the image. The bits are allocated when the image is attached, so
//! that a clear allocates nothing. They are written when pages are cleared, so an attach takes the
//! same time for every image.
//!
//! What faults and clears call is not inlined, because most regions have no image. Their paths
//! would keep fewer values in registers.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::iter;
use core::mem;
use core::ops::Range;

use x86_64::structures::paging::PhysFrame;

use super::originals::{CLUSTER_PAGES, Originals, Placed, each_bit};

/// Bits in a word of [`Attached::taken`].
const WORD_BITS: usize = 64;

/// The number of words with a bit for each of `frames` frames.
pub(crate) const fn words(frames: usize) -> usize {
    frames.div_ceil(WORD_BITS)
}

/// The image of a region, and which of its pages the region still takes from it.
///
/// The default is an image without a page.
#[derive(Debug, Default)]
pub(crate) struct Attached {
    originals: Arc<Originals>,
    /// A bit for each original. There is capacity for all, and those that are missing are set.
    taken: Vec<u64>,
}

impl Attached {
    pub(crate) fn new(originals: &Arc<Originals>) -> Self {
        Self::with_room(originals, Vec::with_capacity(words(originals.frame_count())))
    }

    /// As [`new`](Self::new), with an empty vector that has capacity for the [`words`].
    pub(crate) fn with_room(originals: &Arc<Originals>, room: Vec<u64>) -> Self {
        Self { originals: Arc::clone(originals), taken: room }
    }

    /// The image's frame for the page with this number in the region, unless the page was cleared.
    #[inline(never)]
    pub(crate) fn original(&self, number: u64) -> Option<PhysFrame> {
        let (index, frame) = self.originals.find(number)?;
        self.is_taken(index).then_some(frame)
    }

    /// The first page from this number on that is still taken from the image.
    #[inline(never)]
    pub(crate) fn next(&self, number: u64) -> Option<u64> {
        self.next_index(number, 0)
    }

    /// The first page from this number on that the image has and the region does not take any more.
    pub(crate) fn next_forgotten(&self, number: u64) -> Option<u64> {
        self.next_index(number, u64::MAX)
    }

    /// The first page from this number on whose bit is set in its word, of which the bits in
    /// `flipped` were flipped.
    fn next_index(&self, number: u64, flipped: u64) -> Option<u64> {
        let first = self.originals.index_from(number);
        let mut from = u64::MAX << (first % WORD_BITS);
        let words = self.taken.iter().enumerate().skip(first / WORD_BITS);
        let mut found = words.filter_map(|(word, bits)| {
            let wanted = (bits ^ flipped) & mem::replace(&mut from, u64::MAX);
            (wanted != 0).then(|| word * WORD_BITS + wanted.trailing_zeros() as usize)
        });
        let missing = first.max(self.taken.len() * WORD_BITS);
        let index = found.next().or((flipped == 0).then_some(missing))?;
        // The last word has bits for no page.
        self.originals.number_at(index)
    }

    /// The pages of the cluster with this number that the image has and the region does not take
    /// any more.
    pub(crate) fn forgotten_in(&self, cluster: u64) -> u64 {
        self.originals.cluster(cluster).map_or(0, |placed| placed.present & !self.taken_of(placed))
    }

    /// The numbers of the clusters with pages that the image has and the region does not take any
    /// more, in ascending order.
    pub(crate) fn forgotten(&self) -> impl Iterator<Item = u64> {
        let mut from = 0;
        iter::from_fn(move || {
            let cluster = self.next_forgotten(from)? / CLUSTER_PAGES;
            from = (cluster + 1) * CLUSTER_PAGES;
            Some(cluster)
        })
    }

    /// Makes pages of these numbers read as zero while they own no frame, for good.
    #[inline(never)]
    pub(crate) fn forget(&mut self, numbers: Range<u64>) {
        let start = self.originals.index_from(numbers.start);
        let end = self.originals.index_from(numbers.end);
        if start == end {
            return;
        }
        if self.taken.len() < words(end) {
            debug_assert!(words(end) <= self.taken.capacity(), "the heap would be used with the lock held");
            self.taken.resize(words(end), u64::MAX);
        }
        for word in start / WORD_BITS..end.div_ceil(WORD_BITS) {
            let first = word * WORD_BITS;
            self.taken[word] &= !bits(start.saturating_sub(first), (end - first).min(WORD_BITS));
        }
    }

    fn is_taken(&self, index: usize) -> bool {
        self.taken.get(index / WORD_BITS).is_none_or(|word| word & (1 << (index % WORD_BITS)) != 0)
    }

    /// The clusters of the image, in ascending order.
    pub(crate) fn clusters(&self) -> &[Placed] {
        self.originals.clusters()
    }

    /// The pages of a cluster of the image that the region still takes.
    pub(crate) fn taken_of(&self, placed: &Placed) -> u64 {
        let present = placed.present;
        let word = placed.rank() / WORD_BITS;
        let shift = placed.rank() % WORD_BITS;
        // What follows the last word is set, or for no page.
        let [low, high] = [word, word + 1].map(|word| self.taken.get(word).copied().unwrap_or(u64::MAX));
        let by_rank = if shift == 0 { low } else { low >> shift | high << (WORD_BITS - shift) };
        // Nearly always, and the compiler has no instruction that counts bits.
        if by_rank == u64::MAX {
            return present;
        }
        let taken = each_bit(present).enumerate().filter(|(place, _)| by_rank & (1 << place) != 0);
        taken.fold(0, |taken, (_, bit)| taken | 1 << bit)
    }
}

/// A word with the bits from `start` up to `end`, which is at most [`WORD_BITS`].
const fn bits(start: usize, end: usize) -> u64 {
    const fn below(bit: usize) -> u64 {
        if bit >= WORD_BITS { u64::MAX } else { (1 << bit) - 1 }
    }
    below(end) & !below(start)
}

#[cfg(test)]
mod tests {
    use core::mem::ManuallyDrop;

    use super::*;
    use crate::frame::Frame;

    /// An image of frames that do not exist, so they must not be dropped.
    fn attached(numbers: &[u64]) -> ManuallyDrop<Attached> {
        // SAFETY: the frames are not accessed, and their owners are never dropped.
        let frame = |number: &u64| (*number, unsafe { Frame::from_phys(PhysFrame::from_pfn(number + 1)) });
        ManuallyDrop::new(Attached::new(&Arc::new(Originals::of_frames(numbers.iter().map(frame)))))
    }

    #[test]
    fn pages_are_forgotten_across_words_and_no_others() {
        let all: Vec<u64> = (0..200).collect();
        for range in [0..0, 0..1, 63..65, 10..190, 64..128, 5..5, 150..400, 300..400] {
            let mut image = attached(&all);
            image.forget(range.clone());
            for number in all.iter().copied() {
                assert_eq!(
                    image.original(number).is_none(),
                    range.contains(&number),
                    "{number} of {range:?}"
                );
            }
        }
    }

    #[test]
    fn the_next_page_is_one_that_is_still_taken() {
        let mut image = attached(&[3, 70, 71]);
        assert_eq!((image.next(0), image.next(3), image.next(4)), (Some(3), Some(3), Some(70)));
        assert_eq!(image.next_forgotten(0), None);
        image.forget(3..71);
        assert_eq!((image.next(0), image.next(72)), (Some(71), None));
        assert_eq!([0, 4, 71].map(|from| image.next_forgotten(from)), [Some(3), Some(70), None]);
    }

    #[test]
    fn pages_between_those_of_the_image_are_not_of_it() {
        let image = attached(&[3, 70]);
        assert!((0..100).filter(|number| image.original(*number).is_some()).eq([3, 70]));
    }

    #[test]
    fn the_pages_of_a_cluster_that_are_taken_are_found_across_words() {
        let numbers: Vec<u64> = (0..50).chain(64..128).chain([200, 201, 210]).collect();
        let mut image = attached(&numbers);
        let taken = |image: &Attached| {
            image.clusters().iter().map(|placed| image.taken_of(placed)).collect::<Vec<_>>()
        };
        let all = [bits(0, 50), u64::MAX, 1 << 8 | 1 << 9 | 1 << 18];
        assert_eq!(taken(&image), all);
        image.forget(40..70);
        image.forget(201..202);
        assert_eq!(taken(&image), [bits(0, 40), bits(6, 64), 1 << 8 | 1 << 18]);
        assert!(image.clusters().iter().map(|placed| placed.present).eq(all));
        assert!(image.forgotten().eq([0, 1, 3]));
    }
}
