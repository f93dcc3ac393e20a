//! The owner of a level-3 table.
//!
//! It is an entry like those of the tables: it owns the level-3 table, and counts what keeps the
//! tables below alive. It stands beside the root's entry, because other roots may have copies of
//! that.

use x86_64::structures::paging::PhysFrame;
use x86_64::structures::paging::page_table::{PageTableEntry, PageTableLevel};

use super::Table;
use super::entry::{OWNED, frame_of, is_needed};
use crate::frame::{Frame, PhysicalMemory, ZeroedFrame};
use crate::tlb::Flushed;

/// An owned level-3 table.
#[derive(Debug)]
pub(super) struct Root(PageTableEntry);

impl Root {
    /// Makes an empty table of a frame of zeros.
    pub(super) fn new(zeroed: ZeroedFrame) -> Self {
        let mut entry = PageTableEntry::new();
        entry.set_frame(zeroed.into_frame().into_phys(), OWNED);
        Self(entry)
    }

    /// The table's place in physical memory.
    pub(super) fn phys(&self) -> PhysFrame {
        frame_of(&self.0)
    }

    /// Whether a table exists below, or the sink.
    pub(super) fn is_used(&self) -> bool {
        is_needed(&self.0)
    }

    /// The table.
    #[inline]
    pub(super) fn table(&mut self, memory: PhysicalMemory) -> Table<'_> {
        Table::owned_by(memory, PageTableLevel::Three, &mut self.0)
    }

    /// The table's frame. The table was detached from the root before.
    pub(super) fn into_frame(self, _: &Flushed) -> Frame {
        // SAFETY: this value owned the frame since `new`, and ends here. No root leads to the
        // table, and the TLB was flushed after that: no CPU walks the table any more.
        unsafe { Frame::from_phys(self.phys()) }
    }
}
