//! Looking at a region 512 pages at a time: which of them were written, cleared or used.
//!
//! These pages are those of a level-1 table, or all pages of a region that is smaller. A search
//! passes over tables that do not exist, so it takes time for those that do. It uses no heap, and
//! the lock is held for one table at a time.

use x86_64::structures::paging::Page;
use x86_64::structures::paging::page::PageRange;
use x86_64::structures::paging::page_table::PageTableLevel;

use crate::pages::{count, page_after, pages_per_table};
use crate::platform::Platform;
use crate::record::CLUSTER_PAGES;
use crate::state::Mapping;
use crate::table::{PageBits, Table};
use crate::tlb::FlushBatch;

/// The number of pages that are looked at together.
const BLOCK_PAGES: u64 = pages_per_table(PageTableLevel::One);

/// The number of the first page of a block, counted from the region's first one, and a bit for each
/// page of the block.
pub(crate) type Block = (u64, PageBits);

/// In all methods `from` is the number of a page, a multiple of [`BLOCK_PAGES`], at which the
/// search starts.
impl<P: Platform> Mapping<'_, P> {
    /// Returns the first block with a table, and the pages that own a frame within the CPU's reach,
    /// if there are any.
    pub(crate) fn next_owned(&mut self, from: u64) -> Option<Block> {
        let found = self.tables.first_level1(self.rest(from))?;
        self.look_at(found, |table, pages| table.owned_bits(pages))
    }

    /// Returns the first block with pages that own a frame, or that the image has and that were
    /// cleared. Of its pages, returns those that were written or cleared.
    pub(crate) fn next_written(&mut self, from: u64) -> Option<Block> {
        let start = self.record.pages.start;
        let owned = self.tables.first_owned(self.rest(from)).map(|page| page - start);
        let image = self.record.image.as_ref();
        // A limit that was lowered has cleared what the image has beyond.
        let usable_pages = self.record.usable_end() - start;
        let cleared = image.and_then(|image| image.next_forgotten(from)).filter(|page| *page < usable_pages);
        let found = page_after(start, [owned, cleared].into_iter().flatten().min()?);
        let (first, mut bits) = self.look_at(found, |table, pages| table.written_bits(pages))?;
        if let Some(image) = &self.record.image {
            let clusters = first / CLUSTER_PAGES..;
            bits.iter_mut().zip(clusters).for_each(|(bits, cluster)| {
                *bits |= image.forgotten_in(cluster) & below(usable_pages, cluster);
            });
        }
        Some((first, bits))
    }

    /// Returns the first block with pages that own a frame. Of its pages, returns those that were
    /// written since their use was forgotten.
    pub(crate) fn next_dirty(&mut self, from: u64) -> Option<Block> {
        let found = self.tables.first_owned(self.rest(from))?;
        self.look_at(found, |table, pages| table.dirty_bits(pages))
    }

    /// Returns the first block with pages that are not absent. Of its pages, returns those that
    /// were read or written since their use was forgotten.
    pub(crate) fn next_accessed(&mut self, from: u64) -> Option<Block> {
        let found = self.tables.first_used(self.rest(from))?;
        self.look_at(found, |table, pages| table.accessed_bits(pages))
    }

    /// Forgets which of the pages were used.
    pub(crate) fn forget_use(&mut self, pages: PageRange) {
        let mut batch = FlushBatch::new();
        self.tables.each_level1(pages, |table, piece| table.forget_use(piece, &mut batch));
        batch.flush(self.platform);
        self.tables.cpus().record_change(self.record.account.seat(), self.platform);
    }

    /// The pages from this number on.
    fn rest(&self, from: u64) -> PageRange {
        let pages = self.record.pages;
        Page::range(page_after(pages.start, from.min(count(pages))), pages.end)
    }

    /// The block of a page, with the bits that `look` finds in its table, or none without a table.
    fn look_at(
        &mut self,
        page: Page,
        look: impl FnOnce(&mut Table<'_>, PageRange) -> PageBits,
    ) -> Option<Block> {
        let pages = self.record.pages;
        let number = page - pages.start;
        let first = number - number % BLOCK_PAGES;
        // A small region may start in the middle of a table. A larger one starts with one.
        let start = page_after(pages.start, first);
        let block = Page::range(start, page_after(start, BLOCK_PAGES).min(pages.end));
        let bits = self.tables.level1(page).map(|mut table| look(&mut table, block));
        Some((first, bits.unwrap_or_default()))
    }
}

/// The bits of those pages of a cluster whose numbers are below `end`.
fn below(end: u64, cluster: u64) -> u64 {
    match end.saturating_sub(cluster * CLUSTER_PAGES) {
        pages @ 0..CLUSTER_PAGES => (1 << pages) - 1,
        _ => u64::MAX,
    }
}
