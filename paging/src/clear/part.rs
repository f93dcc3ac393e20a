//! Zeroing a part of a page.

use core::ops::Range;

use x86_64::structures::paging::Page;
use x86_64::structures::paging::page_table::PageTableLevel;

use crate::platform::Platform;
use crate::state::Mapping;

/// What became of a part of a page that was to be zeroed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartCleared {
    /// It was zero already, and nothing has changed.
    WasZero,
    /// It is zero now. The page keeps its frame.
    Zeroed,
    /// Nothing has changed, because the page shows the frame of an image. The caller must write the
    /// zeros, which gives the page a frame.
    Shown,
}

impl<P: Platform> Mapping<'_, P> {
    /// Zeroes these bytes of a page, in place. The sink was recalled before.
    pub(crate) fn zero_part(&mut self, page: Page, part: Range<usize>) -> PartCleared {
        let mut table = self.tables.descend(page, PageTableLevel::One);
        if let Some(mut resident) = table.resident(page) {
            return if resident.zero_part(part) { PartCleared::Zeroed } else { PartCleared::WasZero };
        }
        // The page is deferred, absent, or shows a shared frame.
        match self.record.original(page) {
            Some(_) => PartCleared::Shown,
            None => PartCleared::WasZero,
        }
    }
}
