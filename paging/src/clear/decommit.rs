//! Unmapping pages and releasing what they own.
//!
//! A sweep takes three steps. The first walk takes entries out of the CPU's reach, and the tables
//! that this empties; all frames stay in their entries, detached. Then the TLB is flushed, in one
//! batch. The second walk takes the frames out and releases them, many at a time.
//!
//! With several CPUs, a table that another one may still cache is not released but waits, in a
//! [`Limbo`]. A table of a reserved account stays where it is instead, empty, because its frame
//! would be reserved for the account anyway. It is released when the region ends.
//!
//! A sweep allocates nothing, so it cannot fail. It takes one step for each entry and table that
//! exists in the range, and not for each page. A table that lies inside of the range as a whole is
//! cut off in one step if everything has to be flushed anyway, because it or the tables before it
//! have more pages than are flushed one by one. Only the second walk looks at its entries. A range
//! within one level-1 table needs no walk from the top, unless it empties the table.

use core::ops::AddAssign;

use x86_64::structures::paging::Page;
use x86_64::structures::paging::page::PageRange;
use x86_64::structures::paging::page_table::PageTableLevel;

use crate::frame::{Frame, FrameBatch, FrameRun, FrameSource};
use crate::pages::{count, pages_per_table};
use crate::platform::Platform;
use crate::record::{Block, Figures};
use crate::state::Mapping;
use crate::supply::Supply;
use crate::table::{
    FirstStep, FrameCounts, Reach, SecondStep, ShardTables, Sweep, Table, first_step, second_step,
};
use crate::tlb::{FLUSH_SINGLY, FlushBatch, Flushed, Limbo, Seat, Wait};

/// The frames that a decommit or a reclaim released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Decommitted {
    /// Data frames that went back to the frame source.
    pub frames_released: u64,
    /// Table frames that went back to the frame source, because they were empty.
    pub tables_released: u64,
    /// Table frames that were empty, and go back when other CPUs have flushed their TLBs.
    pub tables_waiting: u64,
}

impl AddAssign for Decommitted {
    fn add_assign(&mut self, more: Self) {
        self.frames_released += more.frames_released;
        self.tables_released += more.tables_released;
        self.tables_waiting += more.tables_waiting;
    }
}

impl<P: Platform> Mapping<'_, P> {
    /// Takes pages out of the tables and releases what they owned.
    pub(crate) fn sweep(&mut self, sweep: Sweep, pages: PageRange) -> Decommitted {
        self.sweep_with(sweep, pages, |_| (), |releases, frames| releases.push(frames))
    }

    /// As [`sweep`](Self::sweep), and passes data frames to `take` in ascending order of their
    /// pages, which releases or keeps them. `begin` may add to the flush before the first walk.
    pub(super) fn sweep_with(
        &mut self,
        sweep: Sweep,
        pages: PageRange,
        begin: impl FnOnce(&mut FlushBatch),
        mut take: impl FnMut(&mut Releases<'_, P::Frames>, FrameRun),
    ) -> Decommitted {
        let keeps_tables = self.keeps_tables();
        let figures = &mut self.record.figures;
        let mut detacher = Detacher {
            sweep,
            figures,
            keeps_tables,
            batch: FlushBatch::new(),
            found: Found::Nothing,
            detached: 0,
        };
        begin(&mut detacher.batch);
        let way = detacher.detach_all(pages, self.tables);
        let flushed = detacher.batch.flush(self.platform);
        let found = detacher.found;
        let detached = detacher.detached;
        let seat = self.record.account.seat();
        self.tables.cpus().record_change(seat, self.platform);
        if found == Found::Nothing {
            return Decommitted::default();
        }

        let mut reaper = Reaper {
            sweep,
            block: &self.record.block,
            figures: &mut self.record.figures,
            flushed,
            detached,
            frames: Releases::new(Supply::new(
                self.platform.frames(),
                self.tables.memory(),
                Some(&self.record.account),
            )),
            own_tables: 0,
            shared_tables: 0,
            detained: Detained::of(self.tables, seat, self.platform),
        };
        reaper.reap_all(pages, self.tables, way, &mut take);
        reaper.frames.release_batch();
        let Reaper { frames, own_tables, shared_tables, detained, .. } = reaper;
        let mut released = Decommitted {
            frames_released: frames.released - own_tables,
            tables_released: own_tables,
            tables_waiting: 0,
        };
        if let Some(detained) = detained {
            released.tables_waiting = detained.own_tables;
            frames.supply.unhold(detained.own_tables);
            self.record.figures.table_frames -= detained.own_tables;
            self.record.figures.tables_waited += detained.own_tables;
            self.tables.detain_shared(detained.shared_tables);
            self.tables.cpus().detain(detained.queue, detained.wait.cpus);
        }
        self.record.figures.frames_released += released.frames_released;
        self.record.figures.table_frames -= released.tables_released;
        self.record.figures.tables_released += released.tables_released;
        self.tables.forget_shared(shared_tables);
        released
    }

    /// Whether empty tables stay, because the account is reserved, and they would have to wait.
    pub(crate) fn keeps_tables(&self) -> bool {
        self.platform.cpus() > 1
            && self.record.account.is_reserved()
            && !self.record.is_ending
            && self.tables.may_cache(self.record.account.seat(), self.platform) != 0
    }
}

/// The first walk: it takes entries out of the CPU's reach.
struct Detacher<'a> {
    sweep: Sweep,
    figures: &'a mut Figures,
    /// Whether empty tables stay.
    keeps_tables: bool,
    batch: FlushBatch,
    found: Found,
    /// Data frames that were detached one by one.
    detached: u64,
}

/// Where the second walk has to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Straight to the one level-1 table that all pages are in.
    OneTable,
    /// Through all tables, from the top.
    AllTables,
}

/// Whether the second walk is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    Frames,
}

impl Sweep {
    /// Whether the table that the page's entry owns has no page of this sweep.
    fn passes(self, table: &Table<'_>, page: Page) -> bool {
        self == Self::Deferred && !table.leads_to_deferred(page)
    }
}

impl Detacher<'_> {
    fn detach_all(&mut self, pages: PageRange, tables: &mut ShardTables) -> Way {
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
            let detached = table.detach_pages(pages, self.sweep, &mut self.batch);
            if detached != FrameCounts::default() {
                self.found = Found::Frames;
                self.detached += detached.mapped + detached.deferred;
                self.figures.forget(detached);
            }
            return;
        }
        table.each_used(pages, |table, used| {
            match first_step(table.state(used.start), table.level(), self.sweep) {
                FirstStep::Descend if self.sweep.passes(table, used.start) => {}
                FirstStep::Descend => self.detach_below(used, table),
                FirstStep::Clear => table.uncover(used.start, &mut self.batch),
                FirstStep::Keep | FirstStep::Detach(_) => {}
            }
        });
    }

    /// Detaches pages of the table below, and then the table if nothing needs it any more. Or cuts
    /// the table off, with everything in it.
    fn detach_below(&mut self, pages: PageRange, table: &mut Table<'_>) {
        if self.cuts_off(pages, table) {
            table.cut_off(pages.start, &mut self.batch);
            self.found = Found::Frames;
            return;
        }
        if let Some(mut below) = table.below(pages.start) {
            self.detach(pages, &mut below);
        }
        if !table.is_needed(pages.start) && !self.keeps_tables {
            table.detach_empty(pages.start, &mut self.batch);
            self.found = Found::Frames;
        }
    }

    /// Whether the table below goes as a whole, because everything has to be flushed anyway.
    fn cuts_off(&self, pages: PageRange, table: &Table<'_>) -> bool {
        let flushes_everything =
            self.batch.is_everything() || table.occupancy(pages.start) > FLUSH_SINGLY as u64;
        let level = table.level().next_lower_level();
        let is_covered = level.is_some_and(|level| count(pages) == pages_per_table(level));
        self.sweep == Sweep::Everything && flushes_everything && is_covered && !self.keeps_tables
    }
}

/// The second walk: it releases what is out of the CPU's reach.
struct Reaper<'a, S> {
    sweep: Sweep,
    block: &'a Block,
    figures: &'a mut Figures,
    flushed: Flushed,
    /// Data frames that were detached one by one and not taken yet.
    detached: u64,
    frames: Releases<'a, S>,
    /// Released tables that belonged to the region.
    own_tables: u64,
    /// Released tables that regions shared.
    shared_tables: u64,
    /// The tables that wait, if any has to.
    detained: Option<Detained>,
}

/// Tables that other CPUs may cache, on their way into limbo.
struct Detained {
    wait: Wait,
    queue: Limbo,
    own_tables: u64,
    shared_tables: u64,
}

impl Detained {
    /// None yet, or `None` if no other CPU may cache a table of a region of the account with this
    /// seat.
    #[inline]
    fn of(tables: &ShardTables, seat: &Seat, platform: &impl Platform) -> Option<Self> {
        let wait = tables.cpus().wait(tables.may_cache(seat, platform));
        (wait.cpus != 0).then(|| Self { wait, queue: tables.cpus().queue(), own_tables: 0, shared_tables: 0 })
    }

    fn push(&mut self, frame: Frame, is_own: bool) {
        let count = if is_own { &mut self.own_tables } else { &mut self.shared_tables };
        *count += 1;
        self.queue.push(frame, self.wait);
    }
}

impl<'a, S: FrameSource> Reaper<'a, S> {
    fn reap_all(
        &mut self,
        pages: PageRange,
        tables: &mut ShardTables,
        way: Way,
        take: &mut impl FnMut(&mut Releases<'a, S>, FrameRun),
    ) {
        if way == Way::OneTable
            && let Some(mut table) = tables.level1_around(pages)
        {
            let was_marked = table.is_marked();
            self.reap(pages, &mut table, Reach::Within, take);
            if was_marked {
                tables.check_marks(pages.start);
            }
            return;
        }
        tables.each_level3(pages, |mut table, piece| self.reap(piece, &mut table, Reach::Within, take));
    }

    fn reap(
        &mut self,
        pages: PageRange,
        table: &mut Table<'_>,
        reach: Reach,
        take: &mut impl FnMut(&mut Releases<'a, S>, FrameRun),
    ) {
        if table.level() == PageTableLevel::One {
            let Self { flushed, detached, frames, .. } = self;
            let uncounted = table.take_pages(pages, reach, detached, flushed, |run| take(frames, run));
            self.figures.forget(uncounted);
            table.check_mark(pages.start);
            return;
        }
        table.each_used(pages, |table, used| {
            let step = second_step(table.state(used.start), table.level(), reach);
            let SecondStep::Descend(reach_below) = step else { return };
            if reach_below == Reach::Within && self.sweep.passes(table, used.start) {
                return;
            }
            if let Some(mut below) = table.below(used.start) {
                self.reap(used, &mut below, reach_below, take);
            }
            if reach_below == Reach::CutOff {
                let frame = table.take_table(used.start, &self.flushed);
                self.release_table(frame, table.level());
            }
        });
        table.check_mark(pages.start);
    }

    /// Releases the frame of a table that an entry of a table at this level owned, or makes it
    /// wait.
    fn release_table(&mut self, frame: Frame, above: PageTableLevel) {
        let is_own = above.next_lower_level().is_some_and(|level| self.block.owns_tables(level));
        if let Some(detained) = &mut self.detained {
            detained.push(frame, is_own);
            return;
        }
        if is_own {
            self.own_tables += 1;
            self.frames.push(frame.into());
        } else {
            self.shared_tables += 1;
            Supply { account: None, ..self.frames.supply }.release(frame);
        }
    }
}

/// Frames of the region on their way to the frame source, a batch at a time.
pub(super) struct Releases<'a, S> {
    supply: Supply<'a, S>,
    batch: FrameBatch,
    /// Frames that went back to the frame source.
    released: u64,
}

impl<'a, S: FrameSource> Releases<'a, S> {
    fn new(supply: Supply<'a, S>) -> Self {
        Self { supply, batch: FrameBatch::new(), released: 0 }
    }

    fn push(&mut self, frames: FrameRun) {
        if self.batch.is_full() {
            self.release_batch();
        }
        self.batch.push(frames);
    }

    fn release_batch(&mut self) {
        self.released += self.batch.len();
        self.supply.release_all(&mut self.batch);
    }
}
