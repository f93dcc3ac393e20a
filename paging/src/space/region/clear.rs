//! The four ways to clear pages of a region: decommit, recommit, zero in place, defer.
//!
//! After each of them every byte of the range reads as zero until it is written, the pages stay
//! usable, and nothing outside of the range has changed. They differ in what happens to the frames,
//! and when. None of them can fail once the range is valid. Each takes time for the entries that
//! exist, not for the pages of the range, and holds the lock of the shard for a bounded number of
//! frames at a time.
//!
//! If the account is lost, all four also drop what went into the sink, which may belong to pages
//! outside of the range. The account stays lost.

use core::ops::Range;

use x86_64::structures::paging::Page;
use x86_64::structures::paging::page::PageRange;

use super::super::pressure::reclaim;
use super::{RELEASE_BATCH, RangeError, Region, ZERO_BATCH};
use crate::clear::{Decommitted, PartCleared, Recommitted};
use crate::pages::{PAGE_LEN, count};
use crate::platform::Platform;
use crate::state::Mapping;
use crate::table::Sweep;

impl<P: Platform> Region<'_, P> {
    /// Makes pages absent, so that they read as zero and hold no frame.
    ///
    /// When the call returns, every data frame of the pages, and every table that this has emptied,
    /// is back in the frame source. The pages stay usable.
    ///
    /// # Errors
    ///
    /// - [`RangeError::Outside`]: the range is not inside of the region.
    /// - [`RangeError::Backwards`]: the range ends before it starts.
    ///
    /// Nothing has changed after an error.
    pub fn decommit(&mut self, pages: PageRange) -> Result<Decommitted, RangeError> {
        self.check_to_clear(pages)?;
        if count(pages) <= RELEASE_BATCH {
            return Ok(self.with_mapping(|mut mapping| release(pages, &mut mapping)));
        }
        let mut released = Decommitted::default();
        self.in_batches(pages, RELEASE_BATCH, |mapping, pages| released += release(pages, mapping));
        Ok(released)
    }

    /// Replaces the frame of each resident page by a fresh frame of zeros, so that a later touch
    /// does not fault.
    ///
    /// When the call returns, the old frames are back in the frame source. If the source has no
    /// fresh frame, the old one is zeroed in place and stays. So a resident page stays resident.
    /// Frames are exchanged in batches of up to 32, so no more than 32 are taken beyond what the
    /// region holds. They are not charged, so this works at the account's cap. Pages that are
    /// absent, deferred or ahead stay as they are.
    ///
    /// # Errors
    ///
    /// As for [`decommit`](Self::decommit).
    pub fn recommit(&mut self, pages: PageRange) -> Result<Recommitted, RangeError> {
        self.check_to_clear(pages)?;
        self.recall_sinks();
        let mut recommitted = Recommitted::default();
        self.in_batches(pages, ZERO_BATCH, |mapping, pages| {
            unshare(pages, mapping);
            recommitted += mapping.recommit(pages);
        });
        Ok(recommitted)
    }

    /// Fills the frames of the resident pages with zeros in place, and returns their number.
    ///
    /// All of them stay mapped, and only pages that show an image are flushed. Pages that are
    /// absent, deferred or ahead stay as they are.
    ///
    /// # Errors
    ///
    /// As for [`decommit`](Self::decommit).
    pub fn zero_in_place(&mut self, pages: PageRange) -> Result<u64, RangeError> {
        self.check_to_clear(pages)?;
        self.recall_sinks();
        let mut frames = 0;
        self.in_batches(pages, ZERO_BATCH, |mapping, pages| {
            unshare(pages, mapping);
            frames += mapping.zero_in_place(pages);
        });
        Ok(frames)
    }

    /// Fills a part of a page with zeros, in bytes from the start of the page.
    ///
    /// It takes no frame and causes no page fault, because it writes to the page's frame if there
    /// is one, and a page without one reads as zero. A page that shows an image is an exception: it
    /// needs a frame for the bytes that stay, so it is left to the caller.
    ///
    /// # Errors
    ///
    /// As for [`decommit`](Self::decommit).
    ///
    /// # Panics
    ///
    /// If the part ends beyond the page, or before it starts.
    pub fn zero_part(&mut self, page: Page, part: Range<usize>) -> Result<PartCleared, RangeError> {
        assert!(
            part.start <= part.end && part.end <= PAGE_LEN,
            "bytes {part:?} are not a part of a page, which has {PAGE_LEN}"
        );
        self.check_to_clear(Page::range(page, page + 1))?;
        Ok(self.with_recalled(|mut mapping| mapping.zero_part(page, part)))
    }

    /// Unmaps the frames of the pages and keeps them for later, and returns their number.
    ///
    /// It costs a flush, and neither zeroes nor releases anything. A touch zeroes the page's frame
    /// and maps it again, so it needs no other frame. Before that, [`reclaim`](Self::reclaim), the
    /// space's [`reclaim`](crate::AddressSpace::reclaim), or a fault that finds no frame may
    /// release the frame. The account holds it until then.
    ///
    /// # Errors
    ///
    /// As for [`decommit`](Self::decommit).
    pub fn defer(&mut self, pages: PageRange) -> Result<u64, RangeError> {
        self.check_to_clear(pages)?;
        self.recall_sinks();
        let mut frames = 0;
        self.in_batches(pages, RELEASE_BATCH, |mapping, pages| {
            unshare(pages, mapping);
            frames += mapping.defer(pages);
        });
        Ok(frames)
    }

    /// Returns the first part of the pages that [`decommit`](Self::decommit) or
    /// [`defer`](Self::defer) works on with the lock held once: all of them, or those with about
    /// 8,192 frames. A caller that clears one part after another can do something else in between.
    ///
    /// # Errors
    ///
    /// As for [`decommit`](Self::decommit).
    pub fn first_released(&self, pages: PageRange) -> Result<PageRange, RangeError> {
        self.first_batch(pages, RELEASE_BATCH)
    }

    /// Returns the first part of the pages that [`recommit`](Self::recommit) or
    /// [`zero_in_place`](Self::zero_in_place) works on with the lock held once: all of them, or
    /// those with about 512 frames.
    ///
    /// # Errors
    ///
    /// As for [`decommit`](Self::decommit).
    pub fn first_zeroed(&self, pages: PageRange) -> Result<PageRange, RangeError> {
        self.first_batch(pages, ZERO_BATCH)
    }

    fn first_batch(&self, pages: PageRange, most_frames: u64) -> Result<PageRange, RangeError> {
        self.check(pages)?;
        if count(pages) <= most_frames {
            return Ok(pages);
        }
        let end = self.with_mapping(|mut mapping| mapping.batch_end(pages, most_frames));
        Ok(Page::range(pages.start, end))
    }

    /// Releases up to `budget_frames` frames of deferred pages, from the lowest page on, and the
    /// tables that this empties.
    ///
    /// It walks only the tables of the part of the region that has deferred pages.
    pub fn reclaim(&mut self, budget_frames: u64) -> Decommitted {
        reclaim(budget_frames, |budget_frames| {
            self.with_mapping(|mut mapping| mapping.reclaim_some(budget_frames))
        })
    }
}

/// Makes pages absent, and releases what they owned.
#[inline]
fn release<P: Platform>(pages: PageRange, mapping: &mut Mapping<'_, P>) -> Decommitted {
    mapping.record.forget_image(pages);
    mapping.sweep(Sweep::Everything, pages)
}

/// Makes pages that own no frame read as zero, even where an image has other content.
fn unshare<P: Platform>(pages: PageRange, mapping: &mut Mapping<'_, P>) {
    if mapping.record.image.is_some() {
        mapping.record.forget_image(pages);
        mapping.sweep(Sweep::Shared, pages);
    }
}
