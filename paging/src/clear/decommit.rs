//! Taking pages out of the tables, and the frames behind them back to their source.
//!
//! The order is the safety of it: (1) entries are cleared, tables that this empties are taken out of the
//! CPU's reach, and all frames stay in their entries, detached; (2) the TLB is flushed, in one batch; (3) a
//! second walk releases the frames, a batch at a time. Nothing is allocated, so it cannot fail, and a walk
//! takes one step for each entry and table that exists in the range, not for each page. A table that lies
//! wholly inside of the range, and has more pages than are flushed one by one, is cut off by one step: its
//! entries are looked at by the second walk only. A range that is a part of one level-1 table needs no walk
//! from the top, but if that empties the table.
//!
//! Called by: decommit, a lowered limit, the recall of the sink, the reclaim of deferred frames, the drop of
//! a region, and a reserve that fails halfway.

use core::ops::AddAssign;

use x86_64::structures::paging::page::PageRange;
use x86_64::structures::paging::page_table::PageTableLevel;

use crate::frame::{Frame, FrameBatch, FrameRun, FrameSource};
use crate::pages::{count, pages_per_table};
use crate::record::{Block, Record, Residency};
use crate::state::{CoveredTables, Env, Policies, Releases};
use crate::supply::Supply;
use crate::table::{Detached, Held, Reach, Sweep, Table, WindowTables};
use crate::tlb::{FLUSH_SINGLY, FlushBatch, Tlb};

/// What a decommit or a reclaim gave back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Decommitted {
    /// Data frames that went back to the frame source.
    pub frames_released: u64,
    /// Table frames that went back to the frame source, because they were empty.
    pub tables_released: u64,
}

impl AddAssign for Decommitted {
    fn add_assign(&mut self, more: Self) {
        self.frames_released += more.frames_released;
        self.tables_released += more.tables_released;
    }
}

/// Takes pages of one region out of the tables, and releases what was behind them.
pub(crate) fn sweep<S: FrameSource, T: Tlb>(
    what: Sweep,
    pages: PageRange,
    record: &mut Record,
    tables: &mut WindowTables,
    env: Env<'_, S, T>,
) -> Decommitted {
    let (residency, batch) = (&mut record.residency, FlushBatch::new());
    let policies = env.policies;
    let mut detacher = Detacher { what, policies, residency, batch, found: Found::Nothing };
    let way = detacher.detach_all(pages, tables);
    detacher.batch.flush(env.tlb);
    if detacher.found == Found::Nothing {
        return Decommitted::default();
    }

    let supply = Supply { memory: tables.memory(), source: env.source, account: Some(&*record.account) };
    let (block, residency) = (&record.block, &mut record.residency);
    let released = Decommitted::default();
    let batch = FrameBatch::new();
    let mut reaper = Reaper { block, policies, residency, supply, batch, released, shared: 0 };
    // SAFETY: the TLB was flushed just now for everything that the walk before has detached; for deferred
    // pages, when they were deferred.
    unsafe { reaper.reap_all(pages, tables, way) };
    reaper.release_batch();
    let Reaper { released, shared, .. } = reaper;
    record.residency.frames_released += released.frames_released;
    record.residency.table_frames -= released.tables_released;
    tables.forget_shared(shared);
    released
}

/// Clears entries, and detaches the frames that they own.
struct Detacher<'a> {
    what: Sweep,
    policies: Policies,
    residency: &'a mut Residency,
    batch: FlushBatch,
    found: Found,
}

/// Where the second walk has to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Straight to the one level-1 table that all pages are in.
    OneTable,
    /// Through all tables, from the top.
    AllTables,
}

/// Whether there is anything for the second walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    Frames,
}

impl Detacher<'_> {
    /// Detaches all that is to be swept; a small range needs no walk if its table stays.
    fn detach_all(&mut self, pages: PageRange, tables: &mut WindowTables) -> Way {
        if let Some(mut table) = tables.level1_around(pages) {
            self.detach(pages, &mut table);
            if table.is_used() {
                return Way::OneTable;
            }
        }
        tables.each_used_level3(pages, |mut table, piece| self.detach(piece, &mut table));
        Way::AllTables
    }

    fn detach(&mut self, pages: PageRange, table: &mut Table<'_>) {
        if table.level() == PageTableLevel::One {
            let detached = table.detach_pages(pages, self.what, &mut self.batch);
            if detached != Detached::default() {
                self.found = Found::Frames;
                self.residency.forget(detached);
            }
            return;
        }
        table.each_used(pages, |table, used| match (table.held(used.start), self.what) {
            (Held::Sink, Sweep::Everything | Sweep::Sink) => {
                table.uncover(used.start);
                self.batch.add_entry(used.start, table.level());
            }
            (Held::Owned(_), _) => self.detach_below(used, table),
            (Held::Absent | Held::Shared | Held::Deferred(_) | Held::Detached(_), _)
            | (Held::Sink, Sweep::Deferred | Sweep::Shared) => {}
        });
    }

    /// Detaches pages of the table below and then the table, if nothing needs it any more; or the table
    /// alone, with all that is in it.
    fn detach_below(&mut self, pages: PageRange, table: &mut Table<'_>) {
        if self.cuts_off(pages, table) {
            table.detach(pages.start);
            self.found = Found::Frames;
            self.batch.add_everything();
            return;
        }
        if let Some(mut below) = table.below(pages.start) {
            self.detach(pages, &mut below);
        }
        if !table.is_needed(pages.start) {
            table.detach(pages.start);
            self.found = Found::Frames;
            // Any page of the table: that drops the CPU's cached reference (Intel SDM Vol 3A, 4.10.4.1).
            self.batch.add(pages.start);
        }
    }

    /// Whether the table below goes as a whole, with so many entries that everything is to be flushed anyway.
    fn cuts_off(&self, pages: PageRange, table: &Table<'_>) -> bool {
        match self.policies.covered_tables {
            CoveredTables::Off => return false,
            CoveredTables::CutOff => {}
        }
        let is_crowded = table.occupancy(pages.start) > FLUSH_SINGLY as u64;
        let level = table.level().next_lower_level();
        let is_covered = level.is_some_and(|level| count(pages) == pages_per_table(level));
        self.what == Sweep::Everything && is_crowded && is_covered
    }
}

/// Releases detached frames.
struct Reaper<'a, S> {
    block: &'a Block,
    policies: Policies,
    residency: &'a mut Residency,
    supply: Supply<'a, S>,
    batch: FrameBatch,
    released: Decommitted,
    /// Released tables that belonged to the space and not to the region.
    shared: u64,
}

impl<S: FrameSource> Reaper<'_, S> {
    /// # Safety
    ///
    /// The caller guarantees that the TLB was flushed for everything that is detached in the range.
    unsafe fn reap_all(&mut self, pages: PageRange, tables: &mut WindowTables, way: Way) {
        if way == Way::OneTable
            && let Some(mut table) = tables.level1_around(pages)
        {
            // SAFETY: forwarded from this function's contract.
            unsafe { self.reap(pages, &mut table, Reach::Within) };
            return;
        }
        tables.each_level3(pages, |mut table, piece| {
            // SAFETY: a piece is a part of what this function's contract covers.
            unsafe { self.reap(piece, &mut table, Reach::Within) };
        });
    }

    /// # Safety
    ///
    /// The caller guarantees that the TLB was flushed for everything that is detached in this table and
    /// below, or, if the table is cut off, for all of its pages.
    unsafe fn reap(&mut self, pages: PageRange, table: &mut Table<'_>, reach: Reach) {
        if table.level() == PageTableLevel::One {
            // SAFETY: forwarded from this function's contract.
            let detached = unsafe { table.take_pages(pages, reach, |run| self.release(run)) };
            self.residency.forget(detached);
            return;
        }
        table.each_used(pages, |table, used| {
            let reach_below = match table.held(used.start) {
                Held::Absent | Held::Shared | Held::Sink | Held::Deferred(_) => return,
                Held::Owned(_) => reach,
                Held::Detached(_) => Reach::CutOff,
            };
            if let Some(mut below) = table.below(used.start) {
                // SAFETY: what is below is a part of what this function's contract covers.
                unsafe { self.reap(used, &mut below, reach_below) };
            }
            if reach_below == Reach::CutOff {
                // SAFETY: forwarded from this function's contract.
                let frame = unsafe { table.take_table(used.start) };
                self.release_table(frame, table.level());
            }
        });
    }

    /// Releases data frames, at the latest with the last of the batch.
    fn release(&mut self, frames: FrameRun) {
        match self.policies.releases {
            Releases::Off => {
                self.released.frames_released += frames.phys().len();
                frames.for_each(|frame| self.supply.give_back(frame));
            }
            Releases::Batched => {
                if self.batch.is_full() {
                    self.release_batch();
                }
                self.batch.push(frames);
            }
        }
    }

    fn release_batch(&mut self) {
        self.released.frames_released += self.batch.len();
        self.supply.give_back_all(&mut self.batch);
    }

    /// Releases the frame of a table that an entry of a table at this level owned.
    fn release_table(&mut self, frame: Frame, above: PageTableLevel) {
        let is_own = above.next_lower_level().is_some_and(|level| self.block.owns_tables(level));
        if is_own {
            self.released.tables_released += 1;
            self.supply.give_back(frame);
        } else {
            self.shared += 1;
            Supply { account: None, ..self.supply }.give_back(frame);
        }
    }
}
