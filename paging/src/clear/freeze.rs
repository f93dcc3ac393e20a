//! Moving the frames of a region out of its tables, for an image.
//!
//! A freeze finds the pages that own a frame, prepares an image for them, and then takes the frames
//! out. It does so with a sweep, like a clear: the pages are absent afterwards, and the tables that
//! this empties are released. What can fail comes before the sweep.

use alloc::vec::Vec;

use x86_64::structures::paging::Page;
use x86_64::structures::paging::page::PageRange;
use x86_64::structures::paging::page_table::PageTableLevel;

use crate::frame::Frame;
use crate::pages::{count, page_after, pages_per_table};
use crate::platform::Platform;
use crate::record::CLUSTER_PAGES;
use crate::state::Mapping;
use crate::table::{PageBits, Sweep};

/// The number of pages that are examined together: those of a level-1 table, in a region that has
/// one to itself.
const BLOCK_PAGES: u64 = pages_per_table(PageTableLevel::One);

impl<P: Platform> Mapping<'_, P> {
    /// Finds the first page from the one with number `from` on that owns a frame within the CPU's
    /// reach. `from` is a multiple of 512.
    ///
    /// Returns the number of the first of the 512 pages that it is one of, and a bit for each of
    /// these that owns a frame.
    pub(crate) fn next_owned(&mut self, from: u64) -> Option<(u64, PageBits)> {
        let pages = self.record.pages;
        let rest = Page::range(page_after(pages.start, from.min(count(pages))), pages.end);
        let found = self.tables.first_owned(rest)? - pages.start;
        let first = found - found % BLOCK_PAGES;
        // A small region is in the middle of a table that it shares. A larger one starts with one.
        let block = self.block(first);
        let bits = self.tables.level1(block.start)?.owned_bits(block);
        Some((first, bits))
    }

    /// Finds the first 512 pages from number `from` on, a multiple of 512, that have an owned page,
    /// or one of an image that was cleared.
    ///
    /// Returns the number of the first of them, and a bit for each of them that was written, or was
    /// cleared and had an image.
    pub(crate) fn next_written(&mut self, from: u64) -> Option<(u64, PageBits)> {
        let owned = self.next_owned(from).map(|(first, _)| first);
        let image = self.record.image.as_ref();
        let cleared =
            image.and_then(|image| image.next_forgotten(from)).map(|page| page - page % BLOCK_PAGES);
        let first = [owned, cleared].into_iter().flatten().min()?;
        let block = self.block(first);
        let table = self.tables.level1(block.start);
        let mut bits = table.map_or_else(PageBits::default, |mut table| table.written_bits(block));
        if let Some(image) = &self.record.image {
            let clusters = first / CLUSTER_PAGES..;
            bits.iter_mut().zip(clusters).for_each(|(bits, cluster)| *bits |= image.forgotten_in(cluster));
        }
        Some((first, bits))
    }

    /// The 512 pages of the region from this number on, or those that it has.
    fn block(&self, first: u64) -> PageRange {
        let pages = self.record.pages;
        let start = page_after(pages.start, first);
        Page::range(start, page_after(start, BLOCK_PAGES).min(pages.end))
    }

    /// Makes the pages absent, and moves their frames to `frames`, in the order of the pages and
    /// within the capacity. The account is not charged for them any more, but a reserved one keeps
    /// what it is charged for, which the caller has reserved again.
    ///
    /// No page is deferred or was committed ahead, so all frames were written.
    pub(crate) fn take_frames(&mut self, pages: PageRange, frames: &mut Vec<Frame>) {
        debug_assert!(self.record.figures.deferred_frames == 0 && self.record.ahead.is_empty());
        let before = frames.len();
        self.sweep_with(Sweep::Everything, pages, |_, run| {
            debug_assert!((frames.capacity() - frames.len()) as u64 >= run.len());
            frames.extend(run);
        });
        self.supply().unhold((frames.len() - before) as u64);
    }
}
