//! The adapter from the frame-allocator traits of the `x86_64` crate to [`FrameSource`].

use core::fmt;

use spin::Mutex;
use x86_64::structures::paging::{FrameAllocator, FrameDeallocator, Size4KiB};

use super::{Allocation, Frame, FrameBatch, FrameSource, Request};

/// A frame source over an allocator that has the traits of the `x86_64` crate.
///
/// The allocator is in a spin lock, because [`FrameSource`] has shared methods and the `x86_64`
/// traits do not. The page-fault handler calls it, so it must not use the heap, as a growing `Vec`
/// of frames would. It serves no [reserved](crate::Account::reserved) account, because the `x86_64`
/// traits cannot keep frames free for later.
pub struct FromX86<A>(Mutex<A>);

impl<A> FromX86<A>
where
    A: FrameAllocator<Size4KiB> + FrameDeallocator<Size4KiB>,
{
    /// Wraps `allocator`.
    pub const fn new(allocator: A) -> Self {
        Self(Mutex::new(allocator))
    }

    /// Calls `work` with the allocator, for example to count its free frames.
    ///
    /// The caller must switch interrupts off, and `work` must touch no region: a page fault waits
    /// for the same lock.
    pub fn with<R>(&self, work: impl FnOnce(&mut A) -> R) -> R {
        work(&mut self.0.lock())
    }
}

impl<A> fmt::Debug for FromX86<A> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("FromX86").finish_non_exhaustive()
    }
}

// SAFETY: 1. The implementer of `FrameAllocator` guarantees unique unused frames. 2. No allocation
// is marked as zeroed. 3. No frame is ever reserved.
unsafe impl<A> FrameSource for FromX86<A>
where
    A: FrameAllocator<Size4KiB> + FrameDeallocator<Size4KiB>,
{
    fn allocate(&self, _: Request) -> Option<Allocation> {
        let frame = self.0.lock().allocate_frame()?;
        // SAFETY: `FrameAllocator` guarantees that the frame is usable, unused and handed out once.
        Some(unsafe { Frame::from_phys(frame) }.into())
    }

    fn release(&self, frames: &mut FrameBatch, _: bool) {
        let mut allocator = self.0.lock();
        for frame in frames.flatten() {
            // SAFETY: the owner of the frame gave it up by moving it here, so it is unused.
            unsafe { allocator.deallocate_frame(frame.into_phys()) };
        }
    }
}
