//! Resolving a fault: from the decision to the edited tables.
//!
//! If no frame is left for data or for a table, deferred frames are reclaimed, then frames that
//! were committed ahead, and the fault is resolved again. Tables that the first attempt made are
//! used by the next one, or released by the sweep that clears the page.
//!
//! The last resort is the sink: it covers the highest level that is missing, and the account is
//! marked as lost. The interrupted code cannot get an error, so it goes on, and its owner checks
//! the account later.

use alloc::sync::Arc;

use x86_64::VirtAddr;
use x86_64::structures::idt::PageFaultErrorCode;
use x86_64::structures::paging::Page;
use x86_64::structures::paging::page_table::PageTableLevel;

use super::classify::{PageState, Place, Remedy, classify};
use super::commit::Commit;
use super::fast_forward::{Interrupted, step_over};
use super::first_write::first_write;
use super::{Fault, NotOurs, Outcome};
use crate::frame::Shortage;
use crate::platform::Platform;
use crate::record::Record;
use crate::state::{Env, Mapping, State};
use crate::supply::Account;
use crate::table::{EntryState, Table};

/// The number of deferred frames that a fault reclaims at a time: enough for several faults, and
/// few enough to keep this one short.
const RECLAIM_FRAMES: u64 = 32;

/// Handles a fault, or returns why it is not ours. Returns `None` if the frame source is empty, and
/// no frame is left that a fault may reclaim.
#[inline]
pub(crate) fn resolve<P: Platform>(
    state: &mut State,
    fault: Fault,
    interrupted: Option<Interrupted<'_>>,
    env: &Env<P>,
) -> Option<Outcome> {
    match attempt(state, fault, interrupted, env) {
        Ok(outcome) => Some(outcome),
        Err(shortage) => relieve_and_retry(state, fault, shortage, env),
    }
}

/// As [`resolve`]. Without a frame the access goes into the sink, and the account is marked as
/// lost.
#[cold]
pub(crate) fn resolve_or_lose<P: Platform>(state: &mut State, fault: Fault, env: &Env<P>) -> Outcome {
    resolve(state, fault, None, env).unwrap_or_else(|| lose(state, fault, Shortage::SourceEmpty, env))
}

#[cold]
fn relieve_and_retry<P: Platform>(
    state: &mut State,
    fault: Fault,
    shortage: Shortage,
    env: &Env<P>,
) -> Option<Outcome> {
    let mut shortage = shortage;
    // The loop ends, because each relief leaves fewer frames that can be reclaimed.
    while relieve(state, fault.address, shortage, env) {
        match attempt(state, fault, None, env) {
            Ok(outcome) => return Some(outcome),
            Err(next) => shortage = next,
        }
    }
    match shortage {
        Shortage::SourceEmpty => None,
        // More frames in the source would not help.
        Shortage::CapReached { .. } => Some(lose(state, fault, shortage, env)),
    }
}

#[inline]
fn attempt<P: Platform>(
    state: &mut State,
    fault: Fault,
    mut interrupted: Option<Interrupted<'_>>,
    env: &Env<P>,
) -> Result<Outcome, Shortage> {
    if first_write(state, fault, interrupted.as_mut(), env) {
        return Ok(Outcome::Handled);
    }
    attempt_any(state, fault, interrupted, env)
}

#[cold]
fn attempt_any<P: Platform>(
    state: &mut State,
    fault: Fault,
    mut interrupted: Option<Interrupted<'_>>,
    env: &Env<P>,
) -> Result<Outcome, Shortage> {
    let State { tables, directory, .. } = state;
    let page = Page::containing_address(fault.address);
    let Some(record) = directory.find(fault.address) else { return Ok(nowhere(fault.code)) };
    let mut table = tables.descend(page, PageTableLevel::One);
    let remedy = match classify(fault.code, place_of(page, record, &table)) {
        Ok(remedy) => remedy,
        Err(NotOurs::Protection) => {
            return Ok(Outcome::NotOurs(other_root(page, env).unwrap_or(NotOurs::Protection)));
        }
        Err(reason) => return Ok(Outcome::NotOurs(reason)),
    };
    if remedy.reads_as_zero()
        && let Some(store) = interrupted.as_mut().and_then(|code| code.zero_store(fault.address))
    {
        if step_over(page, store, record, tables, env.policies.zero_stores(), |_| true) {
            return Ok(Outcome::Handled);
        }
        table = tables.descend(page, PageTableLevel::One);
    }
    let original = record.original(page);
    if remedy.takes_frame() && original.is_none() && record.filling_at(page).is_some() {
        cover(state, fault, env);
        return Ok(Outcome::Handled);
    }
    let commit = Commit { page, record: &mut *record, table, env };
    match remedy {
        // The page was mapped since by another CPU, or this fault would occur for ever.
        Remedy::Retry => {
            if let Some(reason) = other_root(page, env) {
                return Ok(Outcome::NotOurs(reason));
            }
        }
        Remedy::Show => commit.show(original.unwrap_or(env.zero.phys()))?,
        Remedy::TakeBack => {
            commit.take_back();
            tables.check_marks(page);
        }
        Remedy::Commit => {
            if let Some(pages) = commit.give_frame(original, env.policies.limit_pages())? {
                Mapping { record: &mut *record, tables, platform: &env.platform }.demote(pages);
            }
        }
        Remedy::Upgrade => commit.replace_shared(original)?,
    }
    record.figures.faults += 1;
    Ok(Outcome::Handled)
}

/// The reason for a fault on a mapped page, if the CPU is in a root that does not lead to it.
fn other_root<P: Platform>(page: Page, env: &Env<P>) -> Option<NotOurs> {
    let root = env.platform.active_root()?;
    // SAFETY: the root is a level-4 table, by guarantee 5 of `Platform`.
    let is_attached = unsafe { env.window.is_attached_to(root, page) };
    (!is_attached).then_some(NotOurs::OtherRoot { index: page.p4_index() })
}

/// Makes frames available that can end this shortage, and returns whether it has found any.
fn relieve<P: Platform>(state: &mut State, address: VirtAddr, shortage: Shortage, env: &Env<P>) -> bool {
    let Some(record) = state.directory.find(address) else { return false };
    let payer: *const Account = Arc::as_ptr(&record.account);
    let helps = |record: &Record| match shortage {
        // Frames of reserved accounts stay reserved for them.
        Shortage::SourceEmpty => !record.account.is_reserved(),
        Shortage::CapReached { .. } => Arc::as_ptr(&record.account) == payer,
    };
    let is_relieved = state.reclaim_some(helps, RECLAIM_FRAMES, &env.platform).frames_released > 0
        // The pages that this finds become deferred. The next call reclaims them.
        || state.demote_some(helps, &env.platform) > 0;
    if let Some(record) = state.directory.find(address) {
        record.run.record_shortage(record.figures.frames_released);
    }
    is_relieved
}

/// Makes a page that cannot get a frame lead to the sink.
fn lose<P: Platform>(state: &mut State, fault: Fault, shortage: Shortage, env: &Env<P>) -> Outcome {
    let Some(record) = state.directory.find(fault.address) else { return nowhere(fault.code) };
    record.account.mark_lost(shortage);
    cover(state, fault, env);
    Outcome::Handled
}

/// Makes what is missing on the way to the faulting page lead to the sink.
fn cover<P: Platform>(state: &mut State, fault: Fault, env: &Env<P>) {
    let Some(base) = state.directory.find(fault.address).map(|record| record.base()) else { return };
    if state.sink.is_lent_elsewhere(base) {
        state.recall_sink(&env.platform);
    }
    let State { tables, directory, sink, .. } = state;
    let page = Page::containing_address(fault.address);
    let oldest = sink.cover(base, page, &mut tables.descend(page, PageTableLevel::One));
    // The page may have shown a shared frame.
    env.platform.flush(page);
    if let Some(record) = directory.find(fault.address) {
        record.figures.faults += 1;
        env.cpus.record_change(record.account.seat(), &env.platform);
        record.account.seat().record_cover();
        if let Some(place) = oldest {
            Mapping { record, tables, platform: &env.platform }.uncover(place);
        }
    }
}

/// The outcome of a fault in no region.
pub(crate) fn nowhere(code: PageFaultErrorCode) -> Outcome {
    Outcome::NotOurs(classify(code, Place::Nowhere).err().unwrap_or(NotOurs::Stray))
}

/// Where the page is, and its state according to the lowest table on the way to it.
#[inline]
pub(super) fn place_of(page: Page, record: &Record, lowest: &Table<'_>) -> Place {
    if page >= record.usable_end() {
        return Place::BeyondLimit;
    }
    Place::Page(match lowest.state(page) {
        EntryState::Absent => PageState::Absent,
        EntryState::Shared => PageState::Shared,
        EntryState::Sink => PageState::Sink,
        EntryState::Deferred(_) => PageState::Deferred,
        // Detached entries live only while the lock is held. Were one seen, retrying is the answer.
        EntryState::Owned(_) | EntryState::Detached(_) => PageState::Own,
    })
}
