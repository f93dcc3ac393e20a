//! A frame allocator of our own, for kernels that have none.
//!
//! It is built from the memory map alone, before there is a heap: its bookkeeping (a table of the ranges and
//! two trees of bits) is carved out of the largest range. Allocating and releasing take at most one step for
//! each level of a tree and a binary search over the ranges, whatever the state of the memory. The lowest
//! free frame goes first.
//!
//! Invariants: a frame has a bit in one of the trees if and only if it is free; `free_frames` counts the
//! bits, and `reserved_frames` is not larger; the frames of the bookkeeping have no bit. A release of a frame
//! that is free or was never managed is refused in every build. Called by: the embedder at boot, then the
//! address space through [`FrameSource`].

mod carve;
mod error;
mod free_set;
mod scrub;
mod spans;

use core::ops::{Range, RangeInclusive};

use spin::Mutex;
use x86_64::structures::paging::PhysFrame;
use x86_64::{PhysAddr, VirtAddr};

use self::carve::{carve, refuse_overlaps};
pub use self::error::PoolError;
use self::error::ReleaseError;
use self::free_set::FreeSet;
use self::spans::{Span, Spans};
use crate::frame::{
    Allocation, Frame, FrameBatch, FrameReserveError, FrameRun, FrameSource, PhysicalMemory, Request,
};

/// A pool of all frames of some ranges of physical memory.
///
/// A spin lock is inside, and the page-fault handler needs it. The address space calls the pool
/// uninterrupted; a kernel that calls it from code that can be preempted switches interrupts off around the
/// call.
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
    /// How many frames may be scrubbed.
    scrub_depth_frames: u64,
    /// Free frames that only a request for reserved frames takes.
    reserved_frames: u64,
}

impl FramePool {
    /// Builds the pool from the usable ranges of the memory map, in any order.
    ///
    /// Frames that a range covers only in part are left out, and so is the frame at physical address zero,
    /// whose address could be mistaken for a null pointer.
    ///
    /// # Errors
    ///
    /// - [`PoolError::Overlap`]: two ranges have bytes in common.
    /// - [`PoolError::Empty`]: no range covers a whole frame.
    /// - [`PoolError::NoRoom`]: the bookkeeping does not fit into the largest range.
    ///
    /// # Safety
    ///
    /// The caller guarantees that
    /// 1. every range is RAM that nothing else uses from now on, and
    /// 2. physical address `p` of every range is mapped at `physical_offset + p`, readable and writable, from
    ///    now on.
    pub unsafe fn new(usable: &[Range<PhysAddr>], physical_offset: VirtAddr) -> Result<Self, PoolError> {
        refuse_overlaps(usable)?;
        // SAFETY: this function's caller guarantees 1 and 2, which are the same there.
        let carved = unsafe { carve(usable, physical_offset) }?;
        let (free_words, scrubbed_words) = carved.words.split_at_mut(FreeSet::words_for(carved.bound));
        let mut free = FreeSet::new(carved.bound, free_words);
        carved.spans.iter().flat_map(Span::numbers).for_each(|number| free.insert(number));
        let total_frames = carved.spans.iter().map(|span| span.numbers().len() as u64).sum();
        let state = State {
            spans: Spans::new(carved.spans),
            // SAFETY: this function's caller guarantees 2, and the methods are called for the pool's frames.
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

    /// Allocates one frame, which may hold anything, or returns `None` if none is free and not reserved.
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

    /// Takes `frames` frames that follow each other in one usable range, or returns `None` if there is no
    /// such run, or too few frames are left that are not reserved, or `frames` is zero.
    ///
    /// It looks at every frame, so it is for boot: a kernel heap, or a device's buffers.
    pub fn allocate_contiguous(&self, frames: u64) -> Option<FrameRun> {
        let mut state = self.state.lock();
        let run = state.free_run(frames).filter(|_| frames <= state.unreserved_frames())?;
        let first = state.phys_of(run.start);
        run.for_each(|number| state.remove(number));
        // SAFETY: the frames were free, so the pool owned them, and are in neither set of free frames any more.
        Some(unsafe { FrameRun::from_phys(PhysFrame::range(first, first + frames)) })
    }
}

// SAFETY:
// 1. A frame is handed out only when its bit says that it is free, and the bit is cleared under the lock. It
//    is RAM that nothing else uses, by the contract of `FramePool::new`.
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
            state.reserved_frames -= allocation.frames.phys().len();
        }
        Some(allocation)
    }

    /// Takes the frames back under one lock.
    ///
    /// # Panics
    ///
    /// If a frame is free already, or was never one of the pool's. It had two owners then, or none, so
    /// memory is corrupt.
    fn release(&self, frames: &mut FrameBatch, reserved: bool) {
        let mut state = self.state.lock();
        if reserved {
            state.reserved_frames += frames.len();
        }
        frames.for_each(|run| state.put_back_run(run));
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
}

impl State {
    const fn unreserved_frames(&self) -> u64 {
        self.free_frames - self.reserved_frames
    }

    /// Takes up to `most` free frames that follow each other, reserved or not, from the lowest on that is not
    /// scrubbed, or from the lowest scrubbed one if there is no other.
    fn take_any(&mut self, most: u64) -> Option<Allocation> {
        self.take_used(most).or_else(|| self.take_scrubbed(most))
    }

    /// Takes up to `most` free frames that follow each other and are not scrubbed, from the lowest on, reserved
    /// or not.
    #[inline(always)]
    fn take_used(&mut self, most: u64) -> Option<Allocation> {
        let frames = take_from(&mut self.free, &mut self.spans, most)?;
        self.free_frames -= frames.phys().len();
        Some(Allocation { frames, zeroed: false })
    }

    fn is_free(&self, number: usize) -> bool {
        self.free.contains(number) || self.scrubbed.contains(number)
    }

    fn is_any_free(&self, numbers: RangeInclusive<usize>) -> bool {
        self.free.contains_any(numbers.clone()) || self.scrubbed.contains_any(numbers)
    }

    /// Removes a free frame from the set that it is in.
    fn remove(&mut self, number: usize) {
        if self.free.contains(number) {
            self.free.remove(number);
        } else {
            self.scrubbed.remove(number);
            self.scrubbed_frames -= 1;
        }
        self.free_frames -= 1;
    }

    fn put_back(&mut self, frame: Frame) -> Result<(), ReleaseError> {
        let phys = frame.into_phys();
        let number = self.spans.number_of(phys).ok_or(ReleaseError::Foreign { frame: phys })?;
        if self.is_free(number) {
            return Err(ReleaseError::AlreadyFree { frame: phys });
        }
        self.free.insert(number);
        self.free_frames += 1;
        Ok(())
    }

    /// As [`put_back`](Self::put_back), for a frame that was allocated unless memory is corrupt.
    fn put_back_for_sure(&mut self, frame: Frame) {
        if let Err(error) = self.put_back(frame) {
            panic!("a frame was released that was not allocated: {error}");
        }
    }

    /// As [`put_back_for_sure`](Self::put_back_for_sure), for all frames of the run.
    fn put_back_run(&mut self, run: FrameRun) {
        let frames = run.phys();
        match self.spans.numbers_of(frames) {
            Some(numbers) if !self.is_any_free(numbers.clone()) => {
                self.free.insert_run(numbers);
                self.free_frames += frames.len();
            }
            // Some frame of it is not one to be put back, or it lies in two ranges of the memory map.
            Some(_) | None => run.for_each(|frame| self.put_back_for_sure(frame)),
        }
    }

    fn phys_of(&mut self, number: usize) -> PhysFrame {
        self.spans.with_number(number).frames_from(number, 1).start
    }

    /// The first run of free numbers of this length, within one span.
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

/// Takes up to `most` frames that follow each other out of a set, from the lowest on.
#[inline(always)]
fn take_from(set: &mut FreeSet, spans: &mut Spans, most: u64) -> Option<FrameRun> {
    let frames = match most {
        0 => return None,
        // What almost every fault takes, in few instructions.
        1 => {
            let number = set.take_first()?;
            spans.with_number(number).frames_from(number, 1)
        }
        _ => {
            let first = set.first()?;
            let span = spans.with_number(first);
            let count = set.take_run(first, most.min(span.frames_behind(first)));
            span.frames_from(first, count)
        }
    };
    // SAFETY: the numbers were in a set of free frames, so the pool owned the frames, and are not in it any more.
    Some(unsafe { FrameRun::from_phys(frames) })
}
