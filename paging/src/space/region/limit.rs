//! The limit of a region: how much of it is usable, and what that costs a reserved account.
//!
//! Invariant: a reserved account is charged for every frame that the pages up to the limit can
//! need, before they can be touched and until they cannot be touched any more.

use x86_64::structures::paging::Page;
use x86_64::structures::paging::page::PageRange;

use super::{LimitError, RELEASE_BATCH, Region, ZeroFill};
use crate::pages::{PAGE_BYTES, page_after};
use crate::platform::Platform;
use crate::state::Mapping;
use crate::table::Sweep;

impl<'a, P: Platform> Region<'a, P> {
    /// The number of usable bytes, from the base on.
    #[must_use]
    pub fn limit_bytes(&self) -> u64 {
        self.with_mapping(|mapping| mapping.record.limit_bytes())
    }

    /// Makes the first `bytes` bytes usable, rounded up to whole pages.
    ///
    /// Raising the limit takes no frame, and the same time for any distance. A reserved account is
    /// charged for the data frames of the new pages and for all tables that they may need, and the
    /// frame source reserves as many. Deferred frames are not free, so they cannot be reserved; see
    /// [`AddressSpace::reclaim`](crate::AddressSpace::reclaim).
    ///
    /// Lowering the limit walks the tables of the pages that are given up. It unmaps shared frames,
    /// and releases deferred frames and frames that were committed ahead. A reserved account is
    /// charged for less.
    ///
    /// # Errors
    ///
    /// - [`LimitError::BeyondCapacity`]: the region has fewer bytes.
    /// - [`LimitError::Resident`]: a page that would be given up was written. Decommit it first.
    /// - [`LimitError::Uncharged`]: the account is reserved, and cannot be charged.
    ///
    /// The limit has not changed after an error.
    pub fn set_limit(&mut self, bytes: u64) -> Result<(), LimitError> {
        self.refuse_beyond_capacity(bytes)?;
        let raised = self.with_mapping(|mut mapping| {
            (bytes >= mapping.record.limit_bytes()).then(|| raise(bytes, &mut mapping))
        });
        if let Some(raised) = raised {
            return raised;
        }
        let (given_up, fewer_frames) = self.with_mapping(|mapping| lower(bytes, mapping))?;
        self.record_cleared(given_up);
        self.in_batches(given_up, RELEASE_BATCH, |mapping, pages| {
            mapping.record.forget_image(pages);
            mapping.sweep(Sweep::Everything, pages);
        });
        self.with_mapping(|mapping| charge_less(fewer_frames, mapping));
        Ok(())
    }

    /// Raises the limit to `bytes` unless it is higher, and promises as
    /// [`zero_fill`](Self::zero_fill) does that only zeros are written to the pages with new bytes
    /// until the guard is dropped.
    ///
    /// # Errors
    ///
    /// - [`LimitError::BeyondCapacity`]: the region has fewer bytes.
    /// - [`LimitError::Uncharged`]: the account is reserved, and cannot be charged.
    ///
    /// The limit has not changed after an error.
    pub fn grow(&mut self, bytes: u64) -> Result<ZeroFill<'_, 'a, P>, LimitError> {
        self.refuse_beyond_capacity(bytes)?;
        let (pages, has_deferred) = self.with_recalled(|mut mapping| {
            let limit_bytes = mapping.record.limit_bytes();
            raise(bytes.max(limit_bytes), &mut mapping)?;
            let start = page_after(mapping.record.pages.start, limit_bytes / PAGE_BYTES);
            let pages = Page::range(start, mapping.record.usable_end());
            Ok::<_, LimitError>((pages, mapping.record.begin_filling(pages)))
        })?;
        Ok(ZeroFill::of_recorded(self, pages, has_deferred))
    }

    fn refuse_beyond_capacity(&self, requested_bytes: u64) -> Result<(), LimitError> {
        let capacity_bytes = self.capacity_bytes();
        if requested_bytes > capacity_bytes {
            return Err(LimitError::BeyondCapacity { requested_bytes, capacity_bytes });
        }
        Ok(())
    }
}

/// Raises the limit to `bytes`, which is within the capacity.
fn raise<P: Platform>(bytes: u64, mapping: &mut Mapping<'_, P>) -> Result<(), LimitError> {
    if mapping.record.account.is_reserved() {
        return raise_reserved(bytes, mapping);
    }
    mapping.record.set_limit(bytes);
    Ok(())
}

/// Charges a reserved account for fewer frames, but still for tables that were kept above the limit
/// because other CPUs may cache them.
fn charge_less<P: Platform>(fewer_frames: u64, mapping: Mapping<'_, P>) {
    let may_be_kept = if mapping.platform.cpus() > 1 { mapping.record.figures.table_frames } else { 0 };
    let kept_frames = may_be_kept.min(fewer_frames);
    mapping.record.surplus_frames += kept_frames;
    mapping.supply().unreserve(fewer_frames - kept_frames, 0);
}

fn raise_reserved<P: Platform>(bytes: u64, mapping: &mut Mapping<'_, P>) -> Result<(), LimitError> {
    let charged_frames = mapping.record.most_frames();
    let raised_from = mapping.record.set_limit(bytes);
    let more_frames = mapping.record.most_frames() - charged_frames;
    if let Err(error) = mapping.supply().reserve(more_frames) {
        mapping.record.set_limit(raised_from);
        return Err(error.into());
    }
    Ok(())
}

/// Lowers the limit. Returns the pages that are given up, which still have to be swept, and the
/// number of frames that the region cannot need after that.
fn lower<P: Platform>(bytes: u64, mut mapping: Mapping<'_, P>) -> Result<(PageRange, u64), LimitError> {
    // Pages that were committed ahead and never written are no obstacle.
    mapping.demote_ahead();
    let charged_frames = mapping.record.most_frames();
    let before = mapping.record.usable_end();
    let lowered_from = mapping.record.set_limit(bytes);
    let given_up = Page::range(mapping.record.usable_end(), before);
    if let Some(page) = mapping.tables.first_writable(given_up) {
        mapping.record.set_limit(lowered_from);
        return Err(LimitError::Resident { page });
    }
    Ok((given_up, charged_frames - mapping.record.most_frames()))
}
