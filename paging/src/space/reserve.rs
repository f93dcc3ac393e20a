//! Making and ending regions.
//!
//! A reserve takes, in this order: addresses, room in the directory, and a pin on the tables that the region
//! shares with its neighbours. Each step that fails gives back what the steps before it took. No data frame
//! is among it, and nothing depends on the size of the region.

use alloc::sync::Arc;
use alloc::vec::Vec;

use thiserror::Error;
use x86_64::VirtAddr;

use super::{AddressSpace, Region};
use crate::frame::Shortage;
use crate::pages::PAGE_BYTES;
use crate::platform::Platform;
use crate::record::{Block, Placement, Record};
use crate::state::{Mapping, State};
use crate::supply::{Account, ChargeError, Supply};
use crate::table::Sweep;

impl<P: Platform> AddressSpace<P> {
    /// Reserves addresses for a memory of up to `bytes` bytes, rounded up to whole pages.
    ///
    /// The region holds no frame, and its limit is zero: [`Region::set_limit`] makes pages usable.
    ///
    /// # Errors
    ///
    /// - [`ReserveError::Empty`]: `bytes` is zero.
    /// - [`ReserveError::TooLarge`]: not even the empty window has a block of addresses of this size.
    /// - [`ReserveError::NoAddresses`]: other regions take up too much of the window.
    /// - [`ReserveError::OutOfFrames`]: there is no frame for a shared table.
    /// - [`ReserveError::Uncharged`]: the account is reserved, and the frame source cannot reserve frames.
    ///
    /// Nothing is left behind then.
    pub fn reserve(&self, bytes: u64, account: &Arc<Account>) -> Result<Region<'_, P>, ReserveError> {
        // Held to the end, so that the directory does not grow between making room in it and inserting.
        let mut placement = self.placement.lock();
        // Zero frames are refused only by a source that cannot reserve any.
        Supply::new(self.platform.frames(), self.memory, Some(account)).reserve(0)?;
        let block = take_block(&mut placement, bytes)?;
        self.make_room();
        let mut record = Record::new(block, bytes.div_ceil(PAGE_BYTES), Arc::clone(account));
        let pages = record.pages;
        if let Err(shortage) = self.with_state(|state, platform| pin_tables(&mut record, state, platform)) {
            self.dissolve(record, &mut placement);
            return Err(shortage.into());
        }
        self.with_state(|state, _| state.directory.insert(record));
        Ok(Region::new(self, pages))
    }

    /// Ends the region with this base: releases its frames and its addresses.
    pub(crate) fn end_region(&self, base: VirtAddr) {
        let mut placement = self.placement.lock();
        let record = self.with_state(|state, platform| {
            state.recall_sink_of(base, platform);
            let mut record = state.directory.remove(base)?;
            if let Some(level) = record.block.lowest_shared_tables() {
                state.tables.unpin(record.pages.start, level);
            }
            let pages = record.block.pages();
            Mapping { record: &mut record, tables: &mut state.tables, platform }
                .sweep(Sweep::Everything, pages);
            Some(record)
        });
        self.dissolve(record.expect("a region has a record until it ends"), &mut placement);
    }

    /// Gives back what a region holds that has no page, no pin and no record in the directory any more.
    fn dissolve(&self, record: Record, placement: &mut Placement) {
        let most_frames = record.most_frames();
        let Record { block, account, .. } = record;
        self.platform.without_interrupts(|| {
            Supply::new(self.platform.frames(), self.memory, Some(&account)).unreserve(most_frames);
        });
        placement.free(block);
    }

    /// Lets the directory have room for one more record, with the heap used outside of the lock.
    fn make_room(&self) {
        if let Some(capacity) = self.with_state(|state, _| state.directory.wanted_capacity()) {
            let larger = Vec::with_capacity(capacity);
            drop(self.with_state(|state, _| state.directory.move_to(larger)));
        }
    }
}

fn take_block(placement: &mut Placement, bytes: u64) -> Result<Block, ReserveError> {
    if bytes == 0 {
        return Err(ReserveError::Empty);
    }
    let pages = bytes.div_ceil(PAGE_BYTES);
    let largest_pages = placement.largest_pages();
    if pages > largest_pages {
        return Err(ReserveError::TooLarge {
            requested_bytes: bytes,
            largest_bytes: largest_pages * PAGE_BYTES,
        });
    }
    placement.take(pages).ok_or(ReserveError::NoAddresses { requested_bytes: bytes })
}

/// Pins the tables that the region shares; frees those that were made if there is no frame for all of them.
fn pin_tables<P: Platform>(record: &mut Record, state: &mut State, platform: &P) -> Result<(), Shortage> {
    let Some(level) = record.block.lowest_shared_tables() else { return Ok(()) };
    state
        .tables
        .pin(record.pages.start, level, &Supply::new(platform.frames(), state.tables.memory(), None))
        .inspect_err(|_| {
            let pages = record.block.pages();
            Mapping { record, tables: &mut state.tables, platform }.sweep(Sweep::Everything, pages);
        })
}

/// Why a region cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReserveError {
    /// A region has at least one byte.
    #[error("a region of zero bytes was requested")]
    Empty,
    /// The window is too small.
    #[error("{requested_bytes} bytes were requested, and the window has room for {largest_bytes} at most")]
    TooLarge {
        /// The size that was requested, in bytes.
        requested_bytes: u64,
        /// The size of the largest region that the empty window could hold, in bytes.
        largest_bytes: u64,
    },
    /// The window is too full.
    #[error("no free block of addresses in the window has {requested_bytes} bytes")]
    NoAddresses {
        /// The size that was requested, in bytes.
        requested_bytes: u64,
    },
    /// There is no frame for a shared table.
    #[error("no frame for a table that regions share")]
    OutOfFrames(#[from] Shortage),
    /// The account is reserved, and cannot be charged.
    #[error("the account cannot be charged for a region")]
    Uncharged(#[from] ChargeError),
}
