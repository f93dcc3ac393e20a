//! The tables of one shard: a part of the window whose tables no other part uses.
//!
//! A shard starts and ends at multiples of 1 GiB, so no other shard uses its level-2 and level-1
//! tables. A level-3 table covers 512 GiB. It belongs to the [`Window`], and a shard uses the
//! entries that cover its pages.
//!
//! Invariants: below the level-3 tables, a table exists only while something needs it: a present or
//! deferred entry, or a pin of a region that shares it. All pages that are passed to a method are
//! pages of the shard, and no two shards have a page in common.

use alloc::sync::Arc;
use core::mem;

use x86_64::structures::paging::Page;
use x86_64::structures::paging::page::PageRange;
use x86_64::structures::paging::page_table::PageTableLevel;

use super::{EntryState, Resident, Roots, Table, Window};
use crate::frame::{FrameSource, PhysicalMemory, Shortage};
use crate::pages::{count, entry_end, pages_per_table, pieces};
use crate::platform::Platform;
use crate::supply::Supply;
use crate::tlb::{Cpus, Seat, Wait};

/// The most tables that a search in a fault enters.
const MOST_SEARCHED: u32 = 16;

/// The work of a walk in a table without anything in it, in frames that it takes out or zeroes.
pub(crate) const TABLE_WORK: u64 = 128;

/// What a search does with a table below the one that it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Enter {
    Yes,
    No,
    /// It ends there.
    Stop,
}

/// The tables of a shard.
#[derive(Debug)]
pub(crate) struct ShardTables {
    memory: PhysicalMemory,
    roots: Roots,
    /// Tables of level 1 and 2 that small regions share.
    shared_frames: u64,
    /// Shared tables that were released.
    shared_released: u64,
    cpus: Arc<Cpus>,
    /// The CPUs that have used regions that have ended, and when the last of these ended. They may
    /// still access the addresses of these regions speculatively.
    past: Wait,
}

impl ShardTables {
    /// The tables of a shard with these entries in level-3 tables. None exists below.
    pub(crate) fn new(roots: Roots, window: &Window) -> Self {
        Self {
            memory: window.memory(),
            roots,
            shared_frames: 0,
            shared_released: 0,
            cpus: Arc::clone(window.cpus()),
            past: Wait::NOTHING,
        }
    }

    /// Makes the tables those of a shard with other entries in level-3 tables. None exists below,
    /// neither before nor after. Tables there were used by the CPUs of `past`.
    ///
    /// Returns the owners of the entries before, to be freed without a lock.
    pub(crate) fn move_to(&mut self, roots: Roots, past: Wait) -> Roots {
        self.past = past;
        mem::replace(&mut self.roots, roots)
    }

    pub(crate) const fn memory(&self) -> PhysicalMemory {
        self.memory
    }

    /// The number of tables of level 1 and 2 that small regions share.
    pub(crate) const fn shared_frames(&self) -> u64 {
        self.shared_frames
    }

    /// The number of shared tables that were released.
    pub(crate) const fn shared_released(&self) -> u64 {
        self.shared_released
    }

    /// The CPUs that translate by the tables.
    pub(crate) fn cpus(&self) -> &Cpus {
        &self.cpus
    }

    /// The CPUs other than the calling one that may cache a frame as a table: those that have used
    /// a region of the account with this seat, or one that has ended.
    ///
    /// The latter may still access its addresses speculatively, although another region may have
    /// them now.
    pub(crate) fn may_cache(&self, seat: &Seat, platform: &impl Platform) -> u64 {
        if platform.cpus() == 1 {
            return 0;
        }
        self.cpus.may_cache(seat, platform) | self.cpus.awaited_by(self.past, platform)
    }

    /// The CPUs that have used regions that have ended.
    pub(crate) const fn past(&self) -> Wait {
        self.past
    }

    /// Records the end of a region of the account with this seat.
    pub(crate) fn record_past(&mut self, seat: &Seat, platform: &impl Platform) {
        if platform.cpus() > 1 {
            self.past = self.cpus.join_past(self.past, seat);
        }
    }

    /// Records that shared tables wait until CPUs have flushed.
    pub(crate) const fn detain_shared(&mut self, frames: u64) {
        self.shared_frames -= frames;
    }

    /// Starts to count the shared tables that are released from zero. Returns their number before.
    pub(crate) fn take_shared_released(&mut self) -> u64 {
        mem::take(&mut self.shared_released)
    }

    /// Records that shared tables were released.
    pub(crate) const fn forget_shared(&mut self, frames: u64) {
        self.shared_frames -= frames;
        self.shared_released += frames;
    }

    /// The shard's entries in each level-3 table that a range of pages falls on, with the part of
    /// the range.
    pub(crate) fn each_level3(&mut self, pages: PageRange, mut visit: impl FnMut(Table<'_>, PageRange)) {
        for piece in pieces(pages, PageTableLevel::Four) {
            let memory = self.memory;
            visit(self.roots.of(piece.start).table(memory), piece);
        }
    }

    /// As [`each_level3`](Self::each_level3), without tables in which all of these are absent.
    pub(crate) fn each_used_level3(&mut self, pages: PageRange, mut visit: impl FnMut(Table<'_>, PageRange)) {
        for piece in pieces(pages, PageTableLevel::Four) {
            let memory = self.memory;
            let root = self.roots.of(piece.start);
            if root.is_used() {
                visit(root.table(memory), piece);
            }
        }
    }

    /// The level-1 tables that a range of pages falls on, each with its part of the range.
    ///
    /// The marks of tables whose pages a visit defers are passed on to the levels above.
    pub(crate) fn each_level1(&mut self, pages: PageRange, mut visit: impl FnMut(&mut Table<'_>, PageRange)) {
        self.each_used_level3(pages, |mut table, piece| each_level1(&mut table, piece, &mut visit));
    }

    /// Checks the marks of the tables on the way to a page that was deferred.
    pub(crate) fn check_marks(&mut self, page: Page) {
        let memory = self.memory;
        if let Some(mut level2) = self.roots.of(page).table(memory).into_below(page) {
            level2.check_marks(page);
        }
    }

    /// The lowest table that exists on the way to this page, down to level `floor`.
    #[inline]
    pub(crate) fn descend(&mut self, page: Page, floor: PageTableLevel) -> Table<'_> {
        let memory = self.memory;
        self.roots.of(page).table(memory).descend(page, floor)
    }

    /// The level-1 table on the way to this page, if it exists.
    #[inline]
    pub(crate) fn level1(&mut self, page: Page) -> Option<Table<'_>> {
        let memory = self.memory;
        self.roots.of(page).table(memory).into_below(page)?.into_below(page)
    }

    /// The level-1 table that all pages of the range are in, if there is one, and it has more pages
    /// than these.
    #[inline]
    pub(crate) fn level1_around(&mut self, pages: PageRange) -> Option<Table<'_>> {
        let is_part = (1..pages_per_table(PageTableLevel::One)).contains(&count(pages))
            && pages.end <= entry_end(pages.start, PageTableLevel::Two);
        if is_part { self.level1(pages.start) } else { None }
    }

    /// Makes the shared table of this level over the page exist, and pins it.
    ///
    /// It pins the table above, because it is a present entry of it. After an error a sweep over
    /// the page frees the tables that were made.
    pub(crate) fn pin<S: FrameSource>(
        &mut self,
        page: Page,
        level: PageTableLevel,
        supply: &Supply<'_, S>,
    ) -> Result<(), Shortage> {
        let mut made = 0;
        let take = || supply.take().inspect(|_| made += 1);
        let outcome = self.descend(page, level).reach(page, level, take).map(|mut table| table.pin());
        self.shared_frames += made;
        outcome
    }

    /// Takes back a pin on the table of this level over the page. A sweep over the page frees the
    /// tables that are not needed any more.
    pub(crate) fn unpin(&mut self, page: Page, level: PageTableLevel) {
        self.descend(page, level).unpin();
    }

    /// Visits each page of the range that owns a frame within the CPU's reach.
    pub(crate) fn each_resident(&mut self, pages: PageRange, mut visit: impl FnMut(Resident<'_>)) {
        self.each_level1(pages, |table, piece| {
            table.each_used(piece, |table, used| table.resident(used.start).into_iter().for_each(&mut visit));
        });
    }

    /// A range that starts at the first deferred page of this one, ends in the same level-1 table,
    /// and has up to `most` deferred pages. `most` is not zero.
    pub(crate) fn first_deferred(&mut self, pages: PageRange, most: u64) -> Option<PageRange> {
        let is_deferred = |state| matches!(state, EntryState::Deferred(_));
        let marked =
            |table: &Table<'_>, page| if table.leads_to_deferred(page) { Enter::Yes } else { Enter::No };
        let first = self.find(pages, marked, is_deferred)?;
        let rest = Page::range(first, entry_end(first, PageTableLevel::Two).min(pages.end));
        let mut left = most;
        let last = self.level1(first)?.find_used(rest, |table, used| {
            left -= u64::from(is_deferred(table.state(used.start)));
            (left == 0).then_some(used.start)
        });
        Some(Page::range(first, last.map_or(rest.end, |last| last + 1)))
    }

    /// The first page of the range that the CPU can write: it owns a frame, or leads to the sink.
    pub(crate) fn first_writable(&mut self, pages: PageRange) -> Option<Page> {
        self.find(pages, |_, _| Enter::Yes, is_writable)
    }

    /// The first page of the range that owns a frame within the CPU's reach.
    pub(crate) fn first_owned(&mut self, pages: PageRange) -> Option<Page> {
        self.find(pages, |_, _| Enter::Yes, |state| matches!(state, EntryState::Owned(_)))
    }

    /// The first page of the range that a level-1 table has an entry for.
    pub(crate) fn first_level1(&mut self, pages: PageRange) -> Option<Page> {
        let enter =
            |table: &Table<'_>, _| if table.level() > PageTableLevel::Two { Enter::Yes } else { Enter::Stop };
        self.find(pages, enter, |_| false)
    }

    /// The end of the pages with which the range begins and that the CPU cannot write, or an
    /// earlier page, because the search ends after [`MOST_SEARCHED`] tables.
    pub(crate) fn end_of_unwritable(&mut self, pages: PageRange) -> Page {
        let mut searched = 0;
        let enter = |_: &Table<'_>, _| {
            searched += 1;
            if searched > MOST_SEARCHED { Enter::Stop } else { Enter::Yes }
        };
        self.find(pages, enter, is_writable).unwrap_or(pages.end)
    }

    /// The end of the first part of the range that a walk should visit at a time: all of it, or the
    /// tables with `most_frames` things that keep them alive, and less than one table more.
    pub(crate) fn batch_end(&mut self, pages: PageRange, most_frames: u64) -> Page {
        let mut work = 0;
        let enter = |table: &Table<'_>, page| {
            if work >= most_frames {
                return Enter::Stop;
            }
            work += TABLE_WORK;
            if table.level() > PageTableLevel::Two {
                return Enter::Yes;
            }
            work += table.occupancy(page);
            Enter::No
        };
        self.find(pages, enter, |_| false).unwrap_or(pages.end)
    }

    /// The first page of the range with an entry that is not absent.
    pub(crate) fn first_used(&mut self, pages: PageRange) -> Option<Page> {
        self.find(pages, |_, _| Enter::Yes, |state| state != EntryState::Absent)
    }

    /// Whether a page of the range has an entry that is not absent.
    pub(crate) fn is_used(&mut self, pages: PageRange) -> bool {
        self.first_used(pages).is_some()
    }

    /// The first page of the range whose entry, at the lowest level that exists, is in a state that
    /// is wanted, or the page at which `enter` stops the search. `enter` is called with each table
    /// and page whose entry owns a table.
    fn find(
        &mut self,
        pages: PageRange,
        mut enter: impl FnMut(&Table<'_>, Page) -> Enter,
        is_wanted: impl Fn(EntryState) -> bool,
    ) -> Option<Page> {
        pieces(pages, PageTableLevel::Four).find_map(|piece| {
            let memory = self.memory;
            let root = self.roots.of(piece.start);
            if root.is_used() { find(&mut root.table(memory), piece, &mut enter, &is_wanted) } else { None }
        })
    }
}

fn each_level1(table: &mut Table<'_>, pages: PageRange, visit: &mut impl FnMut(&mut Table<'_>, PageRange)) {
    if table.level() == PageTableLevel::One {
        visit(table, pages);
        return;
    }
    table.each_used(pages, |table, used| {
        if let Some(mut below) = table.below(used.start) {
            each_level1(&mut below, used, visit);
            table.raise_mark(used.start);
        }
    });
}

fn find(
    table: &mut Table<'_>,
    pages: PageRange,
    enter: &mut impl FnMut(&Table<'_>, Page) -> Enter,
    is_wanted: &impl Fn(EntryState) -> bool,
) -> Option<Page> {
    table.find_used(pages, |table, used| {
        let state = table.state(used.start);
        if table.level() == PageTableLevel::One || !matches!(state, EntryState::Owned(_)) {
            return is_wanted(state).then_some(used.start);
        }
        match enter(table, used.start) {
            Enter::Yes => find(&mut table.below(used.start)?, used, enter, is_wanted),
            Enter::No => None,
            Enter::Stop => Some(used.start),
        }
    })
}

const fn is_writable(state: EntryState) -> bool {
    matches!(state, EntryState::Owned(_) | EntryState::Sink)
}
