//! An owned run of frames that follow each other.

use core::mem;

use x86_64::structures::paging::PhysFrame;
use x86_64::structures::paging::frame::PhysFrameRange;

use super::Frame;
use crate::pages::frame_after;

/// Frames that follow each other in physical memory, owned together.
///
/// A run iterates over its frames. Frames that are left in it when it is dropped are lost, as a
/// dropped [`Frame`] is.
#[must_use = "dropped frames are leaked: release them to their frame source"]
#[derive(Debug)]
pub struct FrameRun(PhysFrameRange);

impl FrameRun {
    /// Takes the ownership of frames.
    ///
    /// # Safety
    ///
    /// As for [`Frame::from_phys`], for each of them.
    pub(crate) const unsafe fn from_phys(frames: PhysFrameRange) -> Self {
        Self(frames)
    }

    /// The run's place in physical memory.
    #[must_use]
    pub const fn phys(&self) -> PhysFrameRange {
        self.0
    }

    /// Gives up the ownership, for example for a kernel heap, whose memory is never released.
    #[must_use = "the addresses are all that is left of the run"]
    pub const fn into_phys(self) -> PhysFrameRange {
        let frames = self.0;
        mem::forget(self);
        frames
    }
}

impl From<Frame> for FrameRun {
    fn from(frame: Frame) -> Self {
        let start = frame.into_phys();
        Self(PhysFrame::range(start, frame_after(start, 1)))
    }
}

impl Iterator for FrameRun {
    type Item = Frame;

    #[inline]
    fn next(&mut self) -> Option<Frame> {
        let frame = self.0.start;
        if frame >= self.0.end {
            return None;
        }
        self.0.start = frame_after(frame, 1);
        // SAFETY: the run owned the frame, and the range that is left of it does not contain it any
        // more.
        Some(unsafe { Frame::from_phys(frame) })
    }
}

impl Drop for FrameRun {
    /// Panics in a debug build if frames are left, because they are lost.
    fn drop(&mut self) {
        debug_assert!(self.0.is_empty(), "{:?} were dropped: release them to their frame source", self.0);
    }
}
