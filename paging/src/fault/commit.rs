//! Giving a touched page a frame: a shared one, its deferred one, or a new one.
//!
//! The walk to the page ended at the lowest table that exists, and continues from there. A frame is
//! filled before the entry that publishes it is written. Frames for pages ahead are taken last,
//! only while there are any, and never beyond the limit or the table.

use x86_64::structures::paging::page::PageRange;
use x86_64::structures::paging::page_table::PageTableLevel;
use x86_64::structures::paging::{Page, PhysFrame};

use crate::frame::Shortage;
use crate::pages::{entry_end, page_after};
use crate::platform::Platform;
use crate::record::Record;
use crate::state::Env;
use crate::table::Table;

/// A page of a region that is about to get a frame.
pub(super) struct Commit<'a, P> {
    pub(super) page: Page,
    pub(super) record: &'a mut Record,
    /// The lowest table that exists on the way to the page.
    pub(super) table: Table<'a>,
    pub(super) env: &'a Env<P>,
}

impl<P: Platform> Commit<'_, P> {
    /// Maps a shared frame, because an absent page was read.
    pub(super) fn show(self, shared: PhysFrame) -> Result<(), Shortage> {
        let mut commit = self.reach_level1()?;
        commit.table.show(commit.page, shared);
        Ok(())
    }

    /// Maps a deferred page again. It needs no flush, because the page was flushed when it was
    /// deferred.
    pub(super) fn take_back(mut self) {
        self.table.take_back(self.page);
        self.record.figures.deferred_frames -= 1;
        self.record.figures.count_mapped(1);
    }

    /// Maps a new frame, because an absent page was written, and those ahead that its run has
    /// earned. Returns pages that have to be demoted.
    pub(super) fn give_frame(
        self,
        original: Option<PhysFrame>,
        limit_pages: u16,
    ) -> Result<Option<PageRange>, Shortage> {
        let mut commit = self.reach_level1()?;
        commit.fill(original)?;
        let ahead_pages = commit.record.follow_run(commit.page, limit_pages);
        Ok(if ahead_pages > 0 { commit.fill_ahead(ahead_pages) } else { None })
    }

    /// Replaces a shared frame by a new one, because the page was written. The TLB may still
    /// translate to the shared one.
    pub(super) fn replace_shared(mut self, original: Option<PhysFrame>) -> Result<(), Shortage> {
        self.fill(original)?;
        self.env.platform.flush(self.page);
        self.env.cpus.record_change(self.record.account.seat(), &self.env.platform);
        Ok(())
    }

    /// The same page with its level-1 table, which is made if it does not exist.
    fn reach_level1(self) -> Result<Self, Shortage> {
        if self.table.level() == PageTableLevel::One {
            return Ok(self);
        }
        let Self { page, record, table, env } = self;
        let supply = env.supply(Some(&record.account));
        let made = &mut record.figures.table_frames;
        let table = table.reach(page, PageTableLevel::One, || supply.take().inspect(|_| *made += 1))?;
        Ok(Self { page, record, table, env })
    }

    /// Maps a new frame: a copy of the page's original, or zeros.
    fn fill(&mut self, original: Option<PhysFrame>) -> Result<(), Shortage> {
        let supply = self.env.supply(Some(&self.record.account));
        match original {
            None => self.table.put(self.page, supply.take()?),
            Some(original) => {
                let mut copy = supply.take_to_overwrite()?;
                // SAFETY: a frame of an image is never written, and the region keeps the image
                // alive.
                unsafe { supply.memory.copy(original, &mut copy) };
                self.table.put_copy(self.page, copy);
            }
        }
        self.record.figures.count_mapped(1);
        Ok(())
    }

    /// Commits up to `count` absent pages after this one.
    ///
    /// Returns pages that were committed ahead before and are not recorded any more. The caller
    /// must demote them.
    #[inline(never)]
    pub(super) fn fill_ahead(mut self, count: u64) -> Option<PageRange> {
        let start = page_after(self.page, 1);
        let table_end = entry_end(self.page, PageTableLevel::Two);
        let end = page_after(start, count).min(self.record.usable_end()).min(table_end);
        let end = self.record.next_original(start, end);
        let supply = self.env.supply(Some(&self.record.account));
        let frames = self.table.put_ahead(Page::range(start, end), |most, put| supply.take_up_to(most, put));
        if frames == 0 {
            return None;
        }
        let pages = PageRange { start, end: page_after(start, frames) };
        self.record.run.record_ahead(pages);
        self.record.figures.count_mapped(frames);
        self.record.ahead.add(pages)
    }
}
