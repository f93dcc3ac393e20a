//! The bookkeeping of a frame pool, carved out of the memory that the pool is about to manage.
//!
//! A kernel has no heap at boot. The largest usable range gives up its first frames for a sorted
//! table of [`Span`]s and for the words of the two sets of free frames.

use core::ops::Range;

use x86_64::structures::paging::PhysFrame;
use x86_64::structures::paging::frame::PhysFrameRange;
use x86_64::{PhysAddr, VirtAddr};

use super::spans::Span;
use super::{FreeSet, PoolError};
use crate::frame::PhysicalMemory;
use crate::pages::PAGE_BYTES;
use crate::platform::is_mapped;

/// The storage of a pool.
pub(super) struct Carved {
    pub(super) spans: &'static [Span],
    /// Zeros, enough for two sets of all frames.
    pub(super) words: &'static mut [u64],
    /// All numbers of the spans are below it.
    pub(super) bound: usize,
}

/// Takes the frames of the bookkeeping from the largest range, and returns the spans of all other
/// frames.
///
/// # Safety
///
/// As for [`FramePool::new`](super::FramePool::new).
pub(super) unsafe fn carve(
    usable: &[Range<PhysAddr>],
    physical_offset: VirtAddr,
) -> Result<Carved, PoolError> {
    let ranges = || usable.iter().map(whole_frames).filter(|frames| !frames.is_empty());
    let home = ranges().max_by_key(PhysFrameRange::len).ok_or(PoolError::Empty)?;
    let bound = to_usize(ranges().map(|frames| frames.len()).sum());
    let span_bytes = size_of::<Span>() * ranges().count();
    let word_count = 2 * FreeSet::words_for(bound);
    let needed_bytes = span_bytes + word_count * size_of::<u64>();
    let needed_frames = (needed_bytes as u64).div_ceil(PAGE_BYTES);
    if needed_frames >= home.len() {
        return Err(PoolError::NoRoom { needed_frames, largest_frames: home.len() });
    }

    let storage = physical_offset + home.start.start_address().as_u64();
    let unset = Span::new(home);
    // SAFETY: the first `span_bytes` of the storage are in the home range, which is unused RAM by
    // this function's contract. The storage starts at the start of a frame, which is aligned for
    // any type.
    let spans = unsafe { filled(storage.as_mut_ptr(), ranges().count(), unset) };
    // SAFETY: the words are after the spans and end before the home range does. They are aligned,
    // because the size of a span is a multiple of its alignment, which is that of a word.
    let words = unsafe { filled((storage + span_bytes as u64).as_mut_ptr(), word_count, 0) };

    let rest = PhysFrame::range(home.start + needed_frames, home.end);
    number_in_order(spans, ranges().map(|frames| if frames == home { rest } else { frames }));
    Ok(Carved { spans, words, bound })
}

/// Checks that no two of the ranges have bytes in common.
pub(super) fn refuse_overlaps(usable: &[Range<PhysAddr>]) -> Result<(), PoolError> {
    for (position, first) in usable.iter().enumerate() {
        let overlapping =
            |second: &&Range<PhysAddr>| first.start.max(second.start) < first.end.min(second.end);
        if let Some(second) = usable[position + 1..].iter().find(overlapping) {
            return Err(PoolError::Overlap { first: first.start, second: second.start });
        }
    }
    Ok(())
}

/// Checks that the first and the last frame of each range are mapped.
pub(super) fn refuse_unmapped(
    usable: &[Range<PhysAddr>],
    physical_offset: VirtAddr,
) -> Result<(), PoolError> {
    // SAFETY: no method accesses a frame.
    let memory = unsafe { PhysicalMemory::new(physical_offset) };
    let ranges = usable.iter().map(whole_frames).filter(|frames| !frames.is_empty());
    let mut ends = ranges.flat_map(|frames| [frames.start, frames.end - 1]);
    match ends.find(|frame| !memory.reaches(*frame, is_mapped)) {
        Some(frame) => Err(PoolError::Unmapped { frame: frame.start_address(), physical_offset }),
        None => Ok(()),
    }
}

/// The frames that are in a range as a whole, except for the one at physical address zero.
fn whole_frames(range: &Range<PhysAddr>) -> PhysFrameRange {
    let end = PhysFrame::containing_address(range.end);
    let first = PhysFrame::containing_address(range.start);
    let is_whole = range.start.is_aligned(PAGE_BYTES) && !range.start.is_null();
    let start = if is_whole || first >= end { first } else { first + 1 };
    PhysFrame::range(start, end)
}

fn number_in_order(spans: &mut [Span], ranges: impl Iterator<Item = PhysFrameRange>) {
    for (span, frames) in spans.iter_mut().zip(ranges) {
        *span = Span::new(frames);
    }
    spans.sort_unstable_by_key(Span::start);
    let mut next = 0;
    for span in spans {
        next = span.renumber(next);
    }
}

/// Writes `count` copies of `value` from `place` on, and returns them as a slice.
///
/// # Safety
///
/// The caller guarantees that `place` is aligned for `T`, and that the bytes of `count` values from
/// there on are RAM that nothing else ever uses.
unsafe fn filled<T: Copy>(place: *mut T, count: usize, value: T) -> &'static mut [T] {
    for index in 0..count {
        // SAFETY: the index is below `count`, so the place is inside of the caller's RAM.
        let slot = unsafe { place.add(index) };
        // SAFETY: the place is aligned RAM that nothing else uses, by this function's contract.
        unsafe { slot.write(value) };
    }
    // SAFETY: the loop has initialized `count` values there, and nothing else ever uses them.
    unsafe { core::slice::from_raw_parts_mut(place, count) }
}

pub(super) fn to_usize(number: u64) -> usize {
    usize::try_from(number).expect("x86_64 has 64-bit addresses")
}
