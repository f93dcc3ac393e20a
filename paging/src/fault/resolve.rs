//! Resolving a fault: from the decision to the edited tables.
//!
//! A frame is taken and zeroed before the entry that publishes it is written. Where there is no frame, be it
//! for data or for a table, deferred frames are reclaimed and the fault is resolved anew; tables that it made
//! are found there, or swept by whoever clears the page. As the last resort the sink covers the highest level
//! that is missing and the account is marked as lost: the interrupted code cannot be told, so it goes on, and
//! its owner finds out later.
//!
//! Called by: `AddressSpace::handle_fault` and its register-aware form, with the space's lock held.

use alloc::sync::Arc;

use x86_64::VirtAddr;
use x86_64::structures::idt::PageFaultErrorCode;
use x86_64::structures::paging::Page;
use x86_64::structures::paging::page::PageRange;
use x86_64::structures::paging::page_table::PageTableLevel;

use super::classify::{PageState, Place, Remedy, classify};
use super::fast_forward::Interrupted;
use super::{Fault, NotOurs, Outcome};
use crate::account::Account;
use crate::decommit::Decommitted;
use crate::defer::reclaim_from;
use crate::directory::Record;
use crate::frame::{Frame, FrameSource};
use crate::memory::PhysicalMemory;
use crate::space::{Host, State};
use crate::supply::{Shortage, Supply};
use crate::table::{Held, Table};
use crate::tlb::Tlb;
use crate::window::WindowTables;

/// Deferred frames that one fault reclaims at a time: enough for itself and for some that follow, and few
/// enough not to be felt.
const RECLAIM_FRAMES: u64 = 32;

/// Handles a fault, says why not, or finds no frame even among the deferred ones.
pub(crate) fn resolve<S: FrameSource, T: Tlb>(
    state: &mut State,
    fault: Fault,
    mut interrupted: Option<Interrupted<'_>>,
    host: Host<'_, S, T>,
) -> Result<Outcome, Shortage> {
    loop {
        match attempt(state, fault, interrupted.take(), host) {
            // It ends: there is a deferred frame less each time.
            Err(shortage) if reclaim_for(fault.address, shortage, state, host).frames_released > 0 => {}
            attempt => return attempt,
        }
    }
}

/// As [`resolve`]; and without a frame lets the access go into the sink, and tells the owner.
pub(crate) fn resolve_or_lose<S: FrameSource, T: Tlb>(
    state: &mut State,
    fault: Fault,
    host: Host<'_, S, T>,
) -> Outcome {
    match resolve(state, fault, None, host) {
        Ok(outcome) => outcome,
        Err(Shortage::SourceEmpty | Shortage::CapReached { .. }) => lose(state, fault, host),
    }
}

fn attempt<S: FrameSource, T: Tlb>(
    state: &mut State,
    fault: Fault,
    interrupted: Option<Interrupted<'_>>,
    host: Host<'_, S, T>,
) -> Result<Outcome, Shortage> {
    let State { tables, directory, zero } = state;
    let page = Page::containing_address(fault.address);
    let Some(record) = directory.find(fault.address) else { return Ok(nowhere(fault.code)) };
    let remedy = match classify(fault.code, place_of(page, record, tables)) {
        Ok(remedy) => remedy,
        Err(reason) => return Ok(Outcome::NotOurs(reason)),
    };
    let filling = record.filling_at(page);
    let resolver = Resolver { page, record, tables, host };
    match (remedy, filling) {
        (Remedy::Retry, _) => {}
        (Remedy::ShowZero, _) => resolver.show_zero(zero)?,
        (Remedy::TakeBack, _) => resolver.take_back(),
        (Remedy::Commit, None) => resolver.commit()?,
        (Remedy::Upgrade, None) => resolver.upgrade()?,
        (Remedy::Commit | Remedy::Upgrade, Some(filling)) => {
            resolver.absorb(filling, fault.address, interrupted);
        }
    }
    record.residency.faults += 1;
    Ok(Outcome::Handled)
}

/// Reclaims deferred frames that can end this shortage.
fn reclaim_for<S: FrameSource, T: Tlb>(
    address: VirtAddr,
    shortage: Shortage,
    state: &mut State,
    host: Host<'_, S, T>,
) -> Decommitted {
    let Some(record) = state.directory.find(address) else { return Decommitted::default() };
    let payer: *const Account = Arc::as_ptr(&record.account);
    let helps = |record: &Record| match shortage {
        // Frames of reserved accounts stay promised to them.
        Shortage::SourceEmpty => !record.account.is_reserved(),
        Shortage::CapReached { .. } => Arc::as_ptr(&record.account) == payer,
    };
    reclaim_from(helps, RECLAIM_FRAMES, state, host)
}

/// Lets a page that cannot get a frame lead to the sink.
fn lose<S: FrameSource, T: Tlb>(state: &mut State, fault: Fault, host: Host<'_, S, T>) -> Outcome {
    let State { tables, directory, .. } = state;
    let page = Page::containing_address(fault.address);
    let Some(record) = directory.find(fault.address) else { return nowhere(fault.code) };
    record.account.mark_lost();
    record.residency.faults += 1;
    Resolver { page, record, tables, host }.cover();
    Outcome::Handled
}

/// The outcome of a fault in no region.
pub(crate) fn nowhere(code: PageFaultErrorCode) -> Outcome {
    Outcome::NotOurs(classify(code, Place::Nowhere).err().unwrap_or(NotOurs::Stray))
}

fn place_of(page: Page, record: &Record, tables: &mut WindowTables) -> Place {
    if page >= record.usable().end {
        return Place::BeyondLimit;
    }
    let table = tables.descend(page, PageTableLevel::One);
    Place::Page(match table.held(page) {
        Held::Absent => PageState::Absent,
        Held::Zero => PageState::Zero,
        Held::Sink => PageState::Sink,
        Held::Deferred(_) => PageState::Deferred,
        // Detached entries live only while the lock is held. Were one seen, retrying is the answer.
        Held::Owned(_) | Held::Detached(_) => PageState::Own,
    })
}

/// A fault on a page of a region, which is to be fixed.
struct Resolver<'a, S, T> {
    page: Page,
    record: &'a mut Record,
    tables: &'a mut WindowTables,
    host: Host<'a, S, T>,
}

impl<S: FrameSource, T: Tlb> Resolver<'_, S, T> {
    /// The page was read and holds nothing.
    fn show_zero(self, zero: &Frame) -> Result<(), Shortage> {
        let Self { page, record, tables, host } = self;
        level1_table(page, record, tables, host.source)?.show_zero(page, zero);
        Ok(())
    }

    /// The page was touched and is deferred. It was flushed then, and is not present: no flush.
    fn take_back(self) {
        let Self { page, record, tables, .. } = self;
        tables.descend(page, PageTableLevel::One).take_back(page);
        record.residency.deferred_frames -= 1;
        record.residency.count_resident();
    }

    /// The page was written and holds nothing.
    fn commit(self) -> Result<(), Shortage> {
        let Self { page, record, tables, host } = self;
        let memory = tables.memory();
        let mut table = level1_table(page, record, tables, host.source)?;
        fill(page, record, &mut table, memory, host.source)
    }

    /// The page was written and shows the zero frame, which the TLB may know.
    fn upgrade(self) -> Result<(), Shortage> {
        let Self { page, record, tables, host } = self;
        let memory = tables.memory();
        let mut table = tables.descend(page, PageTableLevel::One);
        fill(page, record, &mut table, memory, host.source)?;
        host.tlb.flush(page);
        Ok(())
    }

    /// The page reads as zero, and is written while the embedder writes zeros only: nothing need be kept.
    fn absorb(self, filling: PageRange, address: VirtAddr, interrupted: Option<Interrupted<'_>>) {
        let end = self.tables.first_held(Page::range(self.page, filling.end)).unwrap_or(filling.end);
        if interrupted.is_some_and(|interrupted| interrupted.fast_forward(address, end.start_address())) {
            return;
        }
        self.cover();
    }

    /// Lets what is missing on the way to the page lead to the sink.
    fn cover(self) {
        let Self { page, record, tables, host } = self;
        let mut lowest = tables.descend(page, PageTableLevel::One);
        record.sink.cover(page, &mut lowest);
        // The page may have shown the zero frame.
        host.tlb.flush(page);
    }
}

/// The page's level-1 table, made if need be.
fn level1_table<'t, S: FrameSource>(
    page: Page,
    record: &mut Record,
    tables: &'t mut WindowTables,
    source: &S,
) -> Result<Table<'t>, Shortage> {
    let supply = Supply { memory: tables.memory(), source, account: Some(&record.account) };
    let made = &mut record.residency.table_frames;
    let take = || supply.take().inspect(|_| *made += 1);
    tables.reach(page, PageTableLevel::One, take)
}

/// Gives the page a zeroed frame of its own.
fn fill<S: FrameSource>(
    page: Page,
    record: &mut Record,
    table: &mut Table<'_>,
    memory: PhysicalMemory,
    source: &S,
) -> Result<(), Shortage> {
    let blank = Supply { memory, source, account: Some(&record.account) }.take()?;
    table.put(page, blank);
    record.residency.count_resident();
    Ok(())
}
