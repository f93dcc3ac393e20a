//! Resolving a fault: from the decision to the edited tables.
//!
//! An attempt works on one shard, whose lock the caller holds. It may meet an obstacle that lies
//! outside of the shard: no frame is left for data or for a table, or the sink is lent. The caller
//! removes it, with no lock held, and attempts again. Tables that the first attempt made are used
//! by the next one, or released by the sweep that clears the page.
//!
//! The last resort is the sink: it, or zeros if the page is read, covers the highest level that is
//! missing, and the account is marked as lost. The interrupted code cannot get an error, so it goes
//! on, and its owner checks the account later.

use x86_64::VirtAddr;
use x86_64::structures::idt::PageFaultErrorCode;
use x86_64::structures::paging::Page;
use x86_64::structures::paging::page_table::PageTableLevel;

use super::classify::{PageState, Place, Remedy, classify};
use super::commit::Commit;
use super::fast_forward::{Interrupted, step_over};
use super::first_write::first_write;
use super::{Fault, NotOurs};
use crate::frame::Shortage;
use crate::platform::Platform;
use crate::record::Record;
use crate::state::{Env, Mapping, State};
use crate::table::{EntryState, LostAccess, Table};

/// Why an attempt has not resolved a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unresolved {
    /// The fault is not ours. Nothing has changed.
    NotOurs(NotOurs),
    /// No frame is left.
    Shortage(Shortage),
    /// The sink of this CPU is lent to the region with this base.
    SinkLent(VirtAddr),
}

impl From<NotOurs> for Unresolved {
    fn from(reason: NotOurs) -> Self {
        Self::NotOurs(reason)
    }
}

impl From<Shortage> for Unresolved {
    fn from(shortage: Shortage) -> Self {
        Self::Shortage(shortage)
    }
}

/// Resolves a fault.
#[inline]
pub(crate) fn attempt<P: Platform>(
    state: &mut State,
    fault: Fault,
    mut interrupted: Option<Interrupted<'_>>,
    env: &Env<P>,
) -> Result<(), Unresolved> {
    if first_write(state, fault, interrupted.as_mut(), env) {
        return Ok(());
    }
    attempt_any(state, fault, interrupted, env)
}

#[cold]
fn attempt_any<P: Platform>(
    state: &mut State,
    fault: Fault,
    mut interrupted: Option<Interrupted<'_>>,
    env: &Env<P>,
) -> Result<(), Unresolved> {
    let State { tables, records } = state;
    let page = Page::containing_address(fault.address);
    let Some(record) = records.find(fault.address) else { return Err(nowhere(fault.code).into()) };
    let mut table = tables.descend(page, PageTableLevel::One);
    let remedy = match classify(fault.code, place_of(page, record, &table)) {
        Ok(remedy) => remedy,
        Err(NotOurs::Protection) => return Err(other_root(page, env).unwrap_or(NotOurs::Protection).into()),
        Err(reason) => return Err(reason.into()),
    };
    if remedy.reads_as_zero()
        && let Some(store) = interrupted.as_mut().and_then(|code| code.zero_store(fault.address))
    {
        if step_over(page, store, record, tables, env.policies.zero_stores(), |_| true) {
            return Ok(());
        }
        table = tables.descend(page, PageTableLevel::One);
    }
    let original = record.original(page);
    if remedy == Remedy::Absorb || remedy.takes_frame() && original.is_none() && record.is_filling(page) {
        return cover(state, fault, env);
    }
    let commit = Commit { page, record: &mut *record, table, env };
    match remedy {
        // The page was mapped since by another CPU, or this fault would occur for ever.
        Remedy::Retry => {
            if let Some(reason) = other_root(page, env) {
                return Err(reason.into());
            }
        }
        Remedy::Absorb => unreachable!("the sink has absorbed the write above"),
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
    Ok(())
}

/// The reason for a fault on a mapped page, if the CPU is in a root that does not lead to it.
fn other_root<P: Platform>(page: Page, env: &Env<P>) -> Option<NotOurs> {
    let root = env.platform.active_root()?;
    // SAFETY: the root is a level-4 table, by guarantee 5 of `Platform`.
    let is_attached = unsafe { env.window.is_attached_to(root, page) };
    (!is_attached).then_some(NotOurs::OtherRoot { index: page.p4_index() })
}

/// Attempts again to resolve a fault that has met a shortage. The region commits nothing ahead from
/// then on, until it has released a frame.
pub(crate) fn attempt_again<P: Platform>(
    state: &mut State,
    fault: Fault,
    env: &Env<P>,
) -> Result<(), Unresolved> {
    if let Some(record) = state.records.find(fault.address) {
        record.run.record_shortage(record.figures.frames_released);
    }
    attempt(state, fault, None, env)
}

/// Makes a page that cannot get a frame lead to the sink, and marks the account as lost.
pub(crate) fn lose<P: Platform>(
    state: &mut State,
    fault: Fault,
    shortage: Shortage,
    env: &Env<P>,
) -> Result<(), Unresolved> {
    cover(state, fault, env)?;
    if let Some(record) = state.records.find(fault.address) {
        record.run.record_shortage(record.figures.frames_released);
        record.account.mark_lost(shortage);
    }
    Ok(())
}

/// Makes what is missing on the way to the faulting page lead to the sink of this CPU, or to zeros
/// if the page is read.
fn cover<P: Platform>(state: &mut State, fault: Fault, env: &Env<P>) -> Result<(), Unresolved> {
    let State { tables, records } = state;
    let Some(record) = records.find(fault.address) else { return Err(nowhere(fault.code).into()) };
    let base = record.base();
    let page = Page::containing_address(fault.address);
    let cpu = env.platform.cpu();
    let is_write = fault.code.contains(PageFaultErrorCode::CAUSED_BY_WRITE);
    let access = if is_write { LostAccess::Write } else { LostAccess::Read };
    let mut sink = env.sinks[cpu].lock();
    if let Some(borrower) = sink.borrower().filter(|borrower| *borrower != base) {
        return Err(Unresolved::SinkLent(borrower));
    }
    let oldest = sink.cover(base, page, &mut tables.descend(page, PageTableLevel::One), access);
    drop(sink);
    // The page may have shown a shared frame. Another CPU may cache that too. It takes the sink
    // back before it uses the region, which flushes the page.
    env.platform.flush(page);
    record.account.seat().record_cover();
    record.sinks |= 1 << cpu;
    record.figures.faults += 1;
    if let Some(place) = oldest {
        Mapping { record, tables, platform: &env.platform }.uncover(place);
    }
    Ok(())
}

/// Why a fault in no region is not ours.
pub(crate) fn nowhere(code: PageFaultErrorCode) -> NotOurs {
    classify(code, Place::Nowhere).err().unwrap_or(NotOurs::Stray)
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
