//! The promises of a frame pool: a number of free frames that ordinary allocations leave alone.
//!
//! Invariant: no more frames are promised than are free, so a promised frame is always there to be taken.
//! Called by: the address space, for reserved accounts, through [`Promises`].

use super::{Frame, FramePool, Promises};
use crate::frame::PromiseError;

impl FramePool {
    /// Free frames that are promised, and that [`allocate`](crate::FrameSource::allocate) leaves alone.
    #[must_use]
    pub fn promised_frames(&self) -> u64 {
        self.state.lock().promised_frames
    }
}

// SAFETY:
// 1. Frames come and go as for `FrameSource`, through the same functions.
// 2. `promise`, `allocate` and `allocate_contiguous` leave as many frames free as are promised, so there is a
//    free frame for each promised one.
unsafe impl Promises for FramePool {
    fn promise(&self, frames: u64) -> Result<(), PromiseError> {
        let mut state = self.state.lock();
        let available_frames = state.unpromised_frames();
        if frames > available_frames {
            return Err(PromiseError::TooFew { requested_frames: frames, available_frames });
        }
        state.promised_frames += frames;
        Ok(())
    }

    /// Gives up the promise of `frames` frames.
    ///
    /// # Panics
    ///
    /// If fewer frames are promised: then somebody gives up the promise of somebody else.
    fn withdraw(&self, frames: u64) {
        let mut state = self.state.lock();
        let left = state.promised_frames.checked_sub(frames);
        state.promised_frames = left.expect("the caller gives up what it was promised and has not taken");
    }

    /// Takes a frame that was promised.
    ///
    /// # Panics
    ///
    /// If no frame is promised: then somebody took more than was promised.
    fn allocate_promised(&self) -> Frame {
        let mut state = self.state.lock();
        let left = state.promised_frames.checked_sub(1);
        state.promised_frames = left.expect("the caller takes what it was promised and has not taken");
        state.take_first().expect("no more frames are promised than are free")
    }

    /// Takes a frame back, and promises one.
    ///
    /// # Panics
    ///
    /// As for [`FramePool::release`](crate::FrameSource::release).
    fn release_promised(&self, frame: Frame) {
        let mut state = self.state.lock();
        state.put_back_for_sure(frame);
        state.promised_frames += 1;
    }
}
