//! The limit of a region: how much of it can be used, and what that is charged.
//!
//! Invariant: a reserved account is charged for every frame that the pages up to the limit can come to hold,
//! before they can be touched and until they cannot any more. Called by: the owner of the region.

use core::mem;

use x86_64::structures::paging::Page;

use super::{LimitError, Region};
use crate::decommit::{Sweep, sweep};
use crate::directory::Record;
use crate::frame::FrameSource;
use crate::space::Host;
use crate::supply::Supply;
use crate::tlb::Tlb;
use crate::window::WindowTables;

impl<S: FrameSource, T: Tlb> Region<'_, S, T> {
    /// The number of bytes from the base on that can be used.
    #[must_use]
    pub fn limit_bytes(&self) -> u64 {
        self.with_record(|record, _, _| record.limit_bytes)
    }

    /// Makes the first `bytes` bytes usable, rounded up to whole pages.
    ///
    /// Raising the limit takes the same time for any distance and takes no frame. If the account is reserved,
    /// it is charged for the data frames of the new pages and for the tables that they need at most, and the
    /// frame source promises as many. Deferred frames are not free, so they cannot be promised: see
    /// [`AddressSpace::reclaim`](crate::AddressSpace::reclaim).
    ///
    /// Lowering the limit looks at the tables of what is given up, and unmaps the zero frame and releases
    /// deferred frames there. A reserved account is charged for less.
    ///
    /// # Errors
    ///
    /// - [`LimitError::BeyondCapacity`]: the region has not so many bytes.
    /// - [`LimitError::Resident`]: a page that would be given up holds a frame: decommit it first.
    /// - [`LimitError::Uncharged`]: the account is reserved, and cannot be charged.
    ///
    /// The limit has not changed then.
    pub fn set_limit(&mut self, bytes: u64) -> Result<(), LimitError> {
        let capacity_bytes = self.capacity_bytes();
        if bytes > capacity_bytes {
            return Err(LimitError::BeyondCapacity { requested_bytes: bytes, capacity_bytes });
        }
        self.with_record(|record, tables, host| {
            if bytes < record.limit_bytes {
                lower(bytes, record, tables, host)
            } else {
                raise(bytes, record, tables, host)
            }
        })
    }
}

fn raise<S: FrameSource, T: Tlb>(
    bytes: u64,
    record: &mut Record,
    tables: &WindowTables,
    host: Host<'_, S, T>,
) -> Result<(), LimitError> {
    let charged_frames = record.most_frames();
    let raised_from = mem::replace(&mut record.limit_bytes, bytes);
    let supply = Supply { memory: tables.memory(), source: host.source, account: Some(&record.account) };
    if let Err(error) = supply.promise(record.most_frames() - charged_frames) {
        record.limit_bytes = raised_from;
        return Err(error.into());
    }
    Ok(())
}

fn lower<S: FrameSource, T: Tlb>(
    bytes: u64,
    record: &mut Record,
    tables: &mut WindowTables,
    host: Host<'_, S, T>,
) -> Result<(), LimitError> {
    let (charged_frames, before) = (record.most_frames(), record.usable().end);
    let lowered_from = mem::replace(&mut record.limit_bytes, bytes);
    let given_up = Page::range(record.usable().end, before);
    if let Some(page) = tables.first_held(given_up) {
        record.limit_bytes = lowered_from;
        return Err(LimitError::Resident { page });
    }
    sweep(Sweep::Everything, given_up, record, tables, host);
    let supply = Supply { memory: tables.memory(), source: host.source, account: Some(&record.account) };
    supply.withdraw(charged_frames - record.most_frames());
    Ok(())
}
