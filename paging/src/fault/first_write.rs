//! The most common fault: the first write to a page that reads as zero.
//!
//! If the page's level-1 table exists and a frame is free, it takes one lookup, one walk, and the
//! write of one entry. A fill of zeros that can be stepped over takes no frame either. A first
//! write is what `classify` answers with a commit. Any other fault, and one for which a table or a
//! frame is missing, is left unchanged to the rest of the fault path.
//!
//! The two functions are not inlined, because their parameters fit into registers, and those of
//! their caller do not.

use x86_64::structures::idt::PageFaultErrorCode;
use x86_64::structures::paging::Page;

use super::Fault;
use super::classify::{PageState, Place};
use super::commit::Commit;
use super::fast_forward::{Interrupted, ZeroStore, step_over};
use super::resolve::place_of;
use crate::platform::Platform;
use crate::state::{Env, Mapping, State};

/// The error code of a first write.
const FIRST_WRITE: PageFaultErrorCode = PageFaultErrorCode::CAUSED_BY_WRITE;

/// Whether a fault with this error code at an address in this place is a first write.
fn is_first_write(code: PageFaultErrorCode, place: Place) -> bool {
    code == FIRST_WRITE && place == Place::Page(PageState::Absent)
}

/// Handles the fault if it is a plain first write, and returns whether it is. If not, nothing has
/// changed.
#[inline]
pub(super) fn first_write<P: Platform>(
    state: &mut State,
    fault: Fault,
    interrupted: Option<&mut Interrupted<'_>>,
    env: &Env<P>,
) -> bool {
    if fault.code != FIRST_WRITE {
        return false;
    }
    match interrupted.and_then(|code| code.zero_store(fault.address)) {
        Some(store) => step_over_zeros(state, fault, store, env),
        None => commit(state, fault, env),
    }
}

/// Moves a fill of zeros to the end of the absent pages that start with the faulting one.
#[inline(never)]
fn step_over_zeros<P>(state: &mut State, fault: Fault, store: ZeroStore<'_>, env: &Env<P>) -> bool {
    let State { tables, records } = state;
    let page = Page::containing_address(fault.address);
    let Some(record) = records.find(fault.address) else { return false };
    let is_first_write = |place| is_first_write(fault.code, place);
    step_over(page, store, record, tables, env.policies.zero_stores(), is_first_write)
}

/// Gives the page a frame of zeros.
#[inline(never)]
fn commit<P: Platform>(state: &mut State, fault: Fault, env: &Env<P>) -> bool {
    let State { tables, records } = state;
    let page = Page::containing_address(fault.address);
    let Some(record) = records.find(fault.address) else { return false };
    let Some(mut table) = tables.level1(page) else { return false };
    let place = place_of(page, record, &table);
    if !is_first_write(fault.code, place) || !record.filling.is_empty() || record.original(page).is_some() {
        return false;
    }
    let supply = env.supply(Some(&record.account));
    let Some(vacant) = table.vacant(page) else { return false };
    let Ok(zeroed) = supply.take() else { return false };
    vacant.put(zeroed);
    record.figures.count_mapped(1);
    record.figures.faults += 1;
    let ahead_pages = record.follow_run(page, env.policies.limit_pages());
    if ahead_pages > 0
        && let Some(pages) = (Commit { page, record: &mut *record, table, env }).fill_ahead(ahead_pages)
    {
        Mapping { record, tables, platform: &env.platform }.demote(pages);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::classify::tests::{every_code, every_place};
    use crate::fault::classify::{Remedy, classify};

    #[test]
    fn a_first_write_is_exactly_what_is_answered_with_a_commit() {
        for (code, place) in every_code().flat_map(|code| every_place().map(move |place| (code, place))) {
            let is_committed = classify(code, place) == Ok(Remedy::Commit);
            assert_eq!(is_first_write(code, place), is_committed, "{code:?} at {place:?}");
        }
    }
}
