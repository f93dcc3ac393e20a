//! The owner of a level-3 table, which no table of ours is above.
//!
//! Invariant: it is an entry like those of the tables, in the place of the root's entry, which other roots
//! may have copies of: it owns the table, and counts what keeps the tables below alive. Called by: `window`,
//! which keeps one for each entry of the root that the window touches.

use x86_64::structures::paging::PhysFrame;
use x86_64::structures::paging::page_table::{PageTableEntry, PageTableLevel};

use super::Table;
use super::entry::{OWNED, is_needed};
use crate::frame::{Blank, Frame, PhysicalMemory};

/// An owned level-3 table.
#[derive(Debug)]
pub(crate) struct Root(PageTableEntry);

impl Root {
    /// Makes an empty table of a frame of zeros.
    pub(crate) fn new(blank: Blank) -> Self {
        let mut entry = PageTableEntry::new();
        entry.set_frame(blank.into_frame().into_phys(), OWNED);
        Self(entry)
    }

    /// The table's place in physical memory.
    pub(crate) fn phys(&self) -> PhysFrame {
        PhysFrame::containing_address(self.0.addr())
    }

    /// Whether there is a table below, or the sink.
    pub(crate) fn is_used(&self) -> bool {
        is_needed(&self.0)
    }

    /// The table.
    #[inline]
    pub(crate) fn table(&mut self, memory: PhysicalMemory) -> Table<'_> {
        Table::owned_by(memory, PageTableLevel::Four, &mut self.0).expect("a root owns a table for its life")
    }

    /// The table's frame, once no CPU walks it any more.
    pub(crate) fn into_frame(self) -> Frame {
        // SAFETY: the frame's owner became this value in `new`, which ends here.
        unsafe { Frame::from_phys(self.phys()) }
    }
}
