//! Marks that lead to deferred pages, so that a walk finds one without a look at other tables.
//!
//! A region may have deferred pages in any of thousands of tables, and a fault that reclaims one
//! must not search them all. So the entry that owns a table is marked while a deferred page is in
//! the table or below it. A search follows the marks: it looks at the entries of one table at each
//! level. The owner of a level-3 table has no mark.
//!
//! Invariant: outside of a walk an entry that owns a table of level 1 or 2 is marked exactly if a
//! deferred page is below. A walk that defers pages marks the owner of their level-1 table, and
//! passes the mark on to the levels above. A walk that ends the deferral of pages checks the tables
//! on the way to them from the bottom up.

use x86_64::structures::paging::page::PageRange;
use x86_64::structures::paging::page_table::{PageTableEntry, PageTableLevel};
use x86_64::structures::paging::{Page, PageTableIndex};

use super::entry::{is_marked_deferred, mark_deferred, state, unmark_deferred};
use super::{EntryState, Table};
use crate::tlb::FlushBatch;

impl Table<'_> {
    /// Takes the resident frames of the pages out of the CPU's reach until a touch, and returns
    /// their number.
    pub(crate) fn defer_resident(&mut self, pages: PageRange, batch: &mut FlushBatch) -> u64 {
        let mut frames = 0;
        self.each_used(pages, |table, used| {
            if let Some(resident) = table.resident(used.start) {
                resident.defer(batch);
                frames += 1;
            }
        });
        if frames > 0 {
            self.mark_deferred();
        }
        frames
    }

    /// Records that a deferred page is in this table, or below.
    pub(super) fn mark_deferred(&mut self) {
        if self.level < PageTableLevel::Three {
            mark_deferred(self.owner);
        }
    }

    /// Passes the mark of the page's entry, if it has one, on to the owner of this table.
    pub(super) fn raise_mark(&mut self, page: Page) {
        let is_marked = is_marked_deferred(self.entry(page));
        if is_marked {
            self.mark_deferred();
        }
    }

    /// Whether a deferred page is in this table, or below.
    #[inline]
    pub(crate) fn is_marked(&self) -> bool {
        is_marked_deferred(self.owner)
    }

    /// Whether the entry owns a table with a deferred page in it, or below.
    #[inline]
    pub(crate) fn leads_to_deferred(&self, page: Page) -> bool {
        is_marked_deferred(self.entry(page))
    }

    /// Takes the mark of this table back if no deferred page is left in it, or below.
    ///
    /// The search starts at the entry of `near`. Pages are deferred in runs and taken back in their
    /// order, so the next one is usually there.
    pub(crate) fn check_mark(&mut self, near: Page) {
        if self.is_marked() && !self.has_deferred(self.index(near)) {
            unmark_deferred(self.owner);
        }
    }

    /// As [`check_mark`](Self::check_mark), for the tables on the way to the page as well, from the
    /// lowest one up.
    pub(super) fn check_marks(&mut self, page: Page) {
        if !self.is_marked() {
            return;
        }
        if let Some(mut below) = self.below(page) {
            below.check_marks(page);
        }
        self.check_mark(page);
    }

    fn has_deferred(&mut self, from: PageTableIndex) -> bool {
        let level = self.level;
        let from = usize::from(from);
        let entries = self.whole();
        let is_deferred = |entry: &PageTableEntry| match level {
            PageTableLevel::One => matches!(state(entry), EntryState::Deferred(_)),
            _ => is_marked_deferred(entry),
        };
        entries.iter().skip(from).any(is_deferred) || entries.iter().take(from).any(is_deferred)
    }
}
