//! The kernel's frame allocator: a stack of free frames, with the traits of the `x86_64` crate.
//!
//! It stands for the one that a kernel has already. Palimpsest gets a handle to it, so that the rest of the
//! kernel can go on using it. It is called from the page-fault handler: it does not allocate, and it touches
//! no guest's memory. Invariant: a frame is in the stack if and only if nobody uses it. Filled by `memory`.

use arrayvec::ArrayVec;
use spin::Mutex;
use x86_64::structures::paging::frame::PhysFrameRange;
use x86_64::structures::paging::{FrameAllocator, FrameDeallocator, PhysFrame, Size4KiB};

/// The most frames that can be free: 16 MiB.
pub(crate) const CAPACITY: usize = 4096;

/// A kernel that enables interrupts takes this lock with interrupts off: the page-fault handler takes it too.
static FREE: Mutex<ArrayVec<PhysFrame, CAPACITY>> = Mutex::new(ArrayVec::new_const());

/// A handle to the allocator.
pub(crate) struct KernelFrames(());

impl KernelFrames {
    /// Adds `frames` to the free ones, and makes a handle.
    ///
    /// # Panics
    ///
    /// If there are more than [`CAPACITY`] then.
    ///
    /// # Safety
    ///
    /// The caller guarantees that the frames are RAM that nothing else uses, and that none is passed twice.
    pub(crate) unsafe fn new(frames: PhysFrameRange) -> Self {
        FREE.lock().extend(frames);
        Self(())
    }
}

// SAFETY: a frame that is popped is in the stack no more, and all of them were unused when they came in: by
// the contracts of `KernelFrames::new` and of `deallocate_frame`.
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

/// How many frames are free.
pub(crate) fn free() -> usize {
    FREE.lock().len()
}
