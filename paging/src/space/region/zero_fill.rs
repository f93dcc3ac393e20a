//! The zero-fill guard.
//!
//! Invariants: while it is up, the record names the range and no page of it is deferred; when it goes up, and
//! when it is dropped, no entry of the region leads to the sink, which holds zeros when it is lent again.
//! Called by: an engine whose interpreter fills a fresh memory with zeros.

use core::fmt;

use x86_64::structures::paging::page::PageRange;

use super::Region;
use crate::platform::Platform;
use crate::table::Sweep;

/// While it lives, zeros are being written over pages that read as zero.
///
/// Forgetting it instead of dropping it leaves the sink mapped: later writes to such pages are lost. The next
/// guard, or the drop of the region, clears that up.
#[must_use = "the guard is to be held while the zeros are written"]
pub struct ZeroFill<'r, 'a, P: Platform> {
    region: &'r mut Region<'a, P>,
}

impl<'r, 'a, P: Platform> ZeroFill<'r, 'a, P> {
    pub(super) fn begin(region: &'r mut Region<'a, P>, pages: PageRange) -> Self {
        region.with_recalled(|mut mapping| {
            if mapping.record.figures.deferred_frames > 0 {
                // Deferred pages read as zero too, and need not be zeroed to be filled with zeros.
                mapping.sweep(Sweep::Deferred, pages);
            }
            mapping.record.filling = Some(pages);
        });
        Self { region }
    }
}

impl<P: Platform> Drop for ZeroFill<'_, '_, P> {
    fn drop(&mut self) {
        self.region.with_recalled(|mapping| mapping.record.filling = None);
    }
}

impl<P: Platform> fmt::Debug for ZeroFill<'_, '_, P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ZeroFill").field("region", &self.region).finish()
    }
}
