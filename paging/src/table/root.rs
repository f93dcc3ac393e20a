//! The owner of a shard's entries in a level-3 table.
//!
//! It is an entry like those of the tables, and counts what keeps the tables below alive. But the
//! level-3 table itself belongs to the [`Window`](super::Window), because other shards use its
//! other entries.

use x86_64::structures::paging::PhysFrame;
use x86_64::structures::paging::page_table::{PageTableEntry, PageTableLevel};

use super::Table;
use super::entry::{OWNED, is_needed};
use crate::frame::PhysicalMemory;

/// The owner of a shard's entries in one level-3 table.
#[derive(Debug)]
pub(super) struct Root(PageTableEntry);

impl Root {
    /// The owner of entries in the level-3 table in this frame, all of which are absent.
    pub(super) fn new(level3: PhysFrame) -> Self {
        let mut entry = PageTableEntry::new();
        entry.set_frame(level3, OWNED);
        Self(entry)
    }

    /// Whether the shard has a table below, or the sink.
    pub(super) fn is_used(&self) -> bool {
        is_needed(&self.0)
    }

    /// The shard's entries.
    #[inline]
    pub(super) fn table(&mut self, memory: PhysicalMemory) -> Table<'_> {
        Table::owned_by(memory, PageTableLevel::Three, &mut self.0)
    }
}
