//! Resolving a fault: from the decision to the edited tables.
//!
//! A frame is taken and zeroed before the entry that publishes it is written. Where there is no frame, be it
//! for data or for a table, deferred frames are reclaimed, then frames that were committed ahead, and the
//! fault is resolved anew; tables that it made are found there, or swept by whoever clears the page. As the
//! last resort the sink covers the highest level that is missing and the account is marked as lost: the
//! interrupted code cannot be told, so it goes on, and its owner finds out later.
//!
//! Called by: `AddressSpace::handle_fault` and its register-aware form, with the space's lock held.

use alloc::sync::Arc;

use x86_64::VirtAddr;
use x86_64::structures::idt::PageFaultErrorCode;
use x86_64::structures::paging::Page;
use x86_64::structures::paging::page::PageRange;
use x86_64::structures::paging::page_table::PageTableLevel;

use super::classify::{PageState, Place, Remedy, classify};
use super::commit::Commit;
use super::fast_forward::{Interrupted, ZeroStore};
use super::{Fault, NotOurs, Outcome};
use crate::clear::{demote_ahead_of, reclaim_from};
use crate::frame::{FrameSource, Shortage};
use crate::record::Record;
use crate::state::{Env, State, ZeroStores};
use crate::supply::Account;
use crate::table::{Held, Table, WindowTables};
use crate::tlb::Tlb;

/// Deferred frames that one fault reclaims at a time: enough for itself and for some that follow, and few
/// enough not to be felt.
const RECLAIM_FRAMES: u64 = 32;

/// Handles a fault, says why not, or finds no frame even among those that are not needed.
pub(crate) fn resolve<S: FrameSource, T: Tlb>(
    state: &mut State,
    fault: Fault,
    mut interrupted: Option<Interrupted<'_>>,
    env: Env<'_, S, T>,
) -> Result<Outcome, Shortage> {
    loop {
        match attempt(state, fault, interrupted.take(), env) {
            // It ends: there is a frame less that can be reclaimed each time.
            Err(shortage) if relieve(fault.address, shortage, state, env) => {}
            attempt => return attempt,
        }
    }
}

/// As [`resolve`]; and without a frame lets the access go into the sink, and tells the owner.
pub(crate) fn resolve_or_lose<S: FrameSource, T: Tlb>(
    state: &mut State,
    fault: Fault,
    env: Env<'_, S, T>,
) -> Outcome {
    match resolve(state, fault, None, env) {
        Ok(outcome) => outcome,
        Err(Shortage::SourceEmpty | Shortage::CapReached { .. }) => lose(state, fault, env),
    }
}

fn attempt<S: FrameSource, T: Tlb>(
    state: &mut State,
    fault: Fault,
    mut interrupted: Option<Interrupted<'_>>,
    env: Env<'_, S, T>,
) -> Result<Outcome, Shortage> {
    let State { tables, directory, zero, policies, .. } = state;
    let page = Page::containing_address(fault.address);
    let Some(record) = directory.find(fault.address) else { return Ok(nowhere(fault.code)) };
    let table = tables.descend(page, PageTableLevel::One);
    let remedy = match classify(fault.code, place_of(page, record, &table)) {
        Ok(remedy) => remedy,
        Err(reason) => return Ok(Outcome::NotOurs(reason)),
    };
    let original = record.original(page);
    if reads_as_zero(remedy)
        && original.is_none()
        && let Some(end) = end_of_skipping(page, record, policies.zero_stores)
        && let Some(store) = interrupted.as_mut().and_then(|code| code.zero_store(fault.address))
    {
        let pages = store.pages(page, record.next_original(page, end));
        if !step_over(store, pages, page, tables) {
            return attempt(state, fault, None, env);
        }
        record.residency.faults += 1;
        return Ok(Outcome::Handled);
    }
    if takes_frame(remedy) && original.is_none() && record.filling_at(page).is_some() {
        cover(state, fault, env);
        return Ok(Outcome::Handled);
    }
    let commit = Commit { page, record: &mut *record, table, env };
    match remedy {
        Remedy::Retry => {}
        Remedy::Show => commit.show(original.unwrap_or(zero.phys()))?,
        Remedy::TakeBack => commit.take_back(),
        Remedy::Commit => commit.give_frame(original, policies.fault_around.limit_pages())?,
        Remedy::Upgrade => commit.replace_shared(original)?,
    }
    record.residency.faults += 1;
    Ok(Outcome::Handled)
}

/// Moves a fill of zeros over the pages from the fault to the next one that holds something, and says whether it was
/// moved at all. It is known that the first ones, up to `absent_end`, hold nothing.
#[inline]
pub(super) fn step_over(
    store: ZeroStore<'_>,
    pages: PageRange,
    absent_end: Page,
    tables: &mut WindowTables,
) -> bool {
    let rest = Page::range(absent_end, pages.end);
    let held = if rest.is_empty() { None } else { tables.first_held(rest) };
    store.advance(held.unwrap_or(pages.end).start_address())
}

/// Whether a write of zeros would change nothing of what the page reads as.
const fn reads_as_zero(remedy: Remedy) -> bool {
    match remedy {
        Remedy::Commit | Remedy::Upgrade | Remedy::TakeBack => true,
        Remedy::Show | Remedy::Retry => false,
    }
}

/// Whether the page was written and has no frame of its own.
const fn takes_frame(remedy: Remedy) -> bool {
    match remedy {
        Remedy::Commit | Remedy::Upgrade => true,
        Remedy::Show | Remedy::TakeBack | Remedy::Retry => false,
    }
}

/// Where a fill of zeros at this page may be moved to at most, if it may be moved.
#[inline]
pub(super) fn end_of_skipping(page: Page, record: &Record, policy: ZeroStores) -> Option<Page> {
    let filling = record.filling_at(page).map(|pages| pages.end.min(record.usable_end()));
    filling.or(match policy {
        ZeroStores::Off => None,
        ZeroStores::StepOver => Some(record.usable_end()),
    })
}

/// Makes frames available that can end this shortage, and says whether there are any.
fn relieve<S: FrameSource, T: Tlb>(
    address: VirtAddr,
    shortage: Shortage,
    state: &mut State,
    env: Env<'_, S, T>,
) -> bool {
    let Some(record) = state.directory.find(address) else { return false };
    let payer: *const Account = Arc::as_ptr(&record.account);
    let helps = |record: &Record| match shortage {
        // Frames of reserved accounts stay reserved for them.
        Shortage::SourceEmpty => !record.account.is_reserved(),
        Shortage::CapReached { .. } => Arc::as_ptr(&record.account) == payer,
    };
    let is_relieved = reclaim_from(helps, RECLAIM_FRAMES, state, env).frames_released > 0
        // What this finds is deferred, and reclaimed by the next call.
        || demote_ahead_of(helps, state, env) > 0;
    if let Some(record) = state.directory.find(address) {
        record.run.note_shortage(record.residency.frames_released);
    }
    is_relieved
}

/// Lets a page that cannot get a frame lead to the sink.
fn lose<S: FrameSource, T: Tlb>(state: &mut State, fault: Fault, env: Env<'_, S, T>) -> Outcome {
    let Some(record) = state.directory.find(fault.address) else { return nowhere(fault.code) };
    record.account.mark_lost();
    cover(state, fault, env);
    Outcome::Handled
}

/// Lets what is missing on the way to the faulting page lead to the sink.
fn cover<S: FrameSource, T: Tlb>(state: &mut State, fault: Fault, env: Env<'_, S, T>) {
    let Some(base) = state.directory.find(fault.address).map(|record| record.base()) else { return };
    if state.sink.is_lent_elsewhere(base) {
        state.recall_sink(env);
    }
    let State { tables, directory, sink, .. } = state;
    let page = Page::containing_address(fault.address);
    sink.cover(base, page, &mut tables.descend(page, PageTableLevel::One));
    // The page may have shown a shared frame.
    env.tlb.flush(page);
    if let Some(record) = directory.find(fault.address) {
        record.residency.faults += 1;
    }
}

/// The outcome of a fault in no region.
pub(crate) fn nowhere(code: PageFaultErrorCode) -> Outcome {
    Outcome::NotOurs(classify(code, Place::Nowhere).err().unwrap_or(NotOurs::Stray))
}

/// Where the page is, and what it holds according to the lowest table on the way to it.
#[inline]
fn place_of(page: Page, record: &Record, lowest: &Table<'_>) -> Place {
    if page >= record.usable_end() {
        return Place::BeyondLimit;
    }
    Place::Page(match lowest.held(page) {
        Held::Absent => PageState::Absent,
        Held::Shared => PageState::Shared,
        Held::Sink => PageState::Sink,
        Held::Deferred(_) => PageState::Deferred,
        // Detached entries live only while the lock is held. Were one seen, retrying is the answer.
        Held::Owned(_) | Held::Detached(_) => PageState::Own,
    })
}
