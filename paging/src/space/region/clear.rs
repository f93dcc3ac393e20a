//! The four ways to clear pages of a region: decommit, recommit, zero in place, defer.
//!
//! After each of them every byte of the range reads as zero until it is written, the pages stay usable, and
//! nothing outside of the range has changed. They differ in what becomes of the frames, and when. None of
//! them can fail once the range is valid, and each takes time for what is present, not for what is absent.
//!
//! If the account is lost, all four drop what went into the sink, maybe of pages beside the range too; the
//! account stays lost. Called by: the owner of the region.

use x86_64::structures::paging::page::PageRange;

use super::{RangeError, Region};
use crate::clear::{Decommitted, Recommitted};
use crate::platform::Platform;
use crate::state::Mapping;
use crate::table::Sweep;

impl<P: Platform> Region<'_, P> {
    /// Takes pages back to what they were before they were touched: no frame behind them, and reading as
    /// zero.
    ///
    /// Every data frame of the pages, and every table frame that this empties, is back in the frame source
    /// when the call returns. It takes time for what is present, not for what is absent, and cannot fail once
    /// the range is valid. The pages stay usable.
    ///
    /// # Errors
    ///
    /// - [`RangeError::Outside`]: the range is not inside of the region.
    /// - [`RangeError::Backwards`]: the range ends before it starts.
    ///
    /// Nothing has changed then.
    pub fn decommit(&mut self, pages: PageRange) -> Result<Decommitted, RangeError> {
        self.check(pages)?;
        Ok(self.with_mapping(|mut mapping| {
            mapping.record.forget_image(pages);
            mapping.sweep(Sweep::Everything, pages)
        }))
    }

    /// Gives each resident page a fresh frame of zeros, so that a later touch does not fault.
    ///
    /// The old frames are back in the frame source when the call returns. Where the source has no fresh frame
    /// the old one is zeroed in place and stays, so a page that is resident stays resident. The exchange is
    /// made in batches of up to 32 frames, which are all that is taken beyond what the region holds; they are
    /// not charged, so it works at the account's cap too. Pages that are absent or deferred stay so.
    ///
    /// # Errors
    ///
    /// As for [`decommit`](Self::decommit).
    pub fn recommit(&mut self, pages: PageRange) -> Result<Recommitted, RangeError> {
        self.check(pages)?;
        Ok(self.with_recalled(|mut mapping| {
            unshare(pages, &mut mapping);
            mapping.recommit(pages)
        }))
    }

    /// Fills the resident frames of the pages with zeros where they are, and tells how many there are.
    ///
    /// All of them stay mapped, and nothing is flushed but pages that show an image. Pages that are absent or deferred
    /// stay so.
    ///
    /// # Errors
    ///
    /// As for [`decommit`](Self::decommit).
    pub fn zero_in_place(&mut self, pages: PageRange) -> Result<u64, RangeError> {
        self.check(pages)?;
        Ok(self.with_recalled(|mut mapping| {
            unshare(pages, &mut mapping);
            mapping.zero_in_place(pages)
        }))
    }

    /// Unmaps the resident frames of the pages and keeps them for later, and tells how many there are.
    ///
    /// It costs a flush, and neither zeroes nor releases anything. A touch takes the page back: its frame is
    /// zeroed and mapped again, which needs no other frame. Until then [`reclaim`](Self::reclaim), the
    /// space's [`reclaim`](crate::AddressSpace::reclaim) or a fault that finds no frame may release it; and
    /// until then the account holds it.
    ///
    /// # Errors
    ///
    /// As for [`decommit`](Self::decommit).
    pub fn defer(&mut self, pages: PageRange) -> Result<u64, RangeError> {
        self.check(pages)?;
        Ok(self.with_recalled(|mut mapping| {
            unshare(pages, &mut mapping);
            mapping.defer(pages)
        }))
    }

    /// Releases up to `budget_frames` frames of deferred pages, from the lowest page on, and the tables that
    /// this empties.
    ///
    /// It walks the tables of that part of the region only in which there are deferred pages.
    pub fn reclaim(&mut self, budget_frames: u64) -> Decommitted {
        self.with_mapping(|mut mapping| mapping.reclaim(budget_frames))
    }
}

/// Makes pages without a frame of their own read as zero, whatever the region started with there.
fn unshare<P: Platform>(pages: PageRange, mapping: &mut Mapping<'_, P>) {
    if mapping.record.image.is_some() {
        mapping.record.forget_image(pages);
        mapping.sweep(Sweep::Shared, pages);
    }
}
