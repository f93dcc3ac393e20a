//! What a space knows of its regions.
//!
//! A [`Record`] lives as long as its region. The [`Directory`] finds the record of an address, and the [`Placement`]
//! hands out the addresses.

mod directory;
mod image;
mod placement;
mod residency;
mod run;

use alloc::sync::Arc;
use core::mem;

use x86_64::VirtAddr;
use x86_64::structures::paging::page::PageRange;
use x86_64::structures::paging::{Page, PhysFrame};

pub(crate) use self::directory::Directory;
pub(crate) use self::image::{Attached, Originals};
pub(crate) use self::placement::{Block, Placement};
pub(crate) use self::residency::Figures;
pub use self::residency::Residency;
pub(crate) use self::run::Run;
use crate::pages::{PAGE_BYTES, count, hull, page_after};
use crate::supply::Account;

/// What the space knows about one region.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) block: Block,
    /// The pages that the region can use, from the block's first one on.
    pub(crate) pages: PageRange,
    limit_bytes: u64,
    /// The page behind the limit, which is rounded up to a page.
    usable_end: Page,
    /// The pages that the zero-fill guard covers, while it is up.
    pub(crate) filling: Option<PageRange>,
    /// Where deferred pages are, if there are any.
    pub(crate) deferred: PageRange,
    /// Where pages are that were committed ahead, if there are any.
    pub(crate) ahead: PageRange,
    /// The first writes of late.
    pub(crate) run: Run,
    /// What the region starts with, if that is not zeros.
    pub(crate) image: Option<Attached>,
    pub(crate) account: Arc<Account>,
    pub(crate) figures: Figures,
}

impl Record {
    /// The record of a region that uses the first `capacity_pages` pages of its block, with a limit of zero.
    pub(crate) fn new(block: Block, capacity_pages: u64, account: Arc<Account>) -> Self {
        let start = block.pages().start;
        let nothing = Page::range(start, start);
        Self {
            block,
            pages: Page::range(start, start + capacity_pages),
            limit_bytes: 0,
            usable_end: start,
            filling: None,
            deferred: nothing,
            ahead: nothing,
            run: Run::new(start),
            image: None,
            account,
            figures: Figures::default(),
        }
    }

    /// An empty range of pages of the region.
    pub(crate) fn nothing(&self) -> PageRange {
        Page::range(self.pages.start, self.pages.start)
    }

    pub(crate) fn base(&self) -> VirtAddr {
        self.pages.start.start_address()
    }

    pub(crate) const fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    /// Sets the limit, which is at most the capacity, and tells what it was.
    pub(crate) fn set_limit(&mut self, bytes: u64) -> u64 {
        self.usable_end = page_after(self.pages.start, bytes.div_ceil(PAGE_BYTES));
        mem::replace(&mut self.limit_bytes, bytes)
    }

    /// The page behind the limit.
    pub(crate) const fn usable_end(&self) -> Page {
        self.usable_end
    }

    /// Frames of a reserved account that the pages up to the limit can come to hold, tables included.
    pub(crate) fn most_frames(&self) -> u64 {
        let pages = count(Page::range(self.pages.start, self.usable_end));
        pages + self.block.most_tables(pages)
    }

    /// Records a first write to the page, and returns how many pages after it are worth committing.
    #[inline(always)]
    pub(crate) fn follow_run(&mut self, page: Page, limit_pages: u16) -> u64 {
        self.run.note(page, limit_pages, self.figures.frames_released)
    }

    #[inline]
    fn contains(&self, address: VirtAddr) -> bool {
        self.pages.start.start_address() <= address && address < self.pages.end.start_address()
    }

    /// Records where pages are that were committed ahead.
    pub(crate) fn note_ahead(&mut self, pages: PageRange) {
        self.ahead = hull(self.ahead, pages);
    }

    /// Records that so many pages of this range were mapped and are deferred now.
    pub(crate) fn note_deferred(&mut self, pages: PageRange, frames: u64) {
        if self.figures.deferred_frames == 0 {
            self.deferred = pages;
        } else if frames > 0 {
            self.deferred = hull(self.deferred, pages);
        }
        self.figures.mapped_frames -= frames;
        self.figures.deferred_frames += frames;
    }

    /// The frame of an image that the page reads as while it has none of its own; without one it reads as zero.
    #[inline]
    pub(crate) fn original(&self, page: Page) -> Option<PhysFrame> {
        self.image.as_ref()?.original(page - self.pages.start)
    }

    /// The first page from this one on that does not read as zero while it has no frame of its own, or `end` if there
    /// is none before that.
    #[inline]
    pub(crate) fn next_original(&self, page: Page, end: Page) -> Page {
        let next = self.image.as_ref().and_then(|image| image.next(page - self.pages.start));
        next.map_or(end, |number| end.min(self.pages.start + number))
    }

    /// Lets pages read as zero from now on while they have no frame of their own.
    pub(crate) fn forget_image(&mut self, pages: PageRange) {
        let start = self.pages.start;
        if let Some(image) = &mut self.image {
            image.forget(pages.start - start..pages.end.max(pages.start) - start);
        }
    }

    /// The pages that are being filled with zeros, if this page is one of them.
    #[inline]
    pub(crate) fn filling_at(&self, page: Page) -> Option<PageRange> {
        self.filling.filter(|pages| pages.start <= page && page < pages.end)
    }
}
