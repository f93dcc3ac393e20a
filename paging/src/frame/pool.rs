//! A frame allocator of our own, for kernels that have none.
//!
//! It is built from the memory map alone, before there is a heap: its bookkeeping (a table of the ranges and
//! a tree of bits) is carved out of the largest range. Allocating and releasing take one step for each level
//! of the tree and a binary search over the ranges, whatever the state of the memory. The lowest free frame
//! goes first.
//!
//! Invariants: a frame's bit is set if and only if the frame is free; `free_frames` counts the set bits, and
//! `promised_frames` is not larger; the frames of the bookkeeping have no bit. A release of a frame that is
//! free or was never managed is refused in every build. Called by: the embedder at boot, then the address
//! space through [`FrameSource`].

mod carve;
mod error;
mod free_set;
mod promise;
mod run;

use core::ops::Range;

use spin::Mutex;
use x86_64::structures::paging::PhysFrame;
use x86_64::{PhysAddr, VirtAddr};

use self::carve::{Span, carve};
pub use self::error::{PoolError, ReleaseError};
use self::free_set::FreeSet;
pub use self::run::FrameRun;
use super::{Frame, FrameSource, Promises};

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
    spans: &'static [Span],
    free: FreeSet,
    free_frames: u64,
    /// Free frames that `allocate` leaves alone.
    promised_frames: u64,
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
        let mut free = FreeSet::new(carved.bound, carved.words);
        carved.spans.iter().flat_map(Span::numbers).for_each(|number| free.insert(number));
        let total_frames = carved.spans.iter().map(Span::frames).sum();
        let state = State { spans: carved.spans, free, free_frames: total_frames, promised_frames: 0 };
        Ok(Self { state: Mutex::new(state), total_frames })
    }

    /// Frames that are free now, promised or not.
    #[must_use]
    pub fn free_frames(&self) -> u64 {
        self.state.lock().free_frames
    }

    /// Frames that the pool manages, free or allocated. Its own bookkeeping is not among them.
    #[must_use]
    pub const fn total_frames(&self) -> u64 {
        self.total_frames
    }

    /// Takes a frame back.
    ///
    /// # Errors
    ///
    /// - [`ReleaseError::Foreign`]: the pool does not manage this frame.
    /// - [`ReleaseError::AlreadyFree`]: the frame is free: somebody made two [`Frame`]s of it.
    ///
    /// The pool has not changed then.
    pub fn try_release(&self, frame: Frame) -> Result<(), ReleaseError> {
        self.state.lock().put_back(frame)
    }

    /// Takes `frames` frames that follow each other in one usable range, or returns `None` if there is no
    /// such run, or too few frames are left that are not promised, or `frames` is zero.
    ///
    /// It looks at every frame, so it is for boot: a kernel heap, or a device's buffers.
    pub fn allocate_contiguous(&self, frames: u64) -> Option<FrameRun> {
        let mut state = self.state.lock();
        let run = state.free_run(frames).filter(|_| frames <= state.unpromised_frames())?;
        let first = state.phys_of(run.start);
        state.free_frames -= frames;
        run.for_each(|number| state.free.remove(number));
        Some(FrameRun::new(PhysFrame::range(first, first + frames)))
    }
}

// SAFETY:
// 1. A frame is handed out only when its bit says that it is free, and the bit is cleared under the lock; it
//    is RAM that nothing else uses, by the contract of `FramePool::new`.
// 2. The pool accesses no memory but its bookkeeping, which has no bits.
unsafe impl FrameSource for FramePool {
    fn allocate(&self) -> Option<Frame> {
        let mut state = self.state.lock();
        if state.unpromised_frames() == 0 {
            return None;
        }
        state.take_first()
    }

    /// Takes a frame back.
    ///
    /// # Panics
    ///
    /// If [`FramePool::try_release`] refuses the frame: then there were two owners of it, and memory is
    /// corrupt already.
    fn release(&self, frame: Frame) {
        self.state.lock().put_back_for_sure(frame);
    }

    fn promises(&self) -> Option<&dyn Promises> {
        Some(self)
    }
}

impl State {
    const fn unpromised_frames(&self) -> u64 {
        self.free_frames - self.promised_frames
    }

    /// Takes the lowest free frame, promised or not.
    fn take_first(&mut self) -> Option<Frame> {
        let number = self.free.first()?;
        self.free.remove(number);
        self.free_frames -= 1;
        // SAFETY: the frame was free, and is not any more: this value is its only owner.
        Some(unsafe { Frame::from_phys(self.phys_of(number)) })
    }

    fn put_back(&mut self, frame: Frame) -> Result<(), ReleaseError> {
        let phys = frame.into_phys();
        let number = self.number_of(phys).ok_or(ReleaseError::Foreign { frame: phys })?;
        if self.free.contains(number) {
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

    fn number_of(&self, frame: PhysFrame) -> Option<usize> {
        let behind = self.spans.partition_point(|span| span.starts_by(frame));
        self.spans[..behind].last()?.number_of(frame)
    }

    fn phys_of(&self, number: usize) -> PhysFrame {
        let behind = self.spans.partition_point(|span| span.numbers().start <= number);
        let frame = self.spans[..behind].last().and_then(|span| span.frame_of(number));
        frame.expect("every number that is used came from a span")
    }

    /// The first run of free numbers of this length, within one span.
    fn free_run(&self, frames: u64) -> Option<Range<usize>> {
        let length = usize::try_from(frames).ok().filter(|length| *length > 0)?;
        self.spans.iter().find_map(|span| {
            let mut start = span.numbers().start;
            span.numbers().find_map(|number| {
                if !self.free.contains(number) {
                    start = number + 1;
                }
                (number + 1 - start == length).then_some(start..number + 1)
            })
        })
    }
}

fn refuse_overlaps(usable: &[Range<PhysAddr>]) -> Result<(), PoolError> {
    for (position, first) in usable.iter().enumerate() {
        let overlapping =
            |second: &&Range<PhysAddr>| first.start.max(second.start) < first.end.min(second.end);
        if let Some(second) = usable[position + 1..].iter().find(overlapping) {
            return Err(PoolError::Overlap { first: first.start, second: second.start });
        }
    }
    Ok(())
}
