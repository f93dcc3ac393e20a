//! The fault that nearly all are: the first write to a page that reads as zero.
//!
//! If the page's level-1 table is there and a frame is free, it takes one lookup, one walk, and the write of
//! one entry; if it is a fill of zeros that can be stepped over, not even that. Nothing is decided here that
//! `resolve` would decide otherwise: a page that is not plainly absent, or for which there is not plainly a
//! frame, is left to that path, as it was found.
//!
//! The two are not for inlining: what they are given fits into registers, and what surrounds them does not.
//!
//! Called by: `AddressSpace::handle_fault` and its register-aware form, with the space's lock held, before `resolve`.

use x86_64::structures::idt::PageFaultErrorCode;
use x86_64::structures::paging::Page;
use x86_64::structures::paging::page_table::PageTableLevel;

use super::Fault;
use super::commit::fill_ahead;
use super::fast_forward::{Interrupted, ZeroStore};
use super::resolve::{end_of_skipping, step_over};
use crate::frame::FrameSource;
use crate::state::{Env, State};
use crate::supply::Supply;
use crate::table::Held;

/// The code of a first write. [`classify`](super::classify()) answers it with a commit if the page is absent.
const FIRST_WRITE: PageFaultErrorCode = PageFaultErrorCode::CAUSED_BY_WRITE;

/// Handles the fault if it is a plain first write, and says whether it is; if not, nothing has changed.
#[inline]
pub(crate) fn resolve_first_write<S: FrameSource, T>(
    state: &mut State,
    fault: Fault,
    interrupted: Option<&mut Interrupted<'_>>,
    env: Env<'_, S, T>,
) -> bool {
    if fault.code != FIRST_WRITE {
        return false;
    }
    match interrupted.and_then(|code| code.zero_store(fault.address)) {
        Some(store) => step_over_zeros(state, fault, store),
        None => commit(state, fault, env.source),
    }
}

/// Moves a fill of zeros over the pages that hold nothing, from the fault on.
#[inline(never)]
fn step_over_zeros(state: &mut State, fault: Fault, store: ZeroStore<'_>) -> bool {
    let State { tables, directory, policies, .. } = state;
    let page = Page::containing_address(fault.address);
    let Some(record) = directory.find(fault.address) else { return false };
    let Some(end) = end_of_skipping(page, record, policies.zero_stores) else { return false };
    let table = tables.descend(page, PageTableLevel::One);
    if page >= end || table.held(page) != Held::Absent || record.original(page).is_some() {
        return false;
    }
    let pages = store.pages(page, record.next_original(page, end));
    let absent_end = table.end_of_absent(pages);
    let is_stepped_over = step_over(store, pages, absent_end, tables);
    record.residency.faults += u64::from(is_stepped_over);
    is_stepped_over
}

/// Gives the page a frame of zeros.
#[inline(never)]
fn commit<S: FrameSource>(state: &mut State, fault: Fault, source: &S) -> bool {
    let State { tables, directory, policies, .. } = state;
    let page = Page::containing_address(fault.address);
    let Some(record) = directory.find(fault.address) else { return false };
    let Some(mut table) = tables.level1(page) else { return false };
    let is_usable = page < record.usable_end() && record.filling.is_none();
    let supply = Supply { memory: table.memory(), source, account: Some(&record.account) };
    let Some(vacant) = table.vacant(page).filter(|_| is_usable) else { return false };
    if record.original(page).is_some() {
        return false;
    }
    let Ok(blank) = supply.take() else { return false };
    vacant.put(blank);
    record.residency.count_resident(1);
    record.residency.faults += 1;
    let ahead_pages =
        record.run.note(page, policies.fault_around.limit_pages(), record.residency.frames_released);
    if ahead_pages > 0 {
        fill_ahead(page, ahead_pages, record, table, source);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::{PageState, Place, Remedy, classify};

    #[test]
    fn a_first_write_is_what_the_policy_answers_with_a_commit() {
        assert_eq!(classify(FIRST_WRITE, Place::Page(PageState::Absent)), Ok(Remedy::Commit));
    }
}
