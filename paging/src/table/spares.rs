//! Frames for the tables that large pages of a region may have to be replaced by.
//!
//! One is set aside with each large page, so that a part of it can be cleared without an allocation; it is charged
//! and counted as the table that 512 small pages would have. Which one belongs to which page is all the same, so
//! they are a stack: each frame holds, as its first entry, the address of the one below.
//!
//! Invariant: there are as many as the region has large pages. Called by: whatever maps, splits or releases one.

use x86_64::structures::paging::page_table::PageTableEntry;
use x86_64::structures::paging::{PageTableFlags, PhysFrame};

use crate::frame::Frame;
use crate::memory::PhysicalMemory;

/// What an entry has beside the address of a frame: something, so that the frame at address zero is one too.
const LINK: PageTableFlags = PageTableFlags::NO_EXECUTE;

/// The frames that are set aside, and how many they are.
#[derive(Debug, Default)]
pub(crate) struct Spares {
    /// What the last one's first entry would be, were there one more on top of it.
    top: PageTableEntry,
    count: u64,
}

impl Spares {
    /// The number of frames, and of large pages.
    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    /// Whether there is none, and no large page.
    pub(crate) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Sets a frame aside.
    pub(super) fn push(&mut self, frame: Frame, memory: PhysicalMemory) {
        // SAFETY: the frame is owned and holds nothing that counts, so it is a table whatever its bytes are; nobody
        // else has a reference to it, and this one ends here.
        let entries = unsafe { memory.table(frame.phys()) };
        entries[0] = self.top.clone();
        self.top.set_frame(frame.into_phys(), LINK);
        self.count += 1;
    }

    /// Takes a frame, whose bytes may be anything.
    ///
    /// # Panics
    ///
    /// If there is none: then there was no large page that it could be for.
    pub(crate) fn pop(&mut self, memory: PhysicalMemory) -> Frame {
        assert!(!self.is_empty(), "a frame is set aside for each large page");
        let top = PhysFrame::containing_address(self.top.addr());
        // SAFETY: the frame became ours, and a table, in `push`; nobody else has a reference to it, and this one
        // ends here.
        let entries = unsafe { memory.table(top) };
        self.top = entries[0].clone();
        self.count -= 1;
        // SAFETY: the frame's owner became this value in `push`, and it is not on the stack any more.
        unsafe { Frame::from_phys(top) }
    }
}
