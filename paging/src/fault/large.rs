//! Committing 2 MiB at once, behind one entry, where a run has come so far that it is worth it.
//!
//! The frames are zeroed before the entry that publishes them is written. Where anything is missing, be it a run of
//! frames, room in the account or the table that would be set aside, nothing has changed, and the fault goes on with
//! a small page. Called by: `commit`, for a page without a level-1 table.

use x86_64::structures::paging::page_table::PageTableLevel;
use x86_64::structures::paging::{Page, PageTableIndex};

use super::commit::Commit;
use crate::directory::Record;
use crate::frame::FrameSource;
use crate::policy::LargePages;
use crate::supply::Supply;
use crate::table::{LARGE_PAGE_FRAMES, Table, entry_pages};
use crate::tlb::Tlb;

impl<S: FrameSource, T: Tlb> Commit<'_, S, T> {
    /// Gives frames to all of the 2 MiB that the page is in, and tells whether it did.
    #[cold]
    pub(super) fn give_large(&mut self, policy: LargePages) -> bool {
        let Self { page, record, table, host } = self;
        let is_wanted = match policy {
            LargePages::Off => false,
            LargePages::OnRuns => is_worth_it(*page, record, table),
        };
        if !is_wanted {
            return false;
        }
        let supply = Supply { memory: table.memory(), source: host.source, account: Some(&record.account) };
        let Some((frames, spare)) = supply.take_large() else { return false };
        table.put_large(*page, frames, spare, &mut record.spares);
        let pages = entry_pages(*page, PageTableLevel::Two);
        record.run.note_ahead(pages);
        record.note_ahead(pages);
        record.residency.table_frames += 1;
        record.residency.count_resident(LARGE_PAGE_FRAMES);
        true
    }
}

/// Whether the page is the first of 2 MiB that are absent, can all be used and start as zeros; and continues a run over
/// as much, whose last page shows that it was not only committed.
///
/// The first 2 MiB of a level-2 table, 1 GiB, are left to small pages.
fn is_worth_it(page: Page, record: &Record, table: &mut Table<'_>) -> bool {
    let pages = entry_pages(page, PageTableLevel::Two);
    table.level() == PageTableLevel::Two
        && page == pages.start
        && record.run.has_covered(LARGE_PAGE_FRAMES, page, record.residency.frames_released)
        && pages.end <= record.usable_end()
        && record.next_original(page, pages.end) == pages.end
        && page.p2_index() != PageTableIndex::new(0)
        && table.is_written(page - 1)
}
