//! Frames that are zeroed ahead of need: by an idle loop, so that a fault does not have to.
//!
//! A free frame is in the set `free`, with its old bytes, or in the set `scrubbed`, with zeros. A
//! request for zeroed frames takes scrubbed frames first; any other request takes them last.
//!
//! Invariant: every byte of a scrubbed frame is zero, because nothing writes a free frame.

use super::{FramePool, State, take_from};
use crate::frame::Allocation;

/// 4 MiB: about what a guest touches when it starts, before the kernel is idle again.
pub(super) const DEFAULT_DEPTH_FRAMES: u64 = 1024;

impl FramePool {
    /// Zeroes up to `budget_frames` free frames, and returns how many it zeroed.
    ///
    /// It stops when as many frames are scrubbed as [`set_scrub_depth`](Self::set_scrub_depth)
    /// allows. The pool is locked for one frame at a time. The kernel must switch interrupts off if
    /// it can be interrupted by code that uses the pool or touches a region, so it should choose a
    /// small budget.
    pub fn scrub(&self, budget_frames: u64) -> u64 {
        (0..budget_frames).take_while(|_| self.state.lock().scrub_one()).count() as u64
    }

    /// Sets the number of scrubbed frames at which [`scrub`](Self::scrub) stops. Zero switches it
    /// off.
    ///
    /// The depth bounds the work that is wasted on frames that are overwritten without being read.
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
    /// Zeroes one free frame. Returns whether there was one to be zeroed.
    fn scrub_one(&mut self) -> bool {
        if self.scrubbed_frames >= self.scrub_depth_frames {
            return false;
        }
        let Some(number) = self.free.take_first() else { return false };
        let frame = self.phys_of(number);
        // SAFETY: the frame was free, so it is the pool's, and no reference to its bytes exists.
        unsafe { self.memory.zero_at(frame) };
        self.scrubbed.insert(number);
        self.scrubbed_frames += 1;
        true
    }

    /// Takes up to `most` free frames that follow each other, reserved or not, scrubbed ones if
    /// there are any.
    #[inline(always)]
    pub(super) fn take_zeroed(&mut self, most: u64) -> Option<Allocation> {
        if self.scrubbed_frames == 0 {
            return self.take_used(most);
        }
        self.take_scrubbed(most)
    }

    /// Takes up to `most` scrubbed frames that follow each other, from the lowest on, reserved or
    /// not.
    #[inline(always)]
    pub(super) fn take_scrubbed(&mut self, most: u64) -> Option<Allocation> {
        let frames = take_from(&mut self.scrubbed, &mut self.spans, most)?;
        self.scrubbed_frames -= frames.len();
        self.free_frames -= frames.len();
        Some(Allocation { frames, zeroed: true })
    }
}
