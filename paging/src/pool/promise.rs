//! The promises of a frame pool: a number of free frames that ordinary allocations leave alone.
//!
//! Invariant: no more frames are promised than are free, so a promised frame is always there to be taken.
//! Called by: the address space, for reserved accounts, through [`Promises`].

use super::{FramePool, State};
use crate::frame::{Frame, FrameBatch, Fresh, PromiseError, Promises};

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
        state.use_promise(1);
        state.take_first().expect("no more frames are promised than are free")
    }

    /// As [`allocate_promised`](Self::allocate_promised), up to `most` frames, scrubbed ones if there are
    /// any.
    ///
    /// # Panics
    ///
    /// As for [`allocate_promised`](Self::allocate_promised).
    fn allocate_promised_fresh(&self, most: u64) -> Fresh {
        let mut state = self.state.lock();
        let fresh = state.take_fresh(most).expect("no more frames are promised than are free");
        let (Fresh::Blank(run) | Fresh::Used(run)) = &fresh;
        state.use_promise(run.phys().len());
        fresh
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

    /// Takes the frames back, and promises as many, under one lock.
    ///
    /// # Panics
    ///
    /// As for [`FramePool::release`](crate::FrameSource::release).
    fn release_all_promised(&self, frames: &mut FrameBatch) {
        let mut state = self.state.lock();
        state.promised_frames += frames.len();
        while let Some(run) = frames.next_run() {
            state.put_back_run(run);
        }
    }
}

impl State {
    fn use_promise(&mut self, frames: u64) {
        let left = self.promised_frames.checked_sub(frames);
        self.promised_frames = left.expect("the caller takes what it was promised and has not taken");
    }
}
