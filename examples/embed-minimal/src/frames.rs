//! The kernel's frame allocator: a stack of free frames, with the traits of the `x86_64` crate.
//!
//! It stands for the allocator that a kernel already has. Palimpsest gets a handle to it, and the
//! rest of the kernel still uses it. The page-fault handler calls it, so it must not allocate and
//! must not touch the memory of a guest. Invariant: the stack contains exactly the frames that are
//! not in use.

use arrayvec::ArrayVec;
use spin::Mutex;
use x86_64::structures::paging::frame::PhysFrameRange;
use x86_64::structures::paging::{FrameAllocator, FrameDeallocator, PhysFrame, Size4KiB};

/// The largest number of free frames: 16 MiB.
pub(crate) const CAPACITY: usize = 4096;

/// The page-fault handler takes this lock too. A kernel that enables interrupts must disable them
/// while it holds it.
static FREE: Mutex<ArrayVec<PhysFrame, CAPACITY>> = Mutex::new(ArrayVec::new_const());

/// A handle to the frame allocator.
pub(crate) struct KernelFrames(());

impl KernelFrames {
    /// Adds `frames` to the free frames and returns a handle.
    ///
    /// # Panics
    ///
    /// Panics if more than [`CAPACITY`] frames are then free.
    ///
    /// # Safety
    ///
    /// The caller guarantees that the frames are RAM that is not otherwise used, and that none is
    /// passed twice.
    pub(crate) unsafe fn new(frames: PhysFrameRange) -> Self {
        FREE.lock().extend(frames);
        Self(())
    }
}

// SAFETY: popping a frame removes it from the stack. All frames in it are unused, by the contracts
// of `KernelFrames::new` and of `deallocate_frame`.
unsafe impl FrameAllocator<Size4KiB> for KernelFrames {
    fn allocate_frame(&mut self) -> Option<PhysFrame> {
        FREE.lock().pop()
    }
}

impl FrameDeallocator<Size4KiB> for KernelFrames {
    unsafe fn deallocate_frame(&mut self, frame: PhysFrame) {
        FREE.lock().push(frame);
    }
}

/// Returns the number of free frames.
pub(crate) fn free() -> usize {
    FREE.lock().len()
}
