//! The free frames in the cache of one CPU.
//!
//! Invariant: `reserved_frames` is not larger than the number of frames in both stacks.

use super::run_stack::RunStack;
use super::{FramePool, State};
use crate::frame::{Allocation, FrameBatch, PhysicalMemory, Request};

/// Frames that a refill takes from the pool. They are one word of the pool's set of free frames, so
/// a refill is one step, and the pool's lock is taken once in 64 faults.
const REFILL_FRAMES: u64 = 64;

/// The most frames that a release leaves in a cache: 2 MiB. The next one spills half of them, so
/// that a program which clears and touches 1 MiB in turn stays within its CPU's cache.
const MOST_FRAMES: u64 = 512;

/// The most frames that a release of one batch puts into a cache. A larger batch goes to the pool,
/// whose lock costs little per frame then.
pub(super) const MOST_BATCH_FRAMES: u64 = MOST_FRAMES / 2;

/// The number of zeroed frames at which scrubbing stops: 1 MiB.
const MOST_ZEROED_FRAMES: u64 = 256;

/// The free frames in the cache of one CPU.
///
/// The alignment keeps two caches out of the same cache line, and out of the same pair of lines,
/// because some CPUs fetch pairs.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Cache {
    /// Frames that may hold anything.
    used: RunStack,
    /// Frames that hold zeros.
    zeroed: RunStack,
    /// Frames that only a request for reserved frames takes.
    reserved_frames: u64,
    counts: Counts,
}

/// How often a CPU needed the pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) refills: u64,
    pub(super) spills: u64,
    pub(super) recalls: u64,
}

impl Cache {
    pub(super) const fn new() -> Self {
        Self {
            used: RunStack::new(),
            zeroed: RunStack::new(),
            reserved_frames: 0,
            counts: Counts { refills: 0, spills: 0, recalls: 0 },
        }
    }

    pub(super) const fn frames(&self) -> u64 {
        self.used.frames() + self.zeroed.frames()
    }

    pub(super) const fn zeroed_frames(&self) -> u64 {
        self.zeroed.frames()
    }

    pub(super) const fn reserved_frames(&self) -> u64 {
        self.reserved_frames
    }

    pub(super) const fn counts(&self) -> Counts {
        self.counts
    }

    /// Serves a request from the cache alone.
    #[inline]
    pub(super) fn take(&mut self, request: Request) -> Option<Allocation> {
        let available_frames =
            if request.reserved { self.reserved_frames } else { self.frames() - self.reserved_frames };
        if available_frames == 0 {
            return None;
        }
        let most = request.frames.min(available_frames);
        let allocation = if request.zeroed {
            self.take_zeroed(most).or_else(|| self.take_used(most))
        } else {
            self.take_used(most).or_else(|| self.take_zeroed(most))
        }?;
        if request.reserved {
            self.reserved_frames -= allocation.frames.len();
        }
        Some(allocation)
    }

    #[inline]
    fn take_used(&mut self, most: u64) -> Option<Allocation> {
        self.used.take(most).map(|frames| Allocation { frames, zeroed: false })
    }

    #[inline]
    fn take_zeroed(&mut self, most: u64) -> Option<Allocation> {
        self.zeroed.take(most).map(|frames| Allocation { frames, zeroed: true })
    }

    /// Gets frames, or the right to reserved ones, for a request that the cache cannot serve.
    /// `cpus` is the number of caches.
    pub(super) fn refill(&mut self, request: Request, pool: &FramePool, cpus: u64) {
        let state = &mut *pool.state.lock();
        self.counts.refills += 1;
        let unreserved_frames = self.frames() - self.reserved_frames;
        if request.reserved && unreserved_frames > 0 {
            // The cache has frames, and the pool has reserved ones: they change places.
            let moved = state.reserved_frames.min(unreserved_frames);
            state.reserved_frames -= moved;
            self.reserved_frames += moved;
            return;
        }
        let available_frames =
            if request.reserved { state.reserved_frames } else { state.unreserved_frames() };
        if available_frames == 0 {
            return;
        }
        if self.used.is_full() || self.zeroed.is_full() {
            self.spill(state);
        }
        // When the pool has few frames, most of them stay there for the other CPUs, which would
        // have to recall them.
        let most = (available_frames / (2 * cpus)).clamp(1, REFILL_FRAMES);
        let allocation = if request.zeroed { state.take_zeroed(most) } else { state.take_any(most) };
        let Some(Allocation { frames, zeroed }) = allocation else { return };
        if request.reserved {
            state.reserved_frames -= frames.len();
            self.reserved_frames += frames.len();
        }
        if zeroed { self.zeroed.put(frames) } else { self.used.put(frames) }
    }

    /// Takes back all frames of the batch.
    pub(super) fn release(&mut self, frames: &mut FrameBatch, reserved: bool, pool: &FramePool) {
        for run in frames {
            if self.used.is_full() {
                self.spill(&mut pool.state.lock());
            }
            // This comes last, because a spill must not reserve frames that are not in the cache
            // yet.
            if reserved {
                self.reserved_frames += run.len();
            }
            self.used.put(run);
        }
        if self.used.frames() > MOST_FRAMES {
            self.spill(&mut pool.state.lock());
        }
    }

    /// Zeroes one frame. Returns whether there was one to be zeroed, and room for it.
    pub(super) fn scrub_one(
        &mut self,
        memory: PhysicalMemory,
        most_frames: u64,
        pool: &FramePool,
        cpus: u64,
    ) -> bool {
        if self.zeroed.is_full() || self.zeroed.frames() >= most_frames.min(MOST_ZEROED_FRAMES) {
            return false;
        }
        if self.used.frames() == 0 {
            self.refill(Request { frames: 1, zeroed: false, reserved: false }, pool, cpus);
        }
        let Some(mut frame) = self.used.take(1).and_then(|mut frames| frames.next()) else { return false };
        memory.zero(&mut frame);
        self.zeroed.put(frame.into());
        true
    }

    /// Releases half of a full cache to the pool, and no reserved ones as long as there are others.
    fn spill(&mut self, state: &mut State) {
        self.counts.spills += 1;
        self.keep(MOST_FRAMES / 2, state);
    }

    /// Releases all frames to the pool, for another CPU that found none.
    pub(super) fn recall(&mut self, pool: &FramePool) {
        if self.frames() > 0 {
            self.counts.recalls += 1;
            self.keep(0, &mut pool.state.lock());
        }
    }

    /// Releases the oldest frames of both stacks to the pool, until neither has more than
    /// `keep_frames`.
    fn keep(&mut self, keep_frames: u64, state: &mut State) {
        self.used.spill(keep_frames, |frames| state.put_back(frames));
        self.zeroed.spill(keep_frames, |frames| state.put_back_zeroed(frames));
        let excess_frames = self.reserved_frames.saturating_sub(self.frames());
        self.reserved_frames -= excess_frames;
        state.reserved_frames += excess_frames;
    }

    /// Gives up to `most` reserved frames, which stay where they are, to all requests. Returns how
    /// many there were.
    pub(super) fn unreserve(&mut self, most: u64) -> u64 {
        let frames = most.min(self.reserved_frames);
        self.reserved_frames -= frames;
        frames
    }
}
