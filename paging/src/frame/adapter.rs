//! Adapters between [`FrameSource`] and the frame-allocator traits of the `x86_64` crate, in both directions.
//!
//! [`FromX86`] lets a kernel that has an `x86_64` allocator use it for regions as it is; [`ToX86`] lets the
//! `x86_64` mappers take their table frames from a frame source. Neither adds a behaviour; and because the
//! traits of the `x86_64` crate do not tell how many frames are left, [`FromX86`] makes no
//! [`Promises`](super::Promises).

use core::fmt;

use spin::Mutex;
use x86_64::structures::paging::{FrameAllocator, FrameDeallocator, PhysFrame, Size4KiB};

use super::{Frame, FrameSource};

/// A frame source over an allocator that has the traits of the `x86_64` crate.
///
/// The allocator sits behind a spin lock, because [`FrameSource`] is shared and the `x86_64` traits are not.
/// It is called from the page-fault handler: it must not use the heap, as a `Vec` of frames would.
pub struct FromX86<A>(Mutex<A>);

impl<A> FromX86<A>
where
    A: FrameAllocator<Size4KiB> + FrameDeallocator<Size4KiB>,
{
    /// Wraps `allocator`.
    pub const fn new(allocator: A) -> Self {
        Self(Mutex::new(allocator))
    }

    /// Lets `work` use the allocator, to count its free frames for instance.
    ///
    /// A page fault waits for the same lock: interrupts are off meanwhile, and `work` touches no region.
    pub fn with<R>(&self, work: impl FnOnce(&mut A) -> R) -> R {
        work(&mut self.0.lock())
    }

    /// Gives the allocator back.
    pub fn into_inner(self) -> A {
        self.0.into_inner()
    }
}

impl<A> fmt::Debug for FromX86<A> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("FromX86").finish_non_exhaustive()
    }
}

// SAFETY:
// 1. `FrameAllocator` is an unsafe trait, whose implementer guarantees unique unused frames.
// 2. The adapter itself accesses no frame.
unsafe impl<A> FrameSource for FromX86<A>
where
    A: FrameAllocator<Size4KiB> + FrameDeallocator<Size4KiB>,
{
    fn allocate(&self) -> Option<Frame> {
        let frame = self.0.lock().allocate_frame()?;
        // SAFETY: `FrameAllocator` guarantees that the frame is usable, unused and handed out once.
        Some(unsafe { Frame::from_phys(frame) })
    }

    fn release(&self, frame: Frame) {
        let mut allocator = self.0.lock();
        // SAFETY: the owner of the frame gave it up by moving it here, so it is unused.
        unsafe { allocator.deallocate_frame(frame.into_phys()) };
    }
}

/// An allocator with the traits of the `x86_64` crate over a frame source.
#[derive(Debug)]
pub struct ToX86<'a, S: ?Sized>(&'a S);

impl<'a, S: FrameSource + ?Sized> ToX86<'a, S> {
    /// Wraps `source`.
    pub const fn new(source: &'a S) -> Self {
        Self(source)
    }
}

// SAFETY: a `Frame` is owned, so the frame is unique and unused.
unsafe impl<S: FrameSource + ?Sized> FrameAllocator<Size4KiB> for ToX86<'_, S> {
    fn allocate_frame(&mut self) -> Option<PhysFrame> {
        self.0.allocate().map(Frame::into_phys)
    }
}

impl<S: FrameSource + ?Sized> FrameDeallocator<Size4KiB> for ToX86<'_, S> {
    unsafe fn deallocate_frame(&mut self, frame: PhysFrame) {
        // SAFETY: this function's caller guarantees that the frame is unused; it came out of this source.
        self.0.release(unsafe { Frame::from_phys(frame) });
    }
}
