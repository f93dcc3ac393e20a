//! The guard under which an interpreter may fill a new memory with zeros.
//!
//! Invariants: while the guard is up, the record contains its range, and no page of the range is
//! deferred. When it goes up and when it is dropped, no entry of the region leads to the sink. The
//! sink is zeroed before it is lent again.

use core::fmt;

use x86_64::structures::paging::page::PageRange;

use super::{RELEASE_BATCH, Region};
use crate::platform::Platform;
use crate::table::Sweep;

/// The promise that only zeros are written to a range of pages, and only where it reads as zero.
///
/// Forgetting the guard instead of dropping it leaves the sink mapped, so later writes to those
/// pages are lost. The next guard, or the drop of the region, ends that.
#[must_use = "the guard must be held while the zeros are written"]
pub struct ZeroFill<'r, 'a, P: Platform> {
    region: &'r mut Region<'a, P>,
}

impl<'r, 'a, P: Platform> ZeroFill<'r, 'a, P> {
    pub(super) fn begin(region: &'r mut Region<'a, P>, pages: PageRange) -> Self {
        let has_deferred = region.with_recalled(|mapping| mapping.record.begin_filling(pages));
        Self::of_recorded(region, pages, has_deferred)
    }

    /// The guard of pages that the record has, with the sinks recalled.
    pub(super) fn of_recorded(region: &'r mut Region<'a, P>, pages: PageRange, has_deferred: bool) -> Self {
        if has_deferred {
            // Deferred pages read as zero too. They are released, because zeroing them for a fill
            // of zeros would be wasted.
            region.in_batches(pages, RELEASE_BATCH, |mapping, pages| {
                mapping.sweep(Sweep::Deferred, pages);
            });
        }
        Self { region }
    }
}

impl<P: Platform> Drop for ZeroFill<'_, '_, P> {
    fn drop(&mut self) {
        self.region.with_recalled(|mapping| mapping.record.filling.end = mapping.record.filling.start);
    }
}

impl<P: Platform> fmt::Debug for ZeroFill<'_, '_, P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ZeroFill").field("region", &self.region).finish()
    }
}
