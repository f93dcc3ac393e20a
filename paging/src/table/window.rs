//! The tables of the window of addresses in which regions live.
//!
//! The space makes one level-3 table for each level-4 entry that the window touches, and keeps it
//! until it is dropped. So the root's entries do not change, and a kernel may copy them into other
//! roots.
//!
//! Invariants: below the level-3 tables, a table exists only while something needs it: a present or
//! deferred entry, or a pin of a region that shares it.

use alloc::vec::Vec;

use x86_64::structures::paging::page::PageRange;
use x86_64::structures::paging::page_table::{PageTableEntry, PageTableLevel};
use x86_64::structures::paging::{Page, PageTableFlags, PageTableIndex, PhysFrame};

use super::{EntryState, Resident, Root, Table};
use crate::frame::{FrameSource, PhysicalMemory, Shortage};
use crate::pages::{count, entry_end, pages_per_table, pieces};
use crate::platform::Platform;
use crate::supply::Supply;
use crate::tlb::{FlushBatch, Flushed};

/// The flags of the root's entries. The entries below restrict the access further.
const ROOT_ENTRY: PageTableFlags = PageTableFlags::PRESENT
    .union(PageTableFlags::WRITABLE)
    .union(PageTableFlags::NO_EXECUTE)
    .union(PageTableFlags::ACCESSED);

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

/// The level-3 tables of the window, in the order of their addresses.
#[derive(Debug)]
pub(crate) struct WindowTables {
    memory: PhysicalMemory,
    pages: PageRange,
    level3: Vec<Root>,
    /// Tables of level 1 and 2 that small regions share.
    shared_frames: u64,
    /// Shared tables that were released.
    shared_released: u64,
}

impl WindowTables {
    /// A window without tables, with capacity for the level-3 tables.
    pub(crate) fn new(pages: PageRange, memory: PhysicalMemory) -> Self {
        let level3 = Vec::with_capacity(root_entries(pages).count());
        Self { memory, pages, level3, shared_frames: 0, shared_released: 0 }
    }

    /// The number of level-3 tables that the window needs.
    pub(crate) fn needed_frames(&self) -> u64 {
        root_entries(self.pages).count() as u64
    }

    /// Takes the level-3 tables. No root refers to them yet. After an error there are none, and it
    /// is the number that the source had frames for.
    pub(crate) fn take_level3<S: FrameSource>(
        &mut self,
        supply: &Supply<'_, S>,
        platform: &impl Platform,
    ) -> Result<(), u64> {
        for _ in root_entries(self.pages) {
            let zeroed = supply.take().map_err(|_| {
                let given = self.level3_frames();
                // No table was attached, so there is nothing to flush.
                self.release_level3(supply, &FlushBatch::new().flush(platform));
                given
            })?;
            self.level3.push(Root::new(zeroed));
        }
        Ok(())
    }

    /// The first entry of the window in this root that is in use, if any.
    ///
    /// As in all methods that access a root, no reference to it is made, because the kernel may
    /// keep one.
    ///
    /// # Safety
    ///
    /// The caller guarantees that the frame contains a level-4 table.
    pub(crate) unsafe fn used_entry(&self, root: PhysFrame) -> Option<PageTableIndex> {
        root_entries(self.pages).find(|index| {
            // SAFETY: forwarded from this function's contract.
            let entry = unsafe { self.memory.entry(root, *index) };
            !entry.is_unused()
        })
    }

    /// Makes the root refer to the level-3 tables.
    ///
    /// # Safety
    ///
    /// The caller guarantees that the frame contains a level-4 table, that the window's entries are
    /// the caller's to use, and that nothing else accesses the table meanwhile.
    pub(crate) unsafe fn attach(&mut self, root: PhysFrame) {
        for (index, table) in root_entries(self.pages).zip(&self.level3) {
            let mut entry = PageTableEntry::new();
            entry.set_frame(table.phys(), ROOT_ENTRY);
            // SAFETY: forwarded from this function's contract.
            unsafe { self.memory.set_entry(root, index, entry) };
        }
    }

    /// Clears the entries that [`attach`](Self::attach) made.
    ///
    /// # Safety
    ///
    /// As for [`attach`](Self::attach).
    pub(crate) unsafe fn detach(&mut self, root: PhysFrame, batch: &mut FlushBatch) {
        for index in root_entries(self.pages) {
            // SAFETY: forwarded from this function's contract.
            unsafe { self.memory.set_entry(root, index, PageTableEntry::new()) };
        }
        batch.add_everything();
    }

    /// The value of the root's entry for this page.
    pub(crate) fn root_entry(&mut self, page: Page) -> u64 {
        self.root(page).phys().start_address().as_u64() | ROOT_ENTRY.bits()
    }

    /// Whether this root leads to the level-3 table of the page, as the space's own root does.
    ///
    /// # Safety
    ///
    /// The caller guarantees that the frame contains a level-4 table.
    pub(crate) unsafe fn is_attached_to(&mut self, root: PhysFrame, page: Page) -> bool {
        // SAFETY: forwarded from this function's contract.
        let entry = unsafe { self.memory.entry(root, page.p4_index()) };
        let needed = PageTableFlags::PRESENT | PageTableFlags::WRITABLE;
        entry.flags().contains(needed) && entry.addr() == self.root(page).phys().start_address()
    }

    /// Releases the level-3 tables, which were detached or never attached.
    pub(crate) fn release_level3<S: FrameSource>(&mut self, supply: &Supply<'_, S>, flushed: &Flushed) {
        self.level3.drain(..).for_each(|root| supply.release(root.into_frame(flushed)));
    }

    /// The pages of the window.
    pub(crate) const fn pages(&self) -> PageRange {
        self.pages
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

    /// Records that shared tables were released.
    pub(crate) const fn forget_shared(&mut self, frames: u64) {
        self.shared_frames -= frames;
        self.shared_released += frames;
    }

    /// The number of level-3 tables.
    pub(crate) fn level3_frames(&self) -> u64 {
        self.level3.len() as u64
    }

    /// The level-3 tables that a range of pages falls on, each with its part of the range.
    pub(crate) fn each_level3(&mut self, pages: PageRange, mut visit: impl FnMut(Table<'_>, PageRange)) {
        for piece in pieces(pages, PageTableLevel::Four) {
            let memory = self.memory;
            visit(self.root(piece.start).table(memory), piece);
        }
    }

    /// As [`each_level3`](Self::each_level3), without those that are empty.
    pub(crate) fn each_used_level3(&mut self, pages: PageRange, mut visit: impl FnMut(Table<'_>, PageRange)) {
        for piece in pieces(pages, PageTableLevel::Four) {
            let memory = self.memory;
            let root = self.root(piece.start);
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
        self.root(page).table(memory).check_marks(page);
    }

    /// The lowest table that exists on the way to this page, down to level `floor`.
    #[inline]
    pub(crate) fn descend(&mut self, page: Page, floor: PageTableLevel) -> Table<'_> {
        let memory = self.memory;
        self.root(page).table(memory).descend(page, floor)
    }

    /// The level-1 table on the way to this page, if it exists.
    #[inline]
    pub(crate) fn level1(&mut self, page: Page) -> Option<Table<'_>> {
        let memory = self.memory;
        self.root(page).table(memory).into_below(page)?.into_below(page)
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

    /// Whether a page of the range has an entry that is not absent.
    pub(crate) fn is_used(&mut self, pages: PageRange) -> bool {
        self.find(pages, |_, _| Enter::Yes, |state| state != EntryState::Absent).is_some()
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
            let root = self.root(piece.start);
            if root.is_used() { find(&mut root.table(memory), piece, &mut enter, &is_wanted) } else { None }
        })
    }

    #[inline]
    fn root(&mut self, page: Page) -> &mut Root {
        let number = u16::from(page.p4_index()) - u16::from(self.pages.start.p4_index());
        &mut self.level3[usize::from(number)]
    }
}

/// The indices of the root's entries that the window touches.
fn root_entries(window: PageRange) -> impl Iterator<Item = PageTableIndex> {
    pieces(window, PageTableLevel::Four).map(|piece| piece.start.p4_index())
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
