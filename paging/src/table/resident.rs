//! A data frame that is mapped, and what can be done to it while its page keeps a frame.
//!
//! Invariant: a [`Resident`] is the exclusive borrow of a present level-1 entry that owns a data
//! frame. None of the operations changes what the table's owner counts, because a deferred entry
//! keeps its table alive too.

use core::ops::Range;

use x86_64::structures::paging::page_table::PageTableEntry;
use x86_64::structures::paging::{Page, PhysFrame};

use super::entry::{OWNED, defer, is_untouched};
use crate::frame::{Frame, PhysicalMemory, ZeroedFrame};
use crate::tlb::{FlushBatch, Flushed};

/// A present entry that owns a data frame.
#[derive(Debug)]
pub(crate) struct Resident<'t> {
    memory: PhysicalMemory,
    page: Page,
    frame: PhysFrame,
    entry: &'t mut PageTableEntry,
}

impl<'t> Resident<'t> {
    pub(super) const fn new(
        memory: PhysicalMemory,
        page: Page,
        frame: PhysFrame,
        entry: &'t mut PageTableEntry,
    ) -> Self {
        Self { memory, page, frame, entry }
    }

    /// Whether the frame was committed ahead and never written, so that it holds zeros.
    pub(crate) fn is_untouched(&self) -> bool {
        is_untouched(self.entry)
    }

    /// Fills the frame with zeros, in place.
    pub(crate) fn zero(&mut self) {
        // SAFETY: the entry owns the frame and is borrowed exclusively. The frame holds data, and
        // regions hand out addresses of their data but no reference to it.
        unsafe { self.memory.zero_at(self.frame) };
    }

    /// Fills a part of the frame with zeros, in place, and returns whether it had other bytes.
    pub(crate) fn zero_part(&mut self, part: Range<usize>) -> bool {
        // SAFETY: as for `zero`.
        unsafe { self.memory.zero_part_at(self.frame, part) }
    }

    /// Maps a frame of zeros in place of the frame, and returns the frame.
    pub(crate) fn replace(self, zeroed: ZeroedFrame, batch: &mut FlushBatch) -> Stale {
        batch.add(self.page);
        self.entry.set_frame(zeroed.into_frame().into_phys(), OWNED);
        // SAFETY: the entry owned the frame and refers to another one. CPUs may still translate to
        // the frame, so it stays in the returned value until the TLB was flushed.
        Stale(unsafe { Frame::from_phys(self.frame) })
    }

    /// Takes the frame, with its old bytes, out of the CPU's reach until the page is touched.
    pub(super) fn defer(self, batch: &mut FlushBatch) {
        batch.add(self.page);
        defer(self.entry);
    }
}

/// A frame that was unmapped, and to which the TLB may still translate.
#[must_use = "the frame is leaked unless it is released after the flush"]
#[derive(Debug)]
pub(crate) struct Stale(Frame);

impl Stale {
    /// The frame, to which nothing translates any more.
    pub(crate) fn into_frame(self, _: &Flushed) -> Frame {
        self.0
    }
}
