//! Taking pages out of the tables, and the frames behind them back to their source.
//!
//! The order is the safety of it: (1) entries are cleared, tables that this empties are taken out of the
//! CPU's reach, and all frames stay in their entries, detached; (2) the TLB is flushed, in one batch; (3) a
//! second walk releases the frames. Nothing is allocated, so it cannot fail, and a walk takes one step for
//! each entry and table that exists in the range, not for each page.
//!
//! Called by: decommit, a lowered limit, the zero-fill guard, the other ways to clear pages (for the sink),
//! the reclaim of deferred frames, the drop of a region, and a reserve that fails halfway.

use core::ops::AddAssign;

use x86_64::structures::paging::page::PageRange;
use x86_64::structures::paging::page_table::PageTableLevel;

use crate::directory::Record;
use crate::frame::{Frame, FrameSource};
use crate::memory::PhysicalMemory;
use crate::region::Residency;
use crate::space::Host;
use crate::supply::Supply;
use crate::table::{Held, Table, pieces};
use crate::tlb::{FlushBatch, Tlb};
use crate::window::WindowTables;

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

/// What a sweep takes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sweep {
    /// Every page.
    Everything,
    /// The sink only; an entry that leads to it is removed whole, even if it reaches out of the range.
    Sink,
    /// Deferred pages only.
    Deferred,
}

/// Takes pages of one region out of the tables, and releases what was behind them.
pub(crate) fn sweep<S: FrameSource, T: Tlb>(
    what: Sweep,
    pages: PageRange,
    record: &mut Record,
    tables: &mut WindowTables,
    host: Host<'_, S, T>,
) -> Decommitted {
    let residency = &mut record.residency;
    let mut detacher = Detacher { what, residency, batch: FlushBatch::new() };
    tables.each_level3(pages, |mut table, piece| detacher.detach(piece, &mut table));
    detacher.batch.flush(host.tlb);

    let memory = tables.memory();
    let mut reaper =
        Reaper { record, memory, source: host.source, released: Decommitted::default(), shared: 0 };
    // SAFETY: the TLB was flushed just now for everything that the walk before has detached; for deferred
    // pages, when they were deferred.
    tables.each_level3(pages, |mut table, piece| unsafe { reaper.reap(piece, &mut table) });
    let Reaper { released, shared, .. } = reaper;
    tables.forget_shared(shared);
    released
}

/// Takes out the entries of these pages that lead to the sink, if there can be any.
pub(crate) fn uncover<S: FrameSource, T: Tlb>(
    pages: PageRange,
    record: &mut Record,
    tables: &mut WindowTables,
    host: Host<'_, S, T>,
) {
    if record.may_lead_to_sink() {
        sweep(Sweep::Sink, pages, record, tables, host);
    }
}

/// Clears entries, and detaches the frames that they own.
struct Detacher<'a> {
    what: Sweep,
    residency: &'a mut Residency,
    batch: FlushBatch,
}

impl Detacher<'_> {
    fn detach(&mut self, pages: PageRange, table: &mut Table<'_>) {
        for piece in pieces(pages, table.level()) {
            match (table.held(piece.start), self.what) {
                (Held::Absent | Held::Detached(_), _)
                | (Held::Zero, Sweep::Sink | Sweep::Deferred)
                | (Held::Sink, Sweep::Deferred)
                | (Held::Deferred(_), Sweep::Sink) => {}
                (Held::Zero, Sweep::Everything) | (Held::Sink, Sweep::Everything | Sweep::Sink) => {
                    table.uncover(piece.start);
                    self.batch.add_entry(piece.start, table.level());
                }
                // Its page was flushed when it was deferred.
                (Held::Deferred(_), Sweep::Everything | Sweep::Deferred) => {
                    table.detach(piece.start);
                    self.residency.deferred_frames -= 1;
                }
                (Held::Owned(_), _) => self.detach_owned(piece, table),
            }
        }
    }

    /// Detaches a data frame, or pages of the table below and then the table, if nothing needs it any more.
    fn detach_owned(&mut self, piece: PageRange, table: &mut Table<'_>) {
        let is_needed = match (table.below(piece.start), self.what) {
            (Some(mut below), _) => {
                self.detach(piece, &mut below);
                table.is_needed(piece.start)
            }
            (None, Sweep::Sink | Sweep::Deferred) => true,
            (None, Sweep::Everything) => {
                self.residency.resident_frames -= 1;
                false
            }
        };
        if !is_needed {
            table.detach(piece.start);
            // For a table, any page of it: that drops the CPU's cached reference (Intel SDM Vol 3A,
            // 4.10.4.1).
            self.batch.add(piece.start);
        }
    }
}

/// Releases detached frames.
struct Reaper<'a, S> {
    record: &'a mut Record,
    memory: PhysicalMemory,
    source: &'a S,
    released: Decommitted,
    /// Released tables that belonged to the space and not to the region.
    shared: u64,
}

impl<S: FrameSource> Reaper<'_, S> {
    /// # Safety
    ///
    /// The caller guarantees that the TLB was flushed for everything that is detached in this table and
    /// below.
    unsafe fn reap(&mut self, pages: PageRange, table: &mut Table<'_>) {
        let level = table.level();
        for piece in pieces(pages, level) {
            if let Some(mut below) = table.below(piece.start) {
                // SAFETY: what is below is a part of what this function's contract covers.
                unsafe { self.reap(piece, &mut below) };
            }
            // SAFETY: forwarded from this function's contract.
            if let Some(frame) = unsafe { table.take_detached(piece.start) } {
                self.release(frame, level.next_lower_level());
            }
        }
    }

    /// Releases a data frame, or the frame of a table of this level.
    fn release(&mut self, frame: Frame, table_level: Option<PageTableLevel>) {
        let residency = &mut self.record.residency;
        let account = match table_level {
            None => {
                residency.frames_released += 1;
                self.released.frames_released += 1;
                Some(&*self.record.account)
            }
            Some(level) if self.record.block.owns_tables(level) => {
                residency.table_frames -= 1;
                self.released.tables_released += 1;
                Some(&*self.record.account)
            }
            Some(_) => {
                self.shared += 1;
                None
            }
        };
        Supply { memory: self.memory, source: self.source, account }.give_back(frame);
    }
}
