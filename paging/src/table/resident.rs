//! A data frame that is mapped: what can be done to it without its page being given up.
//!
//! Invariant: a [`Resident`] is the exclusive borrow of a present level-1 entry that owns a data frame. The
//! table stays as occupied as it was, because a deferred entry keeps its table alive too.
//! Called by: `renew` and `defer`, for each resident page of a range.

use x86_64::structures::paging::page_table::PageTableEntry;
use x86_64::structures::paging::{Page, PhysFrame};

use super::entry::{OWNED, defer};
use crate::frame::{Blank, Frame, PhysicalMemory};

/// A present entry that owns a data frame.
#[derive(Debug)]
pub(crate) struct Resident<'t> {
    memory: PhysicalMemory,
    page: Page,
    frame: PhysFrame,
    entry: &'t mut PageTableEntry,
}

impl<'t> Resident<'t> {
    pub(super) fn new(
        memory: PhysicalMemory,
        page: Page,
        frame: PhysFrame,
        entry: &'t mut PageTableEntry,
    ) -> Self {
        Self { memory, page, frame, entry }
    }

    pub(crate) const fn page(&self) -> Page {
        self.page
    }

    /// Fills the frame with zeros, in place.
    pub(crate) fn zero(&mut self) {
        // SAFETY: the entry owns the frame and is borrowed exclusively; it holds data, and regions hand out
        // addresses but no reference to their data.
        unsafe { self.memory.zero_at(self.frame) };
    }

    /// Puts a frame of zeros in the place of the frame, which the TLB may still know.
    pub(crate) fn exchange(self, blank: Blank) -> Stale {
        self.entry.set_frame(blank.into_frame().into_phys(), OWNED);
        Stale(self.frame)
    }

    /// Takes the frame, with its old bytes, out of the CPU's reach until the page is touched.
    pub(crate) fn defer(self) {
        defer(self.entry);
    }
}

/// A frame that was unmapped, and that the TLB may still know.
#[must_use = "the frame is leaked unless it is released after the flush"]
#[derive(Debug)]
pub(crate) struct Stale(PhysFrame);

impl Stale {
    /// The frame, which nothing translates to any more.
    ///
    /// # Safety
    ///
    /// The caller guarantees that the TLB was flushed for the frame's page after the frame was unmapped.
    pub(crate) unsafe fn into_frame(self) -> Frame {
        // SAFETY: the entry owned the frame and was overwritten when this value was made; by this function's
        // contract no CPU translates to it any more.
        unsafe { Frame::from_phys(self.0) }
    }
}
