//! Resolving a fault: from the decision to the edited tables.
//!
//! A frame is taken and zeroed before the entry that publishes it is written. Where there is no frame, be it
//! for data or for a table, the sink covers the highest level that is missing and the account is marked as
//! lost: the interrupted code cannot be told, so it goes on, and its owner finds out later. Nothing is left
//! half done: a table that was made is needed at once, by the page or by the cover.
//!
//! Called by: `AddressSpace::handle_fault` and its register-aware form, with the space's lock held.

use x86_64::VirtAddr;
use x86_64::structures::idt::PageFaultErrorCode;
use x86_64::structures::paging::Page;
use x86_64::structures::paging::page::PageRange;
use x86_64::structures::paging::page_table::PageTableLevel;

use super::classify::{PageState, Place, Remedy, classify};
use super::fast_forward::Interrupted;
use super::{Fault, NotOurs, Outcome};
use crate::directory::Record;
use crate::frame::{Frame, FrameSource};
use crate::memory::PhysicalMemory;
use crate::space::{Host, State};
use crate::supply::{Shortage, Supply};
use crate::table::{Held, Table};
use crate::tlb::Tlb;
use crate::window::WindowTables;

/// Handles a fault, or says why not.
pub(crate) fn resolve<S: FrameSource, T: Tlb>(
    state: &mut State,
    fault: Fault,
    interrupted: Option<Interrupted<'_>>,
    host: Host<'_, S, T>,
) -> Outcome {
    let State { tables, directory, zero } = state;
    let page = Page::containing_address(fault.address);
    let Some(record) = directory.find(fault.address) else { return nowhere(fault.code) };
    let remedy = match classify(fault.code, place_of(page, record, tables)) {
        Ok(remedy) => remedy,
        Err(reason) => return Outcome::NotOurs(reason),
    };
    record.residency.faults += 1;
    let filling = record.filling_at(page);
    let resolver = Resolver { page, record, tables, host };
    match (remedy, filling) {
        (Remedy::Retry, _) => {}
        (Remedy::ShowZero, _) => resolver.show_zero(zero),
        (Remedy::Commit, None) => resolver.commit(),
        (Remedy::Upgrade, None) => resolver.upgrade(),
        (Remedy::Commit | Remedy::Upgrade, Some(filling)) => {
            resolver.absorb(filling, fault.address, interrupted);
        }
    }
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
    fn show_zero(self, zero: &Frame) {
        let Self { page, record, tables, host } = self;
        match level1_table(page, record, tables, host.source) {
            Ok(mut table) => table.show_zero(page, zero),
            Err(mut lowest) => lose(page, record, &mut lowest),
        }
    }

    /// The page was written and holds nothing.
    fn commit(self) {
        let Self { page, record, tables, host } = self;
        let memory = tables.memory();
        match level1_table(page, record, tables, host.source) {
            Ok(mut table) => fill(page, record, &mut table, memory, host.source),
            Err(mut lowest) => lose(page, record, &mut lowest),
        }
    }

    /// The page was written and shows the zero frame, which the TLB may know.
    fn upgrade(self) {
        let Self { page, record, tables, host } = self;
        let memory = tables.memory();
        let mut table = tables.descend(page, PageTableLevel::One);
        fill(page, record, &mut table, memory, host.source);
        host.tlb.flush(page);
    }

    /// The page reads as zero, and is written while the embedder writes zeros only: nothing need be kept.
    fn absorb(self, filling: PageRange, address: VirtAddr, interrupted: Option<Interrupted<'_>>) {
        let Self { page, record, tables, host } = self;
        let end = tables.first_held(Page::range(page, filling.end)).unwrap_or(filling.end);
        if interrupted.is_some_and(|interrupted| interrupted.fast_forward(address, end.start_address())) {
            return;
        }
        let mut lowest = tables.descend(page, PageTableLevel::One);
        record.sink.cover(page, &mut lowest);
        // The page may have shown the zero frame.
        host.tlb.flush(page);
    }
}

/// The page's level-1 table, made if need be; or, without a frame to make it of, the lowest table there is.
fn level1_table<'t, S: FrameSource>(
    page: Page,
    record: &mut Record,
    tables: &'t mut WindowTables,
    source: &S,
) -> Result<Table<'t>, Table<'t>> {
    let supply = Supply { memory: tables.memory(), source, account: Some(&record.account) };
    let made = &mut record.residency.table_frames;
    let take = || supply.take().inspect(|_| *made += 1);
    tables.reach(page, PageTableLevel::One, take).map_err(|stopped| stopped.lowest)
}

/// Gives the page a zeroed frame of its own, or the sink.
fn fill<S: FrameSource>(
    page: Page,
    record: &mut Record,
    table: &mut Table<'_>,
    memory: PhysicalMemory,
    source: &S,
) {
    match (Supply { memory, source, account: Some(&record.account) }).take() {
        Ok(blank) => {
            table.put(page, blank);
            record.residency.count_resident();
        }
        Err(Shortage::SourceEmpty | Shortage::CapReached { .. }) => lose(page, record, table),
    }
}

/// There is no frame: lets the access go into the sink, and tells the owner.
fn lose(page: Page, record: &mut Record, lowest: &mut Table<'_>) {
    record.account.mark_lost();
    record.sink.cover(page, lowest);
}
