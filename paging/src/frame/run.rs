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
pub struct FrameRun {
    first: PhysFrame,
    count: u64,
}

impl FrameRun {
    /// Takes the ownership of `count` frames from `first` on.
    ///
    /// # Safety
    ///
    /// As for [`Frame::from_phys`], for each of them.
    pub(crate) const unsafe fn from_phys(first: PhysFrame, count: u64) -> Self {
        Self { first, count }
    }

    /// The number of frames.
    pub(crate) const fn len(&self) -> u64 {
        self.count
    }

    /// Takes up to `count` frames off the front of the run.
    pub(crate) fn take_front(&mut self, count: u64) -> Self {
        let count = count.min(self.count);
        let front = Self { first: self.first, count };
        self.first = frame_after(self.first, count);
        self.count -= count;
        front
    }

    /// The run's place in physical memory.
    #[must_use]
    pub fn phys(&self) -> PhysFrameRange {
        PhysFrame::range(self.first, frame_after(self.first, self.count))
    }

    /// Gives up the ownership, for example for a kernel heap, whose memory is never released.
    #[must_use = "the addresses are all that is left of the run"]
    pub fn into_phys(self) -> PhysFrameRange {
        let frames = self.phys();
        mem::forget(self);
        frames
    }
}

impl From<Frame> for FrameRun {
    fn from(frame: Frame) -> Self {
        Self { first: frame.into_phys(), count: 1 }
    }
}

impl Iterator for FrameRun {
    type Item = Frame;

    #[inline]
    fn next(&mut self) -> Option<Frame> {
        self.count = self.count.checked_sub(1)?;
        let frame = self.first;
        self.first = frame_after(frame, 1);
        // SAFETY: the run owned the frame, and what is left of it does not contain it any more.
        Some(unsafe { Frame::from_phys(frame) })
    }
}

impl Drop for FrameRun {
    /// Panics in a debug build if frames are left, because they are lost.
    fn drop(&mut self) {
        debug_assert!(self.count == 0, "{:?} were dropped: release them to their frame source", self.phys());
    }
}
