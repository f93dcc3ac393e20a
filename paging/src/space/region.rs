//! A region: the virtual range of one linear memory.
//!
//! It hands out addresses and never references. Code that dereferences them must stay below the
//! limit, and must not do so while a zero-fill guard is up. Methods that change pages take `&mut
//! self`, so that the owner of a region can keep its references and the changes apart.
//!
//! Invariant: the region's shard has its record for as long as the region lives. The fault path
//! works on the record, and never on the region.

mod clear;
mod cleared;
mod error;
mod freeze;
mod limit;
mod written;
mod zero_fill;

use alloc::sync::Arc;
use core::fmt;

use x86_64::VirtAddr;
use x86_64::structures::paging::page::PageRange;
use x86_64::structures::paging::{Page, PageSize, Size4KiB};

use self::cleared::ClearedPages;
pub use self::error::{LimitError, RangeError};
pub use self::freeze::Frozen;
pub use self::zero_fill::ZeroFill;
use super::{AddressSpace, AttachError, Image};
use crate::clear::ALL_CPUS;
use crate::pages::PAGE_BYTES;
use crate::platform::Platform;
use crate::record::{Attached, Residency};
use crate::state::{Mapping, Shard};
use crate::table::Sweep;

/// A reserved range of virtual addresses, whose pages get a frame when they are first written.
///
/// Dropping it releases every data and table frame, and the addresses. Forgetting it leaks them. It
/// may be dropped on any CPU, which need not [enter](AddressSpace::enter) before.
pub struct Region<'a, P: Platform> {
    space: &'a AddressSpace<P>,
    shard: &'a Shard,
    pages: PageRange,
    /// Kept alive for the region's pages, which may show its frames.
    image: Option<Arc<Image<'a, P>>>,
    /// The pages that were cleared since the mark, if one was made since the last freeze.
    cleared: Option<ClearedPages>,
}

impl<'a, P: Platform> Region<'a, P> {
    pub(super) const fn new(space: &'a AddressSpace<P>, shard: &'a Shard, pages: PageRange) -> Self {
        Self { space, shard, pages, image: None, cleared: None }
    }

    /// The region's first address, which does not change.
    #[must_use]
    pub fn base(&self) -> VirtAddr {
        self.pages.start.start_address()
    }

    /// The largest limit in bytes: what was reserved, rounded up to whole pages.
    #[must_use]
    pub fn capacity_bytes(&self) -> u64 {
        self.pages.size()
    }

    /// All pages of the region, usable or not.
    #[must_use]
    pub const fn pages(&self) -> PageRange {
        self.pages
    }

    /// Promises that only zeros are written to `pages` until the guard is dropped, and only where
    /// they read as zero already.
    ///
    /// Until then a write to a page without a frame commits none. The fault handler steps over the
    /// fill, or leads it into the sink, and the pages still read as zero and hold no frame
    /// afterwards. The sink may cover absent pages nearby as well. So nothing else may be written
    /// to the region meanwhile, because it could be lost. Frames of deferred pages are released
    /// when the guard goes up.
    ///
    /// # Errors
    ///
    /// As for [`decommit`](Self::decommit).
    pub fn zero_fill(&mut self, pages: PageRange) -> Result<ZeroFill<'_, 'a, P>, RangeError> {
        self.check(pages)?;
        Ok(ZeroFill::begin(self, pages))
    }

    /// Gives the pages of an image its bytes, in place of their content. Other pages stay as they
    /// are.
    ///
    /// It takes no frame. A read of such a page shows the image's frame, and a write makes a copy.
    /// A page that is cleared afterwards reads as zero.
    ///
    /// # Errors
    ///
    /// - [`AttachError::OtherSpace`]: the image was made by another address space.
    /// - [`AttachError::BeyondLimit`]: the image ends beyond the region's limit.
    /// - [`AttachError::Attached`]: the region has an image already.
    ///
    /// Nothing has changed after an error.
    pub fn attach(&mut self, image: &Arc<Image<'a, P>>) -> Result<(), AttachError> {
        if !image.is_of(self.space) {
            return Err(AttachError::OtherSpace);
        }
        if self.image.is_some() {
            return Err(AttachError::Attached);
        }
        let image_bytes = image.end_bytes();
        let limit_bytes = self.limit_bytes();
        if image_bytes > limit_bytes.next_multiple_of(Size4KiB::SIZE) {
            return Err(AttachError::BeyondLimit { image_bytes, limit_bytes });
        }
        let attached = Attached::new(image.originals());
        let start = self.pages.start;
        let extent = Page::range(start, start + image_bytes / PAGE_BYTES);
        self.record_cleared(extent);
        self.with_mapping(|mut mapping| {
            if mapping.tables.is_used(extent) {
                for page in image.pages(start) {
                    mapping.sweep(Sweep::Everything, Page::range(page, page + 1));
                }
            }
            mapping.record.image = Some(attached);
        });
        self.image = Some(Arc::clone(image));
        Ok(())
    }

    /// Returns the region's frames, and counts of its faults and releases.
    ///
    /// It takes time for the pages that were committed ahead, because it reads their dirty bits.
    #[must_use]
    pub fn residency(&self) -> Residency {
        self.with_mapping(|mut mapping| mapping.residency())
    }

    fn check(&self, pages: PageRange) -> Result<(), RangeError> {
        if pages.start > pages.end {
            return Err(RangeError::Backwards { start: pages.start, end: pages.end });
        }
        if pages.start < self.pages.start || pages.end > self.pages.end {
            return Err(RangeError::Outside { start: pages.start, end: pages.end, region: self.pages });
        }
        Ok(())
    }

    /// As [`check`](Self::check), for pages that are cleared next.
    fn check_to_clear(&mut self, pages: PageRange) -> Result<(), RangeError> {
        self.check(pages)?;
        self.record_cleared(pages);
        Ok(())
    }

    /// Records that the content of pages changes without a write, for
    /// [`each_written_since_mark`](Self::each_written_since_mark).
    #[inline]
    fn record_cleared(&mut self, pages: PageRange) {
        if let Some(cleared) = &mut self.cleared {
            cleared.add(pages);
        }
    }

    /// Recalls the sinks, so that no page of the region leads to one until it is touched.
    fn recall_sinks(&self) {
        self.with_recalled(|_| ());
    }

    /// Runs `work` on the region's mapping after it has recalled the sinks, so that no page of the
    /// region leads to one.
    fn with_recalled<R>(&self, work: impl FnOnce(Mapping<'_, P>) -> R) -> R {
        let env = &self.space.env;
        env.lock(self.shard, |state| {
            let mut mapping = state.mapping(self.base(), &env.platform).expect(HAS_RECORD);
            mapping.recall_sinks(ALL_CPUS, env);
            work(mapping)
        })
    }

    /// Runs `work` on parts of the pages, in ascending order, each of which has about `most_frames`
    /// frames. The lock is released after each.
    ///
    /// Never inlined, because a clear of few pages is one batch and does not call it.
    ///
    /// Nothing else changes the region's pages between two parts, except that frames of deferred
    /// pages, and of pages that were committed ahead, may be reclaimed.
    #[inline(never)]
    fn in_batches(
        &self,
        pages: PageRange,
        most_frames: u64,
        mut work: impl FnMut(&mut Mapping<'_, P>, PageRange),
    ) {
        let mut rest = pages;
        loop {
            self.with_mapping(|mut mapping| {
                let end = mapping.batch_end(rest, most_frames);
                work(&mut mapping, Page::range(rest.start, end));
                rest.start = end;
            });
            if rest.is_empty() {
                return;
            }
        }
    }

    fn with_mapping<R>(&self, work: impl FnOnce(Mapping<'_, P>) -> R) -> R {
        let env = &self.space.env;
        env.lock(self.shard, |state| work(state.mapping(self.base(), &env.platform).expect(HAS_RECORD)))
    }
}

/// The number of frames that are released with the lock held.
pub(super) const RELEASE_BATCH: u64 = 8192;

/// The number of frames that are zeroed or exchanged with the lock held.
const ZERO_BATCH: u64 = 512;

/// Why a shard has a record for each of its regions.
const HAS_RECORD: &str = "a region has a record for as long as it lives";

impl<P: Platform> Drop for Region<'_, P> {
    fn drop(&mut self) {
        self.space.end_region(self.shard, self.base());
    }
}

impl<P: Platform> fmt::Debug for Region<'_, P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Region").field("pages", &self.pages).finish_non_exhaustive()
    }
}
