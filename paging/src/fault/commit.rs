//! Giving a page what it is touched for: a shared frame, its deferred frame, or a frame of its own.
//!
//! The walk to the page was made before, and is continued from the lowest table that there is. A frame is
//! filled before the entry that publishes it is written. Frames for pages that were not asked for are taken
//! last, only while there are any, and never beyond the limit or the table.
//!
//! Called by: `resolve`, once the fault is classified.

use x86_64::structures::paging::page::PageRange;
use x86_64::structures::paging::page_table::PageTableLevel;
use x86_64::structures::paging::{Page, PhysFrame};

use crate::frame::{FrameSource, Shortage};
use crate::pages::entry_pages;
use crate::record::Record;
use crate::state::Env;
use crate::supply::Supply;
use crate::table::Table;
use crate::tlb::Tlb;

/// A page of a region that is to be given something.
pub(super) struct Commit<'a, S, T> {
    pub(super) page: Page,
    pub(super) record: &'a mut Record,
    /// The lowest table that exists on the way to the page.
    pub(super) table: Table<'a>,
    pub(super) env: Env<'a, S, T>,
}

impl<'a, S: FrameSource, T: Tlb> Commit<'a, S, T> {
    /// The page was read and holds nothing.
    pub(super) fn show(self, shared: PhysFrame) -> Result<(), Shortage> {
        let Self { page, record, table, env } = self;
        level1_table(page, record, table, env.source)?.show(page, shared);
        Ok(())
    }

    /// The page was touched and is deferred. It was flushed then, and is not present: no flush.
    pub(super) fn take_back(mut self) {
        self.table.take_back(self.page);
        self.record.residency.deferred_frames -= 1;
        self.record.residency.count_resident(1);
    }

    /// The page was written and holds nothing.
    pub(super) fn give_frame(self, original: Option<PhysFrame>, limit_pages: u16) -> Result<(), Shortage> {
        let Self { page, record, table, env } = self;
        let mut table = level1_table(page, record, table, env.source)?;
        fill(page, original, record, &mut table, env.source)?;
        let ahead_pages = record.run.note(page, limit_pages, record.residency.frames_released);
        if ahead_pages > 0 {
            fill_ahead(page, ahead_pages, record, table, env.source);
        }
        Ok(())
    }

    /// The page was written and shows a shared frame, which the TLB may know.
    pub(super) fn replace_shared(self, original: Option<PhysFrame>) -> Result<(), Shortage> {
        let Self { page, record, mut table, env } = self;
        fill(page, original, record, &mut table, env.source)?;
        env.tlb.flush(page);
        Ok(())
    }
}

/// The page's level-1 table, made if need be.
fn level1_table<'t, S: FrameSource>(
    page: Page,
    record: &mut Record,
    table: Table<'t>,
    source: &S,
) -> Result<Table<'t>, Shortage> {
    if table.level() == PageTableLevel::One {
        return Ok(table);
    }
    let supply = Supply { memory: table.memory(), source, account: Some(&record.account) };
    let made = &mut record.residency.table_frames;
    let take = || supply.take().inspect(|_| *made += 1);
    table.reach(page, PageTableLevel::One, take)
}

/// Gives the page a frame of its own: a copy of its original, or zeros.
fn fill<S: FrameSource>(
    page: Page,
    original: Option<PhysFrame>,
    record: &mut Record,
    table: &mut Table<'_>,
    source: &S,
) -> Result<(), Shortage> {
    let supply = Supply { memory: table.memory(), source, account: Some(&record.account) };
    match original {
        None => table.put(page, supply.take()?),
        Some(original) => {
            let mut copy = supply.take_to_overwrite()?;
            // SAFETY: nobody writes a frame of an image, and the region keeps the image alive.
            unsafe { supply.memory.copy(original, &mut copy) };
            table.put_copy(page, copy);
        }
    }
    record.residency.count_resident(1);
    Ok(())
}

/// Gives up to `count` absent pages behind this one frames of their own.
pub(super) fn fill_ahead<S: FrameSource>(
    page: Page,
    count: u64,
    record: &mut Record,
    mut table: Table<'_>,
    source: &S,
) {
    let supply = Supply { memory: table.memory(), source, account: Some(&record.account) };
    let table_end = entry_pages(page, PageTableLevel::Two).end;
    let end = (page + 1 + count).min(record.usable_end()).min(table_end);
    let end = record.next_original(page + 1, end);
    let frames = table.put_ahead(Page::range(page + 1, end), |most, put| supply.take_up_to(most, put));
    if frames > 0 {
        let pages = PageRange { start: page + 1, end: page + 1 + frames };
        record.run.note_ahead(pages);
        record.note_ahead(pages);
        record.residency.count_resident(frames);
    }
}
