//! The limit of a region: how much of it can be used, and what that is charged.
//!
//! Invariant: a reserved account is charged for every frame that the pages up to the limit can come to hold,
//! before they can be touched and until they cannot any more. Called by: the owner of the region.

use x86_64::structures::paging::Page;

use super::{LimitError, Region};
use crate::clear::{demote_ahead, sweep};
use crate::frame::FrameSource;
use crate::record::Record;
use crate::state::Env;
use crate::supply::Supply;
use crate::table::{Sweep, WindowTables};
use crate::tlb::Tlb;

impl<S: FrameSource, T: Tlb> Region<'_, S, T> {
    /// The number of bytes from the base on that can be used.
    #[must_use]
    pub fn limit_bytes(&self) -> u64 {
        self.with_record(|record, _, _| record.limit_bytes())
    }

    /// Makes the first `bytes` bytes usable, rounded up to whole pages.
    ///
    /// Raising the limit takes the same time for any distance and takes no frame. If the account is reserved,
    /// it is charged for the data frames of the new pages and for the tables that they need at most, and the
    /// frame source reserves as many. Deferred frames are not free, so they cannot be reserved: see
    /// [`AddressSpace::reclaim`](crate::AddressSpace::reclaim).
    ///
    /// Lowering the limit looks at the tables of what is given up, and unmaps shared frames and releases
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
        self.with_record(|record, tables, env| {
            if bytes < record.limit_bytes() {
                lower(bytes, record, tables, env)
            } else {
                raise(bytes, record, tables, env)
            }
        })
    }
}

fn raise<S: FrameSource, T: Tlb>(
    bytes: u64,
    record: &mut Record,
    tables: &WindowTables,
    env: Env<'_, S, T>,
) -> Result<(), LimitError> {
    if !record.account.is_reserved() {
        record.set_limit(bytes);
        return Ok(());
    }
    let charged_frames = record.most_frames();
    let raised_from = record.set_limit(bytes);
    let supply = Supply { memory: tables.memory(), source: env.source, account: Some(&record.account) };
    if let Err(error) = supply.promise(record.most_frames() - charged_frames) {
        record.set_limit(raised_from);
        return Err(error.into());
    }
    Ok(())
}

fn lower<S: FrameSource, T: Tlb>(
    bytes: u64,
    record: &mut Record,
    tables: &mut WindowTables,
    env: Env<'_, S, T>,
) -> Result<(), LimitError> {
    // Nobody has asked for the pages that were committed ahead: they are no obstacle.
    demote_ahead(record, tables, env);
    let (charged_frames, before) = (record.most_frames(), record.usable_end());
    let lowered_from = record.set_limit(bytes);
    let given_up = Page::range(record.usable_end(), before);
    if let Some(page) = tables.first_held(given_up) {
        record.set_limit(lowered_from);
        return Err(LimitError::Resident { page });
    }
    record.forget_image(given_up);
    sweep(Sweep::Everything, given_up, record, tables, env);
    let supply = Supply { memory: tables.memory(), source: env.source, account: Some(&record.account) };
    supply.withdraw(charged_frames - record.most_frames());
    Ok(())
}
