//! The limit of a region: how much of it is usable, and what that costs a reserved account.
//!
//! Invariant: a reserved account is charged for every frame that the pages up to the limit can
//! need, before they can be touched and until they cannot be touched any more.

use x86_64::structures::paging::Page;

use super::{LimitError, Region};
use crate::platform::Platform;
use crate::state::Mapping;
use crate::table::Sweep;

impl<P: Platform> Region<'_, P> {
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
        let capacity_bytes = self.capacity_bytes();
        if bytes > capacity_bytes {
            return Err(LimitError::BeyondCapacity { requested_bytes: bytes, capacity_bytes });
        }
        self.with_mapping(|mapping| {
            if bytes < mapping.record.limit_bytes() { lower(bytes, mapping) } else { raise(bytes, mapping) }
        })
    }
}

fn raise<P: Platform>(bytes: u64, mapping: Mapping<'_, P>) -> Result<(), LimitError> {
    if !mapping.record.account.is_reserved() {
        mapping.record.set_limit(bytes);
        return Ok(());
    }
    let charged_frames = mapping.record.most_frames();
    let raised_from = mapping.record.set_limit(bytes);
    let more_frames = mapping.record.most_frames() - charged_frames;
    if let Err(error) = mapping.supply().reserve(more_frames) {
        mapping.record.set_limit(raised_from);
        return Err(error.into());
    }
    Ok(())
}

fn lower<P: Platform>(bytes: u64, mut mapping: Mapping<'_, P>) -> Result<(), LimitError> {
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
    mapping.record.forget_image(given_up);
    mapping.sweep(Sweep::Everything, given_up);
    mapping.supply().unreserve(charged_frames - mapping.record.most_frames());
    Ok(())
}
