//! A frame allocator for kernels that have none.
//!
//! The pool is built from the memory map alone, before there is a heap: its bookkeeping (a table of
//! the ranges and two trees of bits) is carved out of the largest range. An allocation or a release
//! takes at most one step per level of a tree and a binary search over the ranges, however memory
//! is fragmented. The lowest free frame is allocated first.
//!
//! Invariants:
//! - A frame has a bit in exactly one of the trees if it is free, and in none otherwise.
//! - `free_frames` is the number of these bits, and `reserved_frames` is not larger.
//! - The frames of the bookkeeping have no bit.

mod cache;
mod cached;
mod carve;
mod error;
mod free_set;
mod run_stack;
mod scrub;
mod spans;

use core::ops::{Range, RangeInclusive};

use spin::Mutex;
use x86_64::structures::paging::PhysFrame;
use x86_64::structures::paging::frame::PhysFrameRange;
use x86_64::{PhysAddr, VirtAddr};

pub use self::cached::{CacheUsage, CachedPool};
use self::carve::{carve, refuse_overlaps, refuse_unmapped};
pub use self::error::PoolError;
use self::error::ReleaseError;
use self::free_set::FreeSet;
use self::spans::{Span, Spans};
use crate::frame::{
    Allocation, Frame, FrameBatch, FrameReserveError, FrameRun, FrameSource, PhysicalMemory, Request,
};

/// A pool of all frames of some ranges of physical memory.
///
/// The pool contains a spin lock, which the page-fault handler takes. The address space calls the
/// pool with interrupts off. A kernel must do the same if the calling code can be interrupted by
/// code that uses the pool or touches a region.
#[derive(Debug)]
pub struct FramePool {
    state: Mutex<State>,
    total_frames: u64,
}

#[derive(Debug)]
struct State {
    spans: Spans,
    memory: PhysicalMemory,
    /// Free frames that may hold anything.
    free: FreeSet,
    /// Free frames that hold zeros.
    scrubbed: FreeSet,
    /// The frames in both sets.
    free_frames: u64,
    scrubbed_frames: u64,
    /// The number of scrubbed frames at which scrubbing stops.
    scrub_depth_frames: u64,
    /// Free frames that only a request for reserved frames takes.
    reserved_frames: u64,
}

impl FramePool {
    /// Builds the pool from the usable ranges of the memory map, in any order.
    ///
    /// For its check of the mapping it loads a temporary IDT, with interrupts off. No page-fault
    /// handler is needed.
    ///
    /// The pool leaves out frames that a range covers only in part, and the frame at physical
    /// address zero, whose address could be mistaken for a null pointer.
    ///
    /// # Errors
    ///
    /// - [`PoolError::Overlap`]: two ranges have bytes in common.
    /// - [`PoolError::Unmapped`]: the first or the last frame of a range is not mapped. This is
    ///   checked in ring 0 only.
    /// - [`PoolError::Empty`]: no range covers a whole frame.
    /// - [`PoolError::NoRoom`]: the bookkeeping does not fit into the largest range.
    ///
    /// # Safety
    ///
    /// The caller guarantees that
    /// 1. every range is RAM that nothing else uses from now on, and
    /// 2. every physical address `p` in a range is mapped at `physical_offset + p`, readable and
    ///    writable, from now on.
    pub unsafe fn new(usable: &[Range<PhysAddr>], physical_offset: VirtAddr) -> Result<Self, PoolError> {
        refuse_overlaps(usable)?;
        refuse_unmapped(usable, physical_offset)?;
        // SAFETY: the contract of `carve` is the caller's guarantees 1 and 2.
        let carved = unsafe { carve(usable, physical_offset) }?;
        let (free_words, scrubbed_words) = carved.words.split_at_mut(FreeSet::words_for(carved.bound));
        let mut free = FreeSet::new(carved.bound, free_words);
        carved.spans.iter().flat_map(Span::numbers).for_each(|number| free.insert(number));
        let total_frames = carved.spans.iter().map(|span| span.numbers().len() as u64).sum();
        let state = State {
            spans: Spans::new(carved.spans),
            // SAFETY: the caller's guarantee 2. The methods are called for frames of the pool only.
            memory: unsafe { PhysicalMemory::new(physical_offset) },
            free,
            scrubbed: FreeSet::new(carved.bound, scrubbed_words),
            free_frames: total_frames,
            scrubbed_frames: 0,
            scrub_depth_frames: scrub::DEFAULT_DEPTH_FRAMES,
            reserved_frames: 0,
        };
        Ok(Self { state: Mutex::new(state), total_frames })
    }

    /// Frames that are free now, reserved or not.
    #[must_use]
    pub fn free_frames(&self) -> u64 {
        self.state.lock().free_frames
    }

    /// Free frames that are reserved.
    #[must_use]
    pub fn reserved_frames(&self) -> u64 {
        self.state.lock().reserved_frames
    }

    /// Frames that the pool manages, free or allocated. Its own bookkeeping is not among them.
    #[must_use]
    pub const fn total_frames(&self) -> u64 {
        self.total_frames
    }

    /// Allocates one frame, which may hold anything, or returns `None` if none is free and not
    /// reserved.
    pub fn allocate_frame(&self) -> Option<Frame> {
        self.allocate(Request { frames: 1, zeroed: false, reserved: false })?.frames.next()
    }

    /// Releases one frame.
    ///
    /// # Panics
    ///
    /// As for [`release`](FrameSource::release).
    pub fn release_frame(&self, frame: Frame) {
        self.release(&mut FrameBatch::from(frame), false);
    }

    /// Allocates `frames` frames that follow each other in one usable range.
    ///
    /// Returns `None` if the pool has no such run, if fewer frames are free and not reserved, or if
    /// `frames` is zero. The search looks at every frame, so it is meant for boot: for a kernel
    /// heap, for example, or the buffers of a device.
    pub fn allocate_contiguous(&self, frames: u64) -> Option<FrameRun> {
        let mut state = self.state.lock();
        let run = state.free_run(frames).filter(|_| frames <= state.unreserved_frames())?;
        let first = state.phys_of(run.start);
        run.for_each(|number| state.remove(number));
        // SAFETY: the pool owned the frames, because they were free, and they are in neither set
        // any more.
        Some(unsafe { FrameRun::from_phys(first, frames) })
    }
}

// SAFETY:
// 1. A frame is handed out only if its bit marks it as free, and the bit is cleared under the lock.
//    It is RAM that nothing else uses, by the contract of `FramePool::new`.
// 2. `State::take_scrubbed` alone returns frames as zeroed, and scrubbed frames hold zeros.
// 3. `reserve`, `allocate` and `allocate_contiguous` leave as many frames free as are reserved.
unsafe impl FrameSource for FramePool {
    #[inline(always)]
    fn allocate(&self, request: Request) -> Option<Allocation> {
        let mut state = self.state.lock();
        let available_frames =
            if request.reserved { state.reserved_frames } else { state.unreserved_frames() };
        if available_frames == 0 {
            return None;
        }
        // A request for one frame, which nearly every fault makes, has no use for the minimum.
        let most = if request.frames > 1 { request.frames.min(available_frames) } else { request.frames };
        let allocation = if request.zeroed { state.take_zeroed(most) } else { state.take_any(most) }?;
        if request.reserved {
            state.reserved_frames -= allocation.frames.len();
        }
        Some(allocation)
    }

    /// Takes the frames back under one lock.
    ///
    /// # Panics
    ///
    /// If a frame is free already, or was never one of the pool's. It had two owners then, or none,
    /// so memory is corrupt.
    fn release(&self, frames: &mut FrameBatch, reserved: bool) {
        let mut state = self.state.lock();
        if reserved {
            state.reserved_frames += frames.len();
        }
        frames.for_each(|run| state.put_back(run.into_phys()));
    }

    fn reserve(&self, frames: u64) -> Result<(), FrameReserveError> {
        let mut state = self.state.lock();
        let available_frames = state.unreserved_frames();
        if frames > available_frames {
            return Err(FrameReserveError::TooFew { requested_frames: frames, available_frames });
        }
        state.reserved_frames += frames;
        Ok(())
    }

    /// Makes `frames` reserved frames available to all requests again.
    ///
    /// # Panics
    ///
    /// If fewer frames are reserved and free. The reservation belongs to another account then.
    fn unreserve(&self, frames: u64) {
        let mut state = self.state.lock();
        let reserved_frames = state.reserved_frames;
        state.reserved_frames = reserved_frames
            .checked_sub(frames)
            .unwrap_or_else(|| panic!("{frames} frames unreserved, and only {reserved_frames} are reserved"));
    }

    fn available_frames(&self) -> Option<u64> {
        Some(self.state.lock().unreserved_frames())
    }
}

impl State {
    const fn unreserved_frames(&self) -> u64 {
        self.free_frames - self.reserved_frames
    }

    /// Takes up to `most` free frames that follow each other, reserved or not, from the lowest on
    /// that is not scrubbed, or from the lowest scrubbed one if all free frames are scrubbed.
    fn take_any(&mut self, most: u64) -> Option<Allocation> {
        self.take_used(most).or_else(|| self.take_scrubbed(most))
    }

    /// Takes up to `most` free frames that follow each other and are not scrubbed, from the lowest
    /// on, reserved or not.
    #[inline(always)]
    fn take_used(&mut self, most: u64) -> Option<Allocation> {
        let frames = take_from(&mut self.free, &mut self.spans, most)?;
        self.free_frames -= frames.len();
        Some(Allocation { frames, zeroed: false })
    }

    fn is_free(&self, number: usize) -> bool {
        self.free.contains(number) || self.scrubbed.contains(number)
    }

    fn is_any_free(&self, numbers: RangeInclusive<usize>) -> bool {
        self.free.contains_any(numbers.clone()) || self.scrubbed.contains_any(numbers)
    }

    /// Takes a free frame out of the set that it is in.
    fn remove(&mut self, number: usize) {
        if self.free.contains(number) {
            self.free.remove(number);
        } else {
            self.scrubbed.remove(number);
            self.scrubbed_frames -= 1;
        }
        self.free_frames -= 1;
    }

    /// Adds frames to the free ones.
    ///
    /// # Panics
    ///
    /// If one of them is free already, or is not one of the pool's.
    fn put_back(&mut self, frames: PhysFrameRange) {
        match self.spans.numbers_of(frames) {
            Some(numbers) if !self.is_any_free(numbers.clone()) => {
                self.free.insert_run(numbers);
                self.free_frames += frames.len();
            }
            // The frames are in two ranges of the memory map, or one of them cannot be released.
            Some(_) | None => frames.for_each(|frame| {
                if let Err(error) = self.try_put_back(frame) {
                    panic!("a frame was released that was not allocated: {error}");
                }
            }),
        }
    }

    /// As [`put_back`](Self::put_back), for frames that hold zeros.
    fn put_back_zeroed(&mut self, frames: PhysFrameRange) {
        match self.spans.numbers_of(frames) {
            Some(numbers) if !self.is_any_free(numbers.clone()) => {
                self.scrubbed.insert_run(numbers);
                self.scrubbed_frames += frames.len();
                self.free_frames += frames.len();
            }
            // Frames of two ranges, which are rare, need not stay scrubbed.
            Some(_) | None => self.put_back(frames),
        }
    }

    /// Makes `frames` reserved frames available to all requests again, or none if fewer are
    /// reserved. Returns whether it did.
    const fn try_unreserve(&mut self, frames: u64) -> bool {
        let is_possible = frames <= self.reserved_frames;
        if is_possible {
            self.reserved_frames -= frames;
        }
        is_possible
    }

    fn try_put_back(&mut self, frame: PhysFrame) -> Result<(), ReleaseError> {
        let number = self.spans.number_of(frame).ok_or(ReleaseError::Foreign { frame })?;
        if self.is_free(number) {
            return Err(ReleaseError::AlreadyFree { frame });
        }
        self.free.insert(number);
        self.free_frames += 1;
        Ok(())
    }

    fn phys_of(&mut self, number: usize) -> PhysFrame {
        self.spans.with_number(number).frame(number)
    }

    /// The numbers of the first `frames` free frames that follow each other in one span.
    fn free_run(&self, frames: u64) -> Option<Range<usize>> {
        let length = usize::try_from(frames).ok().filter(|length| *length > 0)?;
        self.spans.iter().find_map(|span| {
            let mut start = span.numbers().start;
            span.numbers().find_map(|number| {
                if !self.is_free(number) {
                    start = number + 1;
                }
                (number + 1 - start == length).then_some(start..number + 1)
            })
        })
    }
}

/// Takes up to `most` frames that follow each other out of a set of free frames, from the lowest
/// on.
#[inline(always)]
fn take_from(set: &mut FreeSet, spans: &mut Spans, most: u64) -> Option<FrameRun> {
    let (first, count) = match most {
        0 => return None,
        // Nearly every fault takes one frame. This arm does it in few instructions.
        1 => {
            let number = set.take_first()?;
            (spans.with_number(number).frame(number), 1)
        }
        _ => {
            let first = set.first()?;
            let span = spans.with_number(first);
            let count = set.take_run(first, most.min(span.count_from(first)));
            (span.frame(first), count as u64)
        }
    };
    // SAFETY: the pool owned the frames, because their numbers were in a set of free frames, and
    // they are not in it any more.
    Some(unsafe { FrameRun::from_phys(first, count) })
}
