//! The owners of a shard's entries in level-3 tables.
//!
//! An owner is an entry like those of the tables, and counts what keeps the tables below alive. But
//! the level-3 table itself belongs to the [`Window`], because other shards use its other entries.

use alloc::vec::Vec;

use x86_64::structures::paging::page::PageRange;
use x86_64::structures::paging::page_table::{PageTableEntry, PageTableLevel};
use x86_64::structures::paging::{Page, PhysFrame};

use super::entry::{OWNED, is_needed};
use super::{Table, Window};
use crate::frame::PhysicalMemory;
use crate::pages::pieces;

/// The owners of a shard's entries, in the order of their addresses.
#[derive(Debug)]
pub(crate) struct Roots {
    /// The level-4 index of the first one.
    first_index: u16,
    /// The only one unless the shard has more than 512 GiB.
    first: Root,
    others: Vec<Root>,
}

impl Roots {
    /// The owners of the entries for these pages of the window, all of which are absent.
    pub(crate) fn new(pages: PageRange, window: &Window) -> Self {
        let mut level3 =
            pieces(pages, PageTableLevel::Four).map(|piece| Root::new(window.level3(piece.start)));
        Self {
            first_index: pages.start.p4_index().into(),
            first: level3.next().expect("a shard has pages"),
            others: level3.collect(),
        }
    }

    /// The owner of the entry for this page.
    #[inline]
    pub(super) fn of(&mut self, page: Page) -> &mut Root {
        // Nearly every shard has one, and needs no index.
        if self.others.is_empty() {
            return &mut self.first;
        }
        match usize::from(u16::from(page.p4_index()) - self.first_index).checked_sub(1) {
            None => &mut self.first,
            Some(index) => &mut self.others[index],
        }
    }
}

/// The owner of a shard's entries in one level-3 table.
#[derive(Debug)]
pub(super) struct Root(PageTableEntry);

impl Root {
    /// The owner of entries in the level-3 table in this frame, all of which are absent.
    fn new(level3: PhysFrame) -> Self {
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
