//! The image of a region, and which of its pages the region still takes from it.
//!
//! There is a bit for each page of the image. The bits are allocated when the image is attached, so
//! that a clear allocates nothing.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::mem;
use core::ops::Range;

use x86_64::structures::paging::PhysFrame;

use crate::frame::Frame;

/// The frames of an image, each with its page's number in a region, in ascending order.
#[derive(Debug)]
pub(crate) struct Originals(Box<[(u64, Frame)]>);

impl Originals {
    /// `frames` is in the order of the pages' numbers.
    pub(crate) const fn new(frames: Box<[(u64, Frame)]>) -> Self {
        Self(frames)
    }

    /// The number of frames.
    pub(crate) fn frames(&self) -> u64 {
        self.0.len() as u64
    }

    /// The numbers of the pages, in ascending order.
    pub(crate) fn numbers(&self) -> impl DoubleEndedIterator<Item = u64> {
        self.0.iter().map(|(number, _)| *number)
    }

    /// Takes all frames out. The image has no page then.
    pub(crate) fn take_frames(&mut self) -> Vec<Frame> {
        mem::take(&mut self.0).into_iter().map(|(_, frame)| frame).collect()
    }

    /// The index of the first page from this number on.
    fn index_from(&self, number: u64) -> usize {
        self.0.partition_point(|(at, _)| *at < number)
    }

    /// One more than the number of the last page.
    pub(crate) fn end_number(&self) -> u64 {
        self.0.last().map_or(0, |(number, _)| number + 1)
    }
}

/// Bits in a word of [`Attached::taken`].
const WORD_BITS: usize = 64;

/// The image of a region, and which of its pages the region still takes from it.
#[derive(Debug)]
pub(crate) struct Attached {
    originals: Arc<Originals>,
    /// A bit for each original.
    taken: Box<[u64]>,
}

impl Attached {
    pub(crate) fn new(originals: &Arc<Originals>) -> Self {
        let words = originals.0.len().div_ceil(WORD_BITS);
        Self { originals: Arc::clone(originals), taken: vec![u64::MAX; words].into() }
    }

    /// The image's frame for the page with this number in the region, unless the page was cleared.
    #[inline]
    pub(crate) fn original(&self, number: u64) -> Option<PhysFrame> {
        let Originals(originals) = &*self.originals;
        let index = originals.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        originals.get(index).filter(|_| self.is_taken(index)).map(|(_, frame)| frame.phys())
    }

    /// The first page from this number on that is still taken from the image.
    pub(crate) fn next(&self, number: u64) -> Option<u64> {
        let Originals(originals) = &*self.originals;
        let first = self.originals.index_from(number);
        let taken = (first..originals.len()).find(|index| self.is_taken(*index))?;
        originals.get(taken).map(|(number, _)| *number)
    }

    /// Makes pages of these numbers read as zero while they own no frame, for good.
    pub(crate) fn forget(&mut self, numbers: Range<u64>) {
        let (start, end) = (self.originals.index_from(numbers.start), self.originals.index_from(numbers.end));
        for word in start / WORD_BITS..end.div_ceil(WORD_BITS) {
            let first = word * WORD_BITS;
            self.taken[word] &= !bits(start.saturating_sub(first), (end - first).min(WORD_BITS));
        }
    }

    fn is_taken(&self, index: usize) -> bool {
        self.taken[index / WORD_BITS] & (1 << (index % WORD_BITS)) != 0
    }
}

/// A word with the bits from `start` up to `end`, which is at most [`WORD_BITS`].
fn bits(start: usize, end: usize) -> u64 {
    let below = |bit: usize| if bit >= WORD_BITS { u64::MAX } else { (1 << bit) - 1 };
    below(end) & !below(start)
}

#[cfg(test)]
mod tests {
    use core::mem::ManuallyDrop;

    use x86_64::PhysAddr;

    use super::*;

    /// An image of frames that do not exist, so they must not be dropped.
    fn attached(numbers: &[u64]) -> ManuallyDrop<Attached> {
        let frame = |number: &u64| {
            let phys = PhysFrame::containing_address(PhysAddr::new((number + 1) * 4096));
            // SAFETY: the frame is not accessed, and its owner is never dropped.
            (*number, unsafe { Frame::from_phys(phys) })
        };
        let originals: Box<[_]> = numbers.iter().map(frame).collect();
        ManuallyDrop::new(Attached::new(&Arc::new(Originals::new(originals))))
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
        image.forget(3..71);
        assert_eq!((image.next(0), image.next(72)), (Some(71), None));
    }

    #[test]
    fn pages_between_those_of_the_image_are_not_of_it() {
        let image = attached(&[3, 70]);
        assert!((0..100).filter(|number| image.original(*number).is_some()).eq([3, 70]));
    }
}
