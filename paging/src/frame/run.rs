//! An owned run of frames that follow each other.
//!
//! Called by: a kernel that needs physically contiguous memory, and gives it back frame by frame if ever.

use x86_64::structures::paging::PhysFrame;
use x86_64::structures::paging::frame::PhysFrameRange;

use super::Frame;
use crate::pages::frame_after;

/// Frames that follow each other in physical memory, owned together.
///
/// It iterates over its frames; what is left of it when it is dropped is leaked.
#[must_use = "a dropped run of frames is leaked"]
#[derive(Debug)]
pub struct FrameRun(PhysFrameRange);

impl FrameRun {
    pub(super) const fn new(frames: PhysFrameRange) -> Self {
        Self(frames)
    }

    /// Takes the ownership of frames.
    ///
    /// # Safety
    ///
    /// As for [`Frame::from_phys`], for each of them.
    pub(crate) const unsafe fn from_phys(frames: PhysFrameRange) -> Self {
        Self(frames)
    }

    /// Where the run is in physical memory.
    #[must_use]
    pub const fn phys(&self) -> PhysFrameRange {
        self.0
    }

    /// Gives up the ownership, for memory that is never given back, such as a kernel heap.
    #[must_use = "the addresses are all that is left of the run"]
    pub const fn into_phys(self) -> PhysFrameRange {
        self.0
    }
}

impl From<Frame> for FrameRun {
    fn from(frame: Frame) -> Self {
        let start = frame.into_phys();
        Self::new(PhysFrame::range(start, start + 1))
    }
}

impl Iterator for FrameRun {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        let frame = self.0.start;
        if frame >= self.0.end {
            return None;
        }
        self.0.start = frame_after(frame, 1);
        // SAFETY: the run owned the frame, and the range that is left of it does not contain it any more.
        Some(unsafe { Frame::from_phys(frame) })
    }
}
