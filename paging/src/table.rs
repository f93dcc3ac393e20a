//! Page tables as a tree of owned frames.
//!
//! An entry says by itself what it is, and owns what it says:
//!
//! | entry | bits | refers to |
//! | --- | --- | --- |
//! | absent | none | nothing |
//! | owned | present, writable | a data frame (level 1), or a table below: the entry is its owner |
//! | shared | present, `BORROWED` | the shared zero frame or a frame of an image, read-only; level 1 only |
//! | sink | present, writable, `BORROWED` | the region's sink, or a table all of whose entries lead to it |
//! | ahead | as owned, `AHEAD` | a data frame of its own that was committed ahead of need; level 1 only |
//! | deferred | an address, `DEFERRED` | a data frame with old bytes, out of the CPU's reach; level 1 only |
//! | detached | an address | a frame on its way back: still owned, out of the CPU's reach for good |
//!
//! Invariants: an entry that owns a table counts what keeps that table alive; a table is reached through the
//! one entry that owns it, so a [`Table`] is an exclusive borrow; a frame that is put into an entry is blank, or
//! has all bytes of an image's page. All walks are safe code over this module. Called by: the fault path, decommit and reserve, with the
//! lock held.

mod ahead;
mod entry;
mod leaf;
mod resident;
mod root;
mod sink;
mod sweep;
mod vacant;
mod window;

use x86_64::structures::paging::page::PageRange;
use x86_64::structures::paging::page_table::{PageTableEntry, PageTableLevel};
use x86_64::structures::paging::{Page, PageTable, PageTableFlags, PageTableIndex, PhysFrame};

pub(crate) use self::entry::Held;
use self::entry::{OWNED, SHARED, SINK, count_down, count_up, detach, held, is_needed, occupancy};
pub(crate) use self::leaf::{Detached, Reach};
pub(crate) use self::resident::{Resident, Stale};
pub(crate) use self::root::Root;
pub(crate) use self::sink::Sink;
pub(crate) use self::sweep::Sweep;
pub(crate) use self::window::WindowTables;
use crate::frame::{Blank, Frame, PhysicalMemory, Shortage};
use crate::pages::{indices, part};

/// A page table of level 1, 2 or 3, borrowed exclusively.
#[derive(Debug)]
pub(crate) struct Table<'t> {
    memory: PhysicalMemory,
    level: PageTableLevel,
    entries: &'t mut PageTable,
    /// The entry that owns this table and counts what it holds.
    owner: &'t mut PageTableEntry,
}

impl<'t> Table<'t> {
    pub(crate) const fn memory(&self) -> PhysicalMemory {
        self.memory
    }

    pub(crate) const fn level(&self) -> PageTableLevel {
        self.level
    }

    /// What the entry for this page holds. Like all methods, for an entry of this table, whatever its level.
    #[inline]
    pub(crate) fn held(&self, page: Page) -> Held {
        held(&self.entries[self.index(page)])
    }

    /// Visits the entries of the range that are not absent, each with its part of the range, until one visit
    /// finds something.
    pub(crate) fn find_used<R>(
        &mut self,
        pages: PageRange,
        mut visit: impl FnMut(&mut Self, PageRange) -> Option<R>,
    ) -> Option<R> {
        let mut indices = indices(pages, self.level);
        let first = indices.start;
        indices.find_map(|index| {
            let is_used = !self.entries[index].is_unused();
            if is_used { visit(self, part(pages, self.level, index - first)) } else { None }
        })
    }

    /// Visits all entries of the range that are not absent, each with its part of the range.
    pub(crate) fn each_used(&mut self, pages: PageRange, mut visit: impl FnMut(&mut Self, PageRange)) {
        self.find_used(pages, |table, used| {
            visit(table, used);
            None::<()>
        });
    }

    /// The table below, if the entry owns one, be it within the CPU's reach or detached.
    #[inline]
    pub(crate) fn below(&mut self, page: Page) -> Option<Table<'_>> {
        let index = self.index(page);
        Table::owned_by(self.memory, self.level, &mut self.entries[index])
    }

    /// The table below, if the entry owns one within the CPU's reach.
    #[inline]
    pub(crate) fn into_below(self, page: Page) -> Option<Self> {
        let index = self.index(page);
        let entry = &mut self.entries[index];
        let is_reached = matches!(held(entry), Held::Owned(_));
        if is_reached { Self::owned_by(self.memory, self.level, entry) } else { None }
    }

    /// The lowest table that exists on the way from this one to the page.
    #[inline]
    pub(crate) fn descend(self, page: Page, floor: PageTableLevel) -> Self {
        let mut table = self;
        while table.level > floor && matches!(table.held(page), Held::Owned(_)) {
            table = table.into_below(page).expect("the entry was just seen to own a table");
        }
        table
    }

    /// The table of level `floor` on the way to this page; what is missing is made of the frames that `take`
    /// gives. After an error, those that were made stay.
    pub(crate) fn reach(
        self,
        page: Page,
        floor: PageTableLevel,
        mut take: impl FnMut() -> Result<Blank, Shortage>,
    ) -> Result<Self, Shortage> {
        let mut table = self.descend(page, floor);
        while table.level > floor {
            let blank = take()?;
            table.put(page, blank);
            table = table.descend(page, floor);
        }
        Ok(table)
    }

    /// The table that an entry of a table at `level` owns.
    #[inline]
    fn owned_by(
        memory: PhysicalMemory,
        level: PageTableLevel,
        entry: &'t mut PageTableEntry,
    ) -> Option<Self> {
        let below = level.next_lower_level()?;
        let frame = match held(entry) {
            Held::Owned(frame) | Held::Detached(frame) => frame,
            Held::Absent | Held::Shared | Held::Sink | Held::Deferred(_) => return None,
        };
        // SAFETY:
        // 1. The frame holds a table: above level 1 an entry owns only what `put` gave it, a blank frame,
        //    which is a table without entries, and which has been written through this type only.
        // 2. It lives, and no other reference to it exists, for `'t`: the entry is its one owner, and is
        //    borrowed exclusively.
        let entries = unsafe { memory.table(frame) };
        Some(Self { memory, level: below, entries, owner: entry })
    }

    /// Makes the entry the owner of a frame of zeros: data at level 1, an empty table above.
    ///
    /// The entry was absent, or showed a shared frame.
    #[inline]
    pub(crate) fn put(&mut self, page: Page, blank: Blank) {
        self.set_present(page, blank.into_frame().into_phys(), OWNED);
    }

    /// As [`put`](Self::put), at level 1, for a frame that has the bytes of an image.
    pub(crate) fn put_copy(&mut self, page: Page, copy: Frame) {
        debug_assert_eq!(self.level, PageTableLevel::One);
        self.set_present(page, copy.into_phys(), OWNED);
    }

    /// Lets the entry show a frame that it does not own, read-only: the shared zero frame, or one of an image. It was
    /// absent.
    pub(crate) fn show(&mut self, page: Page, shared: PhysFrame) {
        self.set_present(page, shared, SHARED);
    }

    /// Lets the entry lead to the sink: `target` is what a sink offers for this level.
    ///
    /// The entry was absent, or showed a shared frame.
    pub(crate) fn cover(&mut self, page: Page, target: PhysFrame) {
        self.set_present(page, target, SINK);
    }

    /// Clears an entry that shows a shared frame or leads to the sink.
    pub(crate) fn uncover(&mut self, page: Page) {
        debug_assert!(matches!(self.held(page), Held::Shared | Held::Sink), "the entry owns a frame");
        self.entry(page).set_unused();
        count_down(self.owner, 1);
    }

    /// The data frame that the entry owns within the CPU's reach, if this is a table of level 1 and it does.
    pub(crate) fn resident(&mut self, page: Page) -> Option<Resident<'_>> {
        let Held::Owned(frame) = self.held(page) else { return None };
        let is_data = self.level == PageTableLevel::One;
        is_data.then(|| Resident::new(self.memory, page, frame, self.entry(page)))
    }

    /// Fills a deferred frame with zeros, and then lets the CPU reach it again.
    pub(crate) fn take_back(&mut self, page: Page) {
        let held = self.held(page);
        debug_assert!(matches!(held, Held::Deferred(_)), "the entry is not deferred");
        if let Held::Deferred(frame) = held {
            // SAFETY: the entry owns the frame, is borrowed exclusively, and is not present; the frame holds
            // data, so no reference to it exists.
            unsafe { self.memory.zero_at(frame) };
            self.entry(page).set_frame(frame, OWNED);
        }
    }

    /// Takes the table that the entry owns out of the CPU's reach, for good, with all that is below it.
    ///
    /// The frame comes out by [`take_table`](Self::take_table), once the TLB is flushed.
    pub(crate) fn detach(&mut self, page: Page) {
        debug_assert!(matches!(self.held(page), Held::Owned(_)), "it owns nothing");
        detach(self.entry(page));
        count_down(self.owner, 1);
    }

    /// Takes the frame of a table out of the entry that owns it, which is absent then. What the table owned
    /// was taken out before.
    ///
    /// # Safety
    ///
    /// The caller guarantees that the TLB was flushed for the entry's pages after they were taken out of the
    /// CPU's reach: by [`detach`](Self::detach), of this entry or of one above.
    ///
    /// # Panics
    ///
    /// If the entry owns no table.
    pub(crate) unsafe fn take_table(&mut self, page: Page) -> Frame {
        let (Held::Owned(frame) | Held::Detached(frame)) = self.held(page) else {
            unreachable!("the walk was just in the table that the entry owns");
        };
        self.entry(page).set_unused();
        // SAFETY: the entry owned the frame and is cleared; by this function's contract no CPU walks the
        // table any more.
        unsafe { Frame::from_phys(frame) }
    }

    /// Whether anything keeps this table alive.
    pub(crate) fn is_used(&self) -> bool {
        is_needed(self.owner)
    }

    /// Whether anything keeps alive the table that the entry owns.
    pub(crate) fn is_needed(&self, page: Page) -> bool {
        is_needed(&self.entries[self.index(page)])
    }

    /// How many things keep alive the table that the entry owns.
    pub(crate) fn occupancy(&self, page: Page) -> u64 {
        occupancy(&self.entries[self.index(page)])
    }

    /// Keeps this table alive even if it is empty. Every pin is matched by an [`unpin`](Self::unpin).
    pub(crate) fn pin(&mut self) {
        count_up(self.owner, 1);
    }

    /// Takes a pin back. The next decommit over the table's pages frees it if it is not needed any more.
    pub(crate) fn unpin(&mut self) {
        count_down(self.owner, 1);
    }

    #[inline]
    fn set_present(&mut self, page: Page, frame: PhysFrame, flags: PageTableFlags) {
        let before = self.held(page);
        debug_assert!(matches!(before, Held::Absent | Held::Shared), "what the entry owns would be lost");
        if before == Held::Absent {
            count_up(self.owner, 1);
        }
        self.entry(page).set_frame(frame, flags);
    }

    #[inline]
    fn index(&self, page: Page) -> PageTableIndex {
        page.page_table_index(self.level)
    }

    #[inline]
    fn entry(&mut self, page: Page) -> &mut PageTableEntry {
        let index = self.index(page);
        &mut self.entries[index]
    }
}
