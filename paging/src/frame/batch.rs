//! Frames that go back to their source together.

use arrayvec::ArrayVec;
use x86_64::structures::paging::frame::PhysFrameRange;

use super::{Frame, FrameRun};

/// With 32 runs, taking the source's lock once per batch costs next to nothing, and a batch takes
/// half a kilobyte on the stack of a fault handler.
const RUNS: usize = 32;

/// Up to 32 runs of owned frames, to be released together.
///
/// A clear releases many frames at once, and the source takes its lock once for all of them. Frames
/// that were added one after the other, and follow each other in physical memory, are one run. A
/// batch iterates over its runs, in no particular order, and is empty afterwards.
#[must_use = "dropped frames are leaked: release them to their frame source"]
#[derive(Debug)]
pub struct FrameBatch {
    runs: ArrayVec<PhysFrameRange, RUNS>,
    frames: u64,
}

impl FrameBatch {
    /// An empty batch.
    pub(crate) fn new() -> Self {
        Self { runs: ArrayVec::new(), frames: 0 }
    }

    /// Adds frames that follow each other.
    ///
    /// # Panics
    ///
    /// If the batch [is full](Self::is_full) and the frames do not follow those that were added
    /// last.
    #[inline]
    pub(crate) fn push(&mut self, frames: FrameRun) {
        self.frames += frames.len();
        let frames = frames.into_phys();
        match self.runs.last_mut() {
            Some(run) if run.end == frames.start => run.end = frames.end,
            Some(_) | None => self.runs.push(frames),
        }
    }

    /// Whether the batch has 32 runs, so that there may be no room for more frames.
    #[must_use]
    pub(crate) fn is_full(&self) -> bool {
        self.runs.is_full()
    }

    /// The number of frames.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.frames
    }

    /// Whether the batch has no frame.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.frames == 0
    }
}

impl From<Frame> for FrameBatch {
    fn from(frame: Frame) -> Self {
        let mut batch = Self::new();
        batch.push(frame.into());
        batch
    }
}

impl Iterator for FrameBatch {
    type Item = FrameRun;

    fn next(&mut self) -> Option<FrameRun> {
        let run = self.runs.pop()?;
        let count = run.len();
        self.frames -= count;
        // SAFETY: the batch took the frames from their owners in `push`, and does not contain them
        // any more.
        Some(unsafe { FrameRun::from_phys(run.start, count) })
    }
}

impl Drop for FrameBatch {
    /// Panics in a debug build if frames are left, because they are lost.
    fn drop(&mut self) {
        debug_assert!(self.is_empty(), "{} frames were dropped: release them to their source", self.frames);
    }
}
