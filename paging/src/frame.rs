//! Frames of physical memory as owned values, and the trait through which the address space gets
//! them.
//!
//! A [`Frame`] owns 4 KiB of RAM. It is neither `Copy` nor `Clone`: mapping it moves it into a
//! page-table entry, and unmapping moves it out again. A second owner is a type error. A frame that
//! is dropped is a panic in debug builds.

mod adapter;
mod batch;
mod functions;
mod memory;
mod run;
mod shortage;
mod source;

use core::mem;

use x86_64::structures::paging::PhysFrame;

pub use self::adapter::FromX86;
pub use self::batch::FrameBatch;
pub use self::functions::FromFns;
pub(crate) use self::memory::{PhysicalMemory, ZeroedFrame};
pub use self::run::FrameRun;
pub use self::shortage::Shortage;
pub use self::source::{Allocation, FrameReserveError, FrameSource, Request};

/// An owned 4 KiB frame of physical memory.
///
/// A frame has no reference to its source, so its owner must release it there, with
/// [`FrameSource::release`]. A frame that is dropped is lost until the machine is reset. Debug
/// builds panic instead.
#[must_use = "a dropped frame is leaked: release it to its frame source"]
#[derive(Debug)]
pub struct Frame(PhysFrame);

impl Frame {
    /// Takes the ownership of a frame.
    ///
    /// # Safety
    ///
    /// The caller guarantees that
    /// 1. the frame is usable RAM, and
    /// 2. nothing else owns it, accesses it or maps it for as long as the returned value lives.
    pub const unsafe fn from_phys(frame: PhysFrame) -> Self {
        Self(frame)
    }

    /// The frame's place in physical memory.
    #[must_use]
    pub const fn phys(&self) -> PhysFrame {
        self.0
    }

    /// Gives up the ownership. The caller must keep the address where it stands for the frame.
    #[must_use = "the address is all that is left of the frame"]
    pub const fn into_phys(self) -> PhysFrame {
        let phys = self.0;
        mem::forget(self);
        phys
    }
}

impl Drop for Frame {
    /// Panics in a debug build, because the frame is lost.
    fn drop(&mut self) {
        debug_assert!(false, "{:?} was dropped: release it to its frame source", self.0);
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;

    /// A frame that is never accessed.
    fn frame() -> Frame {
        // SAFETY: the tests neither access nor map the frame.
        unsafe { Frame::from_phys(PhysFrame::from_pfn(7)) }
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "PhysFrame[4KiB](0x7000) was dropped")]
    fn a_dropped_frame_is_a_panic_in_debug_builds() {
        drop(frame());
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "were dropped")]
    fn a_dropped_run_is_a_panic_in_debug_builds() {
        drop(FrameRun::from(frame()));
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "1 frames were dropped")]
    fn a_dropped_batch_is_a_panic_in_debug_builds() {
        drop(FrameBatch::from(frame()));
    }

    #[test]
    fn a_frame_goes_through_a_batch_unchanged() {
        let mut batch = FrameBatch::from(frame());
        let frames: Vec<PhysFrame> = batch.by_ref().flatten().map(Frame::into_phys).collect();
        assert_eq!((frames, batch.len()), (vec![PhysFrame::from_pfn(7)], 0));
    }
}
