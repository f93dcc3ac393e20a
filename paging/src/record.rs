//! The state of each region apart from its page tables, and the addresses of regions.
//!
//! A [`Record`] lives as long as its region. [`Records`] finds the one of an address among those of
//! a shard, and the [`Placement`] hands out addresses.

mod ahead;
mod bundle;
mod image;
mod originals;
mod past;
mod placement;
mod records;
mod residency;
mod run;
mod shares;

use alloc::sync::Arc;
use core::mem;

use x86_64::VirtAddr;
use x86_64::structures::paging::page::PageRange;
use x86_64::structures::paging::{Page, PhysFrame};

use self::ahead::Ahead;
pub(crate) use self::bundle::{
    BUNDLE_CLUSTERS, BUNDLE_PAGES, Bundle, BundleBits, Vacancies, place_in_bundle,
};
pub(crate) use self::image::{Attached, words};
pub(crate) use self::originals::{CLUSTER_PAGES, Originals, Placed, each_bit, ones};
pub(crate) use self::placement::{Block, Placement};
pub(crate) use self::records::Records;
pub(crate) use self::residency::Figures;
pub use self::residency::Residency;
pub(crate) use self::run::Run;
pub(crate) use self::shares::{Room, Share, Shares};
use crate::pages::{PAGE_BYTES, count, hull, page_after};
use crate::supply::Account;

/// The state of one region, apart from its page tables.
///
/// Every fault writes to it. The alignment keeps the records of two regions, which two CPUs may use
/// at the same time, out of the same cache line, and out of the same pair of lines, because some
/// CPUs fetch pairs. The same is true of a shard.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Record {
    pub(crate) block: Block,
    /// The pages of the region, which start with those of the block.
    pub(crate) pages: PageRange,
    limit_bytes: u64,
    /// The first page after the limit, which is rounded up to a page.
    usable_end: Page,
    /// The pages that the zero-fill guard covers. There are none while it is down.
    pub(crate) filling: PageRange,
    /// A range that covers all deferred pages.
    pub(crate) deferred: PageRange,
    /// The pages that were committed ahead, and maybe never written.
    pub(crate) ahead: Ahead,
    /// The recent first writes.
    pub(crate) run: Run,
    /// The content that the region started with, unless that is zeros.
    pub(crate) image: Option<Attached>,
    pub(crate) account: Arc<Account>,
    /// Whether the region ends, so that none of its tables is needed again.
    pub(crate) is_ending: bool,
    /// Frames that a reserved account is charged for beyond [`most_frames`](Self::most_frames), for
    /// tables above a limit that was lowered, which other CPUs may cache.
    pub(crate) surplus_frames: u64,
    /// The CPUs whose sinks entries of the region may lead to, a bit for each.
    pub(crate) sinks: u64,
    pub(crate) figures: Figures,
}

impl Record {
    /// A region that uses the first `capacity_pages` pages of its block, with a limit of zero.
    pub(crate) fn new(block: Block, capacity_pages: u64, account: Arc<Account>) -> Self {
        let start = block.pages().start;
        Self {
            block,
            pages: Page::range(start, start + capacity_pages),
            limit_bytes: 0,
            usable_end: start,
            filling: Page::range(start, start),
            deferred: Page::range(start, start),
            ahead: Ahead::default(),
            run: Run::new(start),
            image: None,
            account,
            is_ending: false,
            surplus_frames: 0,
            sinks: 0,
            figures: Figures::default(),
        }
    }

    pub(crate) fn base(&self) -> VirtAddr {
        self.pages.start.start_address()
    }

    pub(crate) const fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    /// Sets the limit, which is at most the capacity, and returns the one before.
    pub(crate) fn set_limit(&mut self, bytes: u64) -> u64 {
        self.usable_end = page_after(self.pages.start, bytes.div_ceil(PAGE_BYTES));
        mem::replace(&mut self.limit_bytes, bytes)
    }

    /// The first page after the limit.
    pub(crate) const fn usable_end(&self) -> Page {
        self.usable_end
    }

    /// The most frames that the pages up to the limit can need, tables included.
    pub(crate) fn most_frames(&self) -> u64 {
        let pages = count(Page::range(self.pages.start, self.usable_end));
        pages + self.block.most_tables(pages)
    }

    /// Records a first write to the page, and returns how many pages after it are worth committing.
    #[inline(always)]
    pub(crate) fn follow_run(&mut self, page: Page, limit_pages: u16) -> u64 {
        self.run.record_write(page, limit_pages, self.figures.frames_released)
    }

    #[inline]
    fn contains(&self, address: VirtAddr) -> bool {
        self.pages.start.start_address() <= address && address < self.pages.end.start_address()
    }

    /// Records that so many mapped pages of this range became deferred.
    pub(crate) fn record_deferred(&mut self, pages: PageRange, frames: u64) {
        if self.figures.deferred_frames == 0 {
            self.deferred = pages;
        } else if frames > 0 {
            self.deferred = hull(self.deferred, pages);
        }
        self.figures.mapped_frames -= frames;
        self.figures.deferred_frames += frames;
    }

    /// The frame of the image that the page shows while it owns none. Without such a frame the page
    /// reads as zero.
    #[inline]
    pub(crate) fn original(&self, page: Page) -> Option<PhysFrame> {
        self.image.as_ref()?.original(page - self.pages.start)
    }

    /// The first page from this one on, and before `end`, that has an original. `end` if there is
    /// none.
    #[inline]
    pub(crate) fn next_original(&self, page: Page, end: Page) -> Page {
        let next = self.image.as_ref().and_then(|image| image.next(page - self.pages.start));
        next.map_or(end, |number| end.min(self.pages.start + number))
    }

    /// Makes pages read as zero, from now on, while they own no frame.
    pub(crate) fn forget_image(&mut self, pages: PageRange) {
        let start = self.pages.start;
        if let Some(image) = &mut self.image {
            image.forget(pages.start - start..pages.end.max(pages.start) - start);
        }
    }

    /// Records the pages that the zero-fill guard covers, and returns whether the region has
    /// deferred pages.
    pub(crate) const fn begin_filling(&mut self, pages: PageRange) -> bool {
        self.filling = pages;
        self.figures.deferred_frames > 0
    }

    /// Whether the zero-fill guard covers the page.
    #[inline]
    pub(crate) fn is_filling(&self, page: Page) -> bool {
        self.filling.start <= page && page < self.filling.end
    }
}
