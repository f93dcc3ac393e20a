//! Frames that go back to their source together.
//!
//! A clear releases many frames at once. Handing them over by the batch takes the source's lock once for all
//! of them; and frames that follow each other, as those do that were taken in a row, are one run.
//! Called by: whatever releases frames, which fills a batch, and the frame source, which empties it.

use arrayvec::ArrayVec;
use x86_64::structures::paging::frame::PhysFrameRange;

use super::{Frame, FrameRun};

/// Enough that the lock does not count, and half a kilobyte on the stack of a fault handler.
const RUNS: usize = 32;

/// Owned frames: up to 32 runs of them.
#[must_use = "dropped frames are leaked: give them back to their frame source"]
#[derive(Debug, Default)]
pub struct FrameBatch {
    runs: ArrayVec<PhysFrameRange, RUNS>,
    frames: u64,
}

impl FrameBatch {
    /// An empty batch.
    pub const fn new() -> Self {
        Self { runs: ArrayVec::new_const(), frames: 0 }
    }

    /// Takes out a run: frames that were added one after the other, and follow each other in physical memory.
    pub fn next_run(&mut self) -> Option<FrameRun> {
        let run = self.runs.pop()?;
        self.frames -= run.len();
        Some(FrameRun::new(run))
    }

    /// Adds a frame.
    ///
    /// # Panics
    ///
    /// If the batch is full.
    #[inline]
    pub fn push(&mut self, frame: Frame) {
        self.push_run(frame.into());
    }

    /// Adds frames that follow each other.
    ///
    /// # Panics
    ///
    /// If the batch is full.
    #[inline]
    pub fn push_run(&mut self, frames: FrameRun) {
        let frames = frames.into_phys();
        self.frames += frames.len();
        match self.runs.last_mut() {
            Some(run) if run.end == frames.start => run.end = frames.end,
            Some(_) | None => self.runs.push(frames),
        }
    }

    /// Whether it has 32 runs, so that another frame may find no room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.runs.is_full()
    }

    /// The number of frames.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.frames
    }

    /// Whether there is no frame.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.frames == 0
    }
}
