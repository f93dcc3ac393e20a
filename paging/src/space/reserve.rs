//! Making and ending regions.
//!
//! A reserve takes addresses, then opens a shard unless one is open there, then ensures capacity
//! for the record, and then pins the tables that the region shares with its neighbours. A step that
//! fails releases what the steps before it took. None of them takes a data frame. None depends on
//! the size of the region, except that a link is set for each 1 GiB.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;
use core::sync::atomic::Ordering;

use thiserror::Error;
use x86_64::VirtAddr;
use x86_64::structures::paging::Page;
use x86_64::structures::paging::page_table::PageTableLevel;

use super::region::RELEASE_BATCH;
use super::{AddressSpace, Region};
use crate::clear::ALL_CPUS;
use crate::frame::Shortage;
use crate::pages::{PAGE_BYTES, pages_per_table};
use crate::platform::{CpuError, Platform};
use crate::record::{Block, Placement, Record, Records};
use crate::state::{Env, Mapping, Shard, State};
use crate::supply::{Account, ChargeError};
use crate::table::{Roots, ShardTables, Sweep};

impl<P: Platform> AddressSpace<P> {
    /// Reserves addresses for a memory of up to `bytes` bytes, rounded up to whole pages.
    ///
    /// The new region holds no frame, and its limit is zero. [`Region::set_limit`] makes pages
    /// usable.
    ///
    /// # Errors
    ///
    /// - [`ReserveError::Cpu`]: this CPU does not enforce what the page tables say.
    /// - [`ReserveError::Empty`]: `bytes` is zero.
    /// - [`ReserveError::TooLarge`]: even the empty window has no block of addresses of this size.
    /// - [`ReserveError::NoAddresses`]: other regions take up too much of the window.
    /// - [`ReserveError::OutOfFrames`]: no frame is left for a shared table.
    /// - [`ReserveError::Uncharged`]: the account is reserved, and the frame source cannot reserve
    ///   frames.
    ///
    /// Nothing has changed after an error.
    pub fn reserve(&self, bytes: u64, account: &Arc<Account>) -> Result<Region<'_, P>, ReserveError> {
        self.env.platform.check_cpu()?;
        // Held to the end, so that the shard stays open, and no other reserve uses the capacity
        // that this one has ensured.
        let mut placement = self.placement.lock();
        // Zero frames are refused only by a source that cannot reserve any.
        self.env.supply(Some(account)).reserve(0)?;
        let block = take_block(&mut placement, bytes, self.env.platform.cpu())?;
        let shard = self.shard_of(&block, &placement);
        if !block.is_shard() {
            self.ensure_capacity(shard);
        }
        let mut record = Record::new(block, bytes.div_ceil(PAGE_BYTES), Arc::clone(account));
        let pages = record.pages;
        if let Some(level) = record.block.lowest_shared_tables()
            && let Err(shortage) =
                self.env.lock(shard, |state| pin_tables(level, &mut record, state, &self.env))
        {
            self.dissolve(record, shard, &mut placement);
            return Err(shortage.into());
        }
        self.env.cpus.record_reuse(account.seat(), &self.env.platform);
        self.env.lock(shard, |state| state.records.insert(record));
        Ok(Region::new(self, shard, pages))
    }

    /// Ends the region with this base, and releases its frames and its addresses. The lock is
    /// released between batches of frames, like in a clear.
    pub(super) fn end_region(&self, shard: &Shard, base: VirtAddr) {
        let record = loop {
            if let Some(record) = self.env.lock(shard, |state| end_some(base, state, &self.env)) {
                break record;
            }
        };
        self.env.cpus.record_end(&self.env.platform);
        self.dissolve(record, shard, &mut self.placement.lock());
    }

    /// Releases the rest of a region that has no page, no pin and no record in its shard any more.
    fn dissolve(&self, record: Record, shard: &Shard, placement: &mut Placement) {
        let charged_frames = record.most_frames() + record.surplus_frames;
        let Record { block, account, figures, .. } = record;
        self.env.platform.without_interrupts(|| {
            self.env.supply(Some(&account)).unreserve(charged_frames, figures.tables_waited);
        });
        let shard_pages = block.shard_pages();
        let is_shard = block.is_shard();
        if placement.free(block) {
            if !is_shard {
                self.clean_up(shard);
            }
            if shard_pages.len() > pages_per_table(PageTableLevel::Three) {
                self.forget_roots(shard, shard_pages.start);
            }
            if self.has_many_cpus() {
                let past = self.env.lock(shard, |state| state.tables.past());
                placement.pasts.add(shard_pages, past, |past| self.env.cpus.unflushed(past));
            }
            self.directory.close(shard_pages, shard);
        }
    }

    /// Takes back the heap that a shard of small regions has needed, all of which have ended.
    fn clean_up(&self, shard: &Shard) {
        let room_for_one = Records::with_capacity(1);
        drop(self.env.lock(shard, |state| {
            let shared_released = state.tables.take_shared_released();
            self.env.past_released.fetch_add(shared_released, Ordering::Relaxed);
            mem::replace(&mut state.records, room_for_one)
        }));
    }

    /// Takes back the heap that a shard of more than 512 GiB, which begins with this page, has
    /// needed for the owners of its entries.
    fn forget_roots(&self, shard: &Shard, first: Page) {
        let root = Roots::new(Page::range(first, first + 1), &self.env.window);
        drop(self.env.lock(shard, |state| state.tables.move_to(root, state.tables.past())));
    }

    /// The shard of a block, which is opened if the block is the first one in it.
    fn shard_of(&self, block: &Block, placement: &Placement) -> &Shard {
        let pages = block.shard_pages();
        if let Some(shard) = self.directory.find(pages.start) {
            return shard;
        }
        let window = &self.env.window;
        let past = placement.pasts.of(pages, |past| self.env.cpus.unflushed(past));
        let roots = Roots::new(pages, window);
        let shard = self
            .directory
            .take_closed()
            .unwrap_or_else(|| self.directory.add(ShardTables::new(Roots::new(pages, window), window)));
        drop(self.env.lock(shard, |state| state.tables.move_to(roots, past)));
        self.directory.open(pages, shard);
        shard
    }

    /// Ensures capacity for the record of one more small region. Allocates outside of the shard's
    /// lock.
    fn ensure_capacity(&self, shard: &Shard) {
        let wanted = self.env.lock(shard, |state| state.records.wanted_capacity());
        if let Some(capacity) = wanted {
            let larger = Vec::with_capacity(capacity);
            drop(self.env.lock(shard, |state| state.records.move_to(larger)));
        }
    }
}

/// Releases a batch of the region's frames. Returns its record, which is no longer in the shard,
/// when all have been released.
fn end_some<P: Platform>(base: VirtAddr, state: &mut State, env: &Env<P>) -> Option<Record> {
    const HAS_RECORD: &str = "a region has a record until it ends";
    let platform = &env.platform;
    let mut mapping = state.mapping(base, platform).expect(HAS_RECORD);
    mapping.recall_sinks(ALL_CPUS, env);
    mapping.record.is_ending = true;
    let all = mapping.record.block.pages();
    let end = mapping.batch_end(all, RELEASE_BATCH);
    if end < all.end {
        mapping.sweep(Sweep::Everything, Page::range(all.start, end));
        return None;
    }
    let mut record = state.records.remove(base).expect(HAS_RECORD);
    if let Some(level) = record.block.lowest_shared_tables() {
        state.tables.unpin(record.pages.start, level);
    }
    Mapping { record: &mut record, tables: &mut state.tables, platform }.sweep(Sweep::Everything, all);
    state.tables.record_past(record.account.seat(), platform);
    env.past_released.fetch_add(record.figures.released(), Ordering::Relaxed);
    Some(record)
}

fn take_block(placement: &mut Placement, bytes: u64, cpu: usize) -> Result<Block, ReserveError> {
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
    placement.take(pages, cpu).ok_or_else(|| ReserveError::NoAddresses {
        requested_bytes: bytes,
        free_bytes: placement.free_pages() * PAGE_BYTES,
        largest_bytes: placement.largest_free_pages() * PAGE_BYTES,
    })
}

/// Pins the tables that the region shares. Releases those that were made if there are too few
/// frames for all of them.
fn pin_tables<P: Platform>(
    level: PageTableLevel,
    record: &mut Record,
    state: &mut State,
    env: &Env<P>,
) -> Result<(), Shortage> {
    state.tables.pin(record.pages.start, level, &env.supply(None)).inspect_err(|_| {
        let pages = record.block.pages();
        record.is_ending = true;
        Mapping { record, tables: &mut state.tables, platform: &env.platform }
            .sweep(Sweep::Everything, pages);
    })
}

/// Why a region cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReserveError {
    /// The CPU would not keep regions apart.
    #[error("the CPU does not enforce what the page tables say")]
    Cpu(#[from] CpuError),
    /// Zero bytes were requested.
    #[error("a region of zero bytes was requested: request at least one byte")]
    Empty,
    /// The window is too small.
    #[error(
        "{requested_bytes} bytes were requested, and the window has room for {largest_bytes} at most: make it larger"
    )]
    TooLarge {
        /// The size that was requested, in bytes.
        requested_bytes: u64,
        /// The size of the largest region that the empty window could hold, in bytes.
        largest_bytes: u64,
    },
    /// The window is too full.
    #[error(
        "no free block of addresses has {requested_bytes} bytes: {free_bytes} are free, and the largest block \
         has {largest_bytes}: drop a region, or make the window larger"
    )]
    NoAddresses {
        /// The size that was requested, in bytes.
        requested_bytes: u64,
        /// The bytes of the window that no region has.
        free_bytes: u64,
        /// The size of the largest free block, in bytes. Blocks are powers of two.
        largest_bytes: u64,
    },
    /// The frame source has no frame for a shared table.
    #[error("no frame for a table that regions share: release frames")]
    OutOfFrames(#[from] Shortage),
    /// The account is reserved, and cannot be charged for a region.
    #[error("the account cannot be charged for a region")]
    Uncharged(#[from] ChargeError),
}
