//! Table frames that wait until other CPUs have flushed.
//!
//! A CPU that ran a region may still cache that a frame is one of its tables, and it may walk that
//! frame at any time, because it accesses addresses speculatively (Intel SDM Vol 3A, 4.10.2.3 and
//! 4.10.4.3). If the frame had other content by then, the CPU would take it for entries, and could
//! set their Accessed bits. So the frame waits, in the state of an empty table.
//!
//! The queue is linked through the frames, so it needs no heap. The words of a waiting frame are
//! zero, except for the first four. Bit 0 of these is clear, so a CPU that walks the frame finds no
//! present entry.

use core::mem;

use x86_64::PhysAddr;
use x86_64::structures::paging::PhysFrame;

use crate::frame::{Frame, FrameBatch, FrameSource, PhysicalMemory};

/// The word with the address of the next frame in the queue, or zero.
const NEXT: usize = 0;
/// The word with the stamp, shifted by one bit.
const STAMP: usize = 1;
/// The words with the set of CPUs, 32 each, shifted by one bit.
const CPUS: [usize; 2] = [2, 3];

/// What a frame waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wait {
    /// The CPUs that may cache that the frame is a table.
    pub(crate) cpus: u64,
    /// The stamp at which it stopped being one.
    pub(crate) stamp: u64,
}

impl Wait {
    /// No wait.
    pub(crate) const NOTHING: Self = Self { cpus: 0, stamp: 0 };

    /// Waits for what either of them waits for, or for more.
    pub(crate) fn and(self, other: Self) -> Self {
        Self { cpus: self.cpus | other.cpus, stamp: self.stamp.max(other.stamp) }
    }
}

/// A queue of frames that wait.
#[must_use = "frames in a dropped queue are leaked"]
#[derive(Debug)]
pub(crate) struct Limbo {
    memory: PhysicalMemory,
    ends: Option<(PhysFrame, PhysFrame)>,
    frames: u64,
}

impl Limbo {
    pub(super) const fn new(memory: PhysicalMemory) -> Self {
        Self { memory, ends: None, frames: 0 }
    }

    /// The number of frames.
    pub(crate) const fn frames(&self) -> u64 {
        self.frames
    }

    /// Adds a frame that was a table. Its content becomes that of a table without present entries.
    pub(crate) fn push(&mut self, mut frame: Frame, wait: Wait) {
        self.memory.zero(&mut frame);
        let [low, high] = [wait.cpus & u64::from(u32::MAX), wait.cpus >> 32];
        for (index, value) in [(STAMP, wait.stamp), (CPUS[0], low), (CPUS[1], high)] {
            self.memory.set_word(&mut frame, index, value << 1);
        }
        self.link(frame);
    }

    /// Adds a frame whose words record what it waits for.
    fn link(&mut self, mut frame: Frame) {
        self.memory.set_word(&mut frame, NEXT, 0);
        let added = frame.into_phys();
        self.ends = Some(match self.ends {
            None => (added, added),
            Some((first, last)) => {
                self.set_next(last, added);
                (first, added)
            }
        });
        self.frames += 1;
    }

    /// Adds all frames of another queue.
    pub(super) fn append(&mut self, mut more: Self) {
        if let Some((first, last)) = more.ends.take() {
            self.ends = Some(match self.ends {
                None => (first, last),
                Some((own_first, own_last)) => {
                    self.set_next(own_last, first);
                    (own_first, last)
                }
            });
            self.frames += mem::take(&mut more.frames);
        }
    }

    fn set_next(&self, frame: PhysFrame, next: PhysFrame) {
        // SAFETY: the queue owns the frame, which was moved into it by `link`. This value is its
        // only owner until it becomes an address again, two lines below.
        let mut owned = unsafe { Frame::from_phys(frame) };
        self.memory.set_word(&mut owned, NEXT, next.start_address().as_u64());
        let _ = owned.into_phys();
    }

    fn pop(&mut self) -> Option<(Frame, Wait)> {
        let (first, last) = self.ends?;
        // SAFETY: the queue owns the frame, which was moved into it by `link`, and no longer
        // contains it after this function.
        let frame = unsafe { Frame::from_phys(first) };
        let word = |index| self.memory.word(&frame, index);
        let next = PhysFrame::containing_address(PhysAddr::new(word(NEXT)));
        let [stamp, low, high] = [STAMP, CPUS[0], CPUS[1]].map(|index| word(index) >> 1);
        self.ends = (first != last).then_some((next, last));
        self.frames -= 1;
        Some((frame, Wait { cpus: high << 32 | low, stamp }))
    }

    /// Releases the frames for which `awaited` returns no CPU any more, of the `most` that were
    /// looked at the longest time ago. Returns the number of released frames, and the CPUs that the
    /// others of these wait for.
    pub(super) fn release<S: FrameSource>(
        &mut self,
        most: u64,
        source: &S,
        awaited: impl Fn(Wait) -> u64,
    ) -> (u64, u64) {
        let mut batch = FrameBatch::new();
        let mut released = 0;
        let mut cpus = 0;
        for _ in 0..most.min(self.frames) {
            let Some((frame, wait)) = self.pop() else { break };
            let left = awaited(wait);
            cpus |= left;
            if left != 0 {
                self.link(frame);
                continue;
            }
            if batch.is_full() {
                source.release(&mut batch, false);
            }
            batch.push(frame.into());
            released += 1;
        }
        source.release(&mut batch, false);
        (released, cpus)
    }
}

impl Drop for Limbo {
    /// Panics in a debug build if frames are left, because they are lost.
    fn drop(&mut self) {
        debug_assert!(self.frames == 0, "{} waiting frames were dropped", self.frames);
    }
}
