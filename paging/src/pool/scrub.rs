//! Frames zeroed ahead of need: by an idle loop, for a fault that has no time.
//!
//! A free frame is either in the set `free`, with old bytes, or in the set `scrubbed`, with zeros; whoever
//! wants zeros takes a scrubbed one first, whoever takes any frame takes those last. The depth bounds how
//! many there are, and so the work that is wasted on frames which nobody wants to be zero; a depth of 0
//! switches scrubbing off.
//!
//! Invariant: every byte of a scrubbed frame is zero, since nothing writes a free frame. Called by: the
//! kernel's idle loop.

use super::{FramePool, State, take_from};
use crate::frame::{Allocation, Frame};

/// 4 MiB: what a guest that starts is likely to touch before the kernel is idle again.
pub(super) const DEFAULT_DEPTH_FRAMES: u64 = 1024;

impl FramePool {
    /// Fills up to `budget_frames` free frames with zeros, as long as fewer than the depth are; tells how
    /// many it filled.
    ///
    /// The pool is locked for one frame at a time. As with all methods, a kernel that is interrupted by code
    /// which uses the pool calls it with interrupts off, and picks a budget that it can wait for.
    pub fn scrub(&self, budget_frames: u64) -> u64 {
        (0..budget_frames).take_while(|_| self.state.lock().scrub_one()).count() as u64
    }

    /// Sets the number of scrubbed frames at which [`scrub`](Self::scrub) stops; 0 switches it off.
    ///
    /// It is 1024 frames at first. Frames that are scrubbed already stay so.
    pub fn set_scrub_depth(&self, frames: u64) {
        self.state.lock().scrub_depth_frames = frames;
    }

    /// Free frames that are scrubbed.
    #[must_use]
    pub fn scrubbed_frames(&self) -> u64 {
        self.state.lock().scrubbed_frames
    }
}

impl State {
    fn scrub_one(&mut self) -> bool {
        if self.scrubbed_frames >= self.scrub_depth_frames {
            return false;
        }
        let Some(number) = self.free.first() else { return false };
        // SAFETY: the frame is free, so it is the pool's, and the pool is borrowed exclusively.
        let mut frame = unsafe { Frame::from_phys(self.phys_of(number)) };
        self.memory.zero(&mut frame);
        self.free.remove(number);
        self.scrubbed.insert(number);
        self.scrubbed_frames += 1;
        true
    }

    /// Takes up to `most` free frames that follow each other, reserved or not, scrubbed ones if there are any.
    #[inline(always)]
    pub(super) fn take_zeroed(&mut self, most: u64) -> Option<Allocation> {
        if self.scrubbed_frames == 0 {
            return self.take_used(most);
        }
        self.take_scrubbed(most)
    }

    /// Takes up to `most` scrubbed frames that follow each other, from the lowest on, reserved or not.
    pub(super) fn take_scrubbed(&mut self, most: u64) -> Option<Allocation> {
        let frames = take_from(&mut self.scrubbed, &mut self.spans, most)?;
        self.scrubbed_frames -= frames.phys().len();
        self.free_frames -= frames.phys().len();
        Some(Allocation { frames, zeroed: true })
    }
}
