//! Frames that are promised: kept free for somebody who has not taken them yet.
//!
//! A reserved account is charged for all that its regions can come to hold. The frame source then keeps as
//! many frames free, and hands them out to that account only; which frames they are is left open until they
//! are taken.
//!
//! Called by: reserve, the limit and the end of a region (promise, withdraw), the fault path and whatever
//! releases frames (allocate and release), all for reserved accounts.

use thiserror::Error;

use super::{Frame, FrameBatch, Fresh};

/// A frame source that can promise frames before they are taken.
///
/// What was said for [`FrameSource`](super::FrameSource) about waiting and faulting holds for these methods.
///
/// # Safety
///
/// The implementer guarantees that
/// 1. frames come and go as the contract of [`FrameSource`](super::FrameSource) says, and
/// 2. as long as no more frames are allocated out of promises than were promised,
///    [`allocate_promised`](Self::allocate_promised) returns a frame:
///    [`FrameSource::allocate`](super::FrameSource::allocate) leaves as many frames free as are promised.
pub unsafe trait Promises {
    /// Promises `frames` frames, all or none.
    ///
    /// # Errors
    ///
    /// - [`PromiseError::TooFew`]: fewer frames are free and not promised yet. Nothing has changed then.
    fn promise(&self, frames: u64) -> Result<(), PromiseError>;

    /// Gives up the promise of `frames` frames that are not allocated.
    fn withdraw(&self, frames: u64);

    /// Takes a frame that was promised, which uses up one frame of the promise.
    fn allocate_promised(&self) -> Frame;

    /// As [`allocate_promised`](Self::allocate_promised), up to `most` frames, which were promised, and
    /// preferably some that were zeroed ahead of need. The default takes one frame and knows nothing of its
    /// content.
    fn allocate_promised_fresh(&self, most: u64) -> Fresh {
        debug_assert!(most > 0, "nobody asks for no frame");
        Fresh::Used(self.allocate_promised().into())
    }

    /// Takes a frame back and promises one again, in one step: nobody can take it between the two.
    fn release_promised(&self, frame: Frame);

    /// The same for all frames of the batch. The default does it one by one.
    fn release_all_promised(&self, frames: &mut FrameBatch) {
        while let Some(run) = frames.next_run() {
            run.for_each(|frame| self.release_promised(frame));
        }
    }
}

/// Why frames cannot be promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PromiseError {
    /// There are not so many.
    #[error("{requested_frames} frames were requested, and {available_frames} are free and not promised")]
    TooFew {
        /// Frames that were to be promised.
        requested_frames: u64,
        /// Frames that could have been.
        available_frames: u64,
    },
}
