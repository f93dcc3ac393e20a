//! The zero-fill guard.
//!
//! Invariants: while it is up, the record names the range, no page of it is deferred, and the sink held zeros
//! when it went up; when it is dropped, no entry of the range leads to the sink, and tables that were there
//! for such entries only are gone. Called by: an engine whose interpreter fills a fresh memory with zeros.

use core::fmt;

use x86_64::structures::paging::page::PageRange;

use super::Region;
use crate::decommit::{Sweep, sweep};
use crate::frame::FrameSource;
use crate::tlb::Tlb;

/// While it lives, zeros are being written over pages that read as zero.
///
/// Forgetting it instead of dropping it leaves the sink mapped: later writes to such pages are lost. The next
/// guard, or the drop of the region, clears that up.
#[must_use = "the guard is to be held while the zeros are written"]
pub struct ZeroFill<'r, 'a, S: FrameSource, T: Tlb> {
    region: &'r mut Region<'a, S, T>,
}

impl<'r, 'a, S: FrameSource, T: Tlb> ZeroFill<'r, 'a, S, T> {
    pub(super) fn begin(region: &'r mut Region<'a, S, T>, pages: PageRange) -> Self {
        end(region);
        region.with_record(|record, tables, host| {
            if record.residency.deferred_frames > 0 {
                // What is deferred reads as zero too, and need not be zeroed to be filled with zeros.
                sweep(Sweep::Deferred, pages, record, tables, host);
            }
            record.sink.clean(tables.memory());
            record.filling = Some(pages);
        });
        Self { region }
    }
}

impl<S: FrameSource, T: Tlb> Drop for ZeroFill<'_, '_, S, T> {
    fn drop(&mut self) {
        end(self.region);
    }
}

impl<S: FrameSource, T: Tlb> fmt::Debug for ZeroFill<'_, '_, S, T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ZeroFill").field("region", &self.region).finish()
    }
}

/// Ends the guard that is up in the region, if there is one.
fn end<S: FrameSource, T: Tlb>(region: &Region<'_, S, T>) {
    region.with_record(|record, tables, host| {
        if let Some(pages) = record.filling.take() {
            sweep(Sweep::Sink, pages, record, tables, host);
        }
    });
}
