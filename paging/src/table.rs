//! Page tables as a tree of owned frames.
//!
//! The bits of an entry are its state, and the entry owns what its state names:
//!
//! | entry | bits | refers to |
//! | --- | --- | --- |
//! | absent | none | nothing |
//! | owned | present, writable | a data frame (level 1), or a table (above) |
//! | shared | present, `BORROWED` | the shared zero frame or a frame of an image, read-only; level 1 only |
//! | sink | present, writable, `BORROWED` | the sink, or a table all of whose entries lead to it |
//! | ahead | as owned, not dirty, `AHEAD` | a data frame committed ahead of its touch; level 1 only |
//! | deferred | an address, `DEFERRED` | a data frame with old bytes, out of the CPU's reach; level 1 only |
//! | detached | an address | a frame that is about to be released, out of the CPU's reach |
//!
//! Invariants: an entry that owns a table counts what keeps that table alive. A table of level 1 or
//! 2 is reached through the one entry that owns it, so a [`Table`] is an exclusive borrow. A
//! level-3 table belongs to the [`Window`], and several [`ShardTables`] may use it at the same
//! time, each its own entries. So a [`Table`] of level 3 borrows these entries and no other. A
//! frame that is put into an entry holds zeros, or all bytes of an image's page. What makes a
//! present entry absent adds its pages to a [`FlushBatch`], and what takes a frame out of an entry
//! requires the batch's [`Flushed`].
//!
//! All walks of the crate are safe code over this layer.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "most code names the few states of an entry that it is about"
)]

mod ahead;
mod deferred;
mod entry;
mod leaf;
mod resident;
mod root;
mod shard;
mod sink;
mod sweep;
mod vacant;
mod window;

use x86_64::structures::paging::page::PageRange;
use x86_64::structures::paging::page_table::{PageTableEntry, PageTableLevel};
use x86_64::structures::paging::{Page, PageTable, PageTableFlags, PageTableIndex, PhysFrame};

pub(crate) use self::entry::EntryState;
use self::entry::{
    OWNED, SHARED, count_down, count_up, detach, frame_of, is_needed, occupancy, owns_table, state,
};
pub(crate) use self::leaf::PageBits;
pub(crate) use self::resident::{Resident, Stale};
pub(crate) use self::root::Roots;
pub(crate) use self::shard::{ShardTables, TABLE_WORK};
pub(crate) use self::sink::{LostAccess, Sink, SinkPlace};
pub(crate) use self::sweep::{FirstStep, FrameCounts, Reach, SecondStep, Sweep, first_step, second_step};
pub(crate) use self::window::Window;
use crate::frame::{Frame, PhysicalMemory, Shortage, ZeroedFrame};
use crate::pages::{ENTRIES, indices, part};
use crate::tlb::{FlushBatch, Flushed};

/// A page table of level 1 or 2, or a shard's entries of one of level 3, borrowed exclusively.
#[derive(Debug)]
pub(crate) struct Table<'t> {
    memory: PhysicalMemory,
    level: PageTableLevel,
    /// The first of the table's 512 entries.
    entries: *mut PageTableEntry,
    /// The entry that owns this table and counts what it holds.
    owner: &'t mut PageTableEntry,
}

impl<'t> Table<'t> {
    pub(crate) const fn level(&self) -> PageTableLevel {
        self.level
    }

    /// Returns the state of the entry for this page. As in all methods, that is the entry of this
    /// table that covers the page, at the table's level.
    #[inline]
    pub(crate) fn state(&self, page: Page) -> EntryState {
        state(self.entry(page))
    }

    /// Visits the entries of the range that are not absent, each with its part of the range, until
    /// one visit finds something.
    pub(crate) fn find_used<R>(
        &mut self,
        pages: PageRange,
        mut visit: impl FnMut(&mut Self, PageRange) -> Option<R>,
    ) -> Option<R> {
        let mut indices = indices(pages, self.level);
        let first = indices.start;
        indices.find_map(|index| {
            let is_used = !self.entry_at(index).is_unused();
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

    /// The table below, if the entry owns one, within the CPU's reach or detached.
    #[inline]
    pub(crate) fn below(&mut self, page: Page) -> Option<Table<'_>> {
        let level = self.level.next_lower_level()?;
        let owns_one = matches!(self.state(page), EntryState::Owned(_) | EntryState::Detached(_));
        owns_one.then(|| Table::owned_by(self.memory, level, self.entry_mut(page)))
    }

    /// The table below, if the entry owns one within the CPU's reach.
    #[inline]
    pub(crate) fn into_below(self, page: Page) -> Option<Self> {
        let level = self.level.next_lower_level()?;
        let memory = self.memory;
        let entry = self.into_entry(page);
        if owns_table(entry) { Some(Self::owned_by(memory, level, entry)) } else { None }
    }

    /// The lowest table that exists on the way from this one to the page, down to level `floor`.
    #[inline]
    pub(crate) fn descend(self, page: Page, floor: PageTableLevel) -> Self {
        let mut table = self;
        while table.level > floor && owns_table(table.entry(page)) {
            table = table.into_below(page).expect("the entry owns a table, as was just seen");
        }
        table
    }

    /// The table of level `floor` on the way to this page. Tables that are missing are made of the
    /// frames that `take` returns. After an error, the tables that were made stay.
    pub(crate) fn reach(
        self,
        page: Page,
        floor: PageTableLevel,
        mut take: impl FnMut() -> Result<ZeroedFrame, Shortage>,
    ) -> Result<Self, Shortage> {
        let mut table = self.descend(page, floor);
        while table.level > floor {
            let zeroed = take()?;
            table.put(page, zeroed);
            table = table.descend(page, floor);
        }
        Ok(table)
    }

    /// The table at this level that the entry owns. Of a level-3 table, these are the entries of
    /// the shard that the entry counts for.
    #[inline]
    fn owned_by(memory: PhysicalMemory, level: PageTableLevel, entry: &'t mut PageTableEntry) -> Self {
        Self { memory, level, entries: memory.entries(frame_of(entry)), owner: entry }
    }

    /// Makes the entry the owner of a frame of zeros: data at level 1, an empty table above.
    ///
    /// The entry was absent, or showed a shared frame.
    #[inline]
    pub(crate) fn put(&mut self, page: Page, zeroed: ZeroedFrame) {
        self.set_present(page, zeroed.into_frame().into_phys(), OWNED);
    }

    /// As [`put`](Self::put), at level 1, for a frame that has the bytes of an image.
    pub(crate) fn put_copy(&mut self, page: Page, copy: Frame) {
        debug_assert_eq!(self.level, PageTableLevel::One);
        self.set_present(page, copy.into_phys(), OWNED);
    }

    /// Maps a frame that the entry does not own, read-only: the zero frame, or one of an image. The
    /// entry was absent.
    pub(crate) fn show(&mut self, page: Page, shared: PhysFrame) {
        self.set_present(page, shared, SHARED);
    }

    /// Makes the entry lead to the sink. `target` is the frame of the sink for this level.
    ///
    /// The entry owned nothing.
    fn cover(&mut self, page: Page, target: PhysFrame, flags: PageTableFlags) {
        self.set_present(page, target, flags);
    }

    /// Clears an entry above level 1 that leads to the sink.
    pub(crate) fn uncover(&mut self, page: Page, batch: &mut FlushBatch) {
        debug_assert_eq!(self.state(page), EntryState::Sink, "the entry owns a frame");
        self.entry_mut(page).set_unused();
        count_down(self.owner, 1);
        // The CPU may translate each of its pages to the sink.
        batch.add_everything();
    }

    /// The data frame that the entry owns within the CPU's reach, if this is a table of level 1 and
    /// it owns one.
    pub(crate) fn resident(&mut self, page: Page) -> Option<Resident<'_>> {
        let EntryState::Owned(frame) = self.state(page) else { return None };
        let is_data = self.level == PageTableLevel::One;
        is_data.then(|| Resident::new(self.memory, page, frame, self.entry_mut(page)))
    }

    /// Fills the frame of a deferred entry with zeros, and then maps it again.
    pub(crate) fn take_back(&mut self, page: Page) {
        let EntryState::Deferred(frame) = self.state(page) else {
            debug_assert!(false, "the entry is not deferred");
            return;
        };
        // SAFETY: the entry owns the frame, is borrowed exclusively, and is not present. The frame
        // holds data, so no reference to it exists.
        unsafe { self.memory.zero_at(frame) };
        self.entry_mut(page).set_frame(frame, OWNED);
    }

    /// Takes an empty table that the entry owns out of the CPU's reach, for good.
    ///
    /// The frame comes out by [`take_table`](Self::take_table).
    pub(crate) fn detach_empty(&mut self, page: Page, batch: &mut FlushBatch) {
        debug_assert!(!self.is_needed(page), "the table is needed");
        self.detach(page);
        // A flush of any page of the table drops the CPU's cached reference to it (Intel SDM Vol
        // 3A, 4.10.4.1).
        batch.add(page);
    }

    /// Takes the table that the entry owns out of the CPU's reach, for good, with everything below.
    pub(crate) fn cut_off(&mut self, page: Page, batch: &mut FlushBatch) {
        self.detach(page);
        batch.add_everything();
    }

    fn detach(&mut self, page: Page) {
        debug_assert!(owns_table(self.entry(page)), "the entry owns no table");
        detach(self.entry_mut(page));
        count_down(self.owner, 1);
    }

    /// Takes the frame of a table out of the entry, which is absent then. The table was detached,
    /// or a table above was, and what it owned was taken out before.
    ///
    /// # Panics
    ///
    /// If the entry owns no table.
    pub(crate) fn take_table(&mut self, page: Page, _: &Flushed) -> Frame {
        let (EntryState::Owned(frame) | EntryState::Detached(frame)) = self.state(page) else {
            unreachable!("the walk has just been in the table that the entry owns");
        };
        self.entry_mut(page).set_unused();
        // SAFETY: the entry owned the frame and is cleared. The table was out of the CPU's reach,
        // and the TLB was flushed after that: no CPU walks the table any more.
        unsafe { Frame::from_phys(frame) }
    }

    /// Whether anything keeps this table alive.
    pub(crate) fn is_used(&self) -> bool {
        is_needed(self.owner)
    }

    /// Whether anything keeps alive the table that the entry owns.
    pub(crate) fn is_needed(&self, page: Page) -> bool {
        is_needed(self.entry(page))
    }

    /// How many things keep alive the table that the entry owns.
    pub(crate) fn occupancy(&self, page: Page) -> u64 {
        occupancy(self.entry(page))
    }

    /// Keeps this table alive even if it is empty. Every pin is matched by an
    /// [`unpin`](Self::unpin).
    fn pin(&mut self) {
        count_up(self.owner, 1);
    }

    /// Ends a pin. The next sweep over the table's pages releases the table if it is not needed any
    /// more.
    fn unpin(&mut self) {
        count_down(self.owner, 1);
    }

    #[inline]
    fn set_present(&mut self, page: Page, frame: PhysFrame, flags: PageTableFlags) {
        let before = self.state(page);
        debug_assert!(
            matches!(before, EntryState::Absent | EntryState::Shared | EntryState::Sink),
            "what the entry owns would be lost"
        );
        if before == EntryState::Absent {
            count_up(self.owner, 1);
        }
        self.entry_mut(page).set_frame(frame, flags);
    }

    #[inline]
    fn index(&self, page: Page) -> PageTableIndex {
        page.page_table_index(self.level)
    }

    /// The entry of this table that covers the page. The page is one of those that the table was
    /// borrowed for.
    #[inline]
    fn entry(&self, page: Page) -> &PageTableEntry {
        self.entry_at(self.index(page).into())
    }

    #[inline]
    fn entry_at(&self, index: usize) -> &PageTableEntry {
        // SAFETY: as for `into_entry`. The entry is borrowed together with `self`.
        unsafe { &*self.pointer_to(index) }
    }

    #[inline]
    fn entry_mut(&mut self, page: Page) -> &mut PageTableEntry {
        let entry = self.pointer_to(self.index(page).into());
        // SAFETY: as for `into_entry`. The entry is borrowed exclusively, together with `self`.
        unsafe { &mut *entry }
    }

    #[inline]
    fn into_entry(self, page: Page) -> &'t mut PageTableEntry {
        let entry = self.pointer_to(self.index(page).into());
        // SAFETY:
        // 1. The frame holds a table: above level 1 an entry owns only what `put` gave it, a frame
        //    of zeros, which is a table without entries. A level-3 table was made of one by
        //    `Window`. Only this type has written entries since.
        // 2. The table lives for `'t`, because its owner is borrowed exclusively. A level-3 table
        //    lives as long as the window, which outlives all tables.
        // 3. No other reference to the entry exists. A table of level 1 or 2 is reached through its
        //    one owner. A level-3 entry covers 1 GiB, which is in one shard, and is reached through
        //    that shard's `ShardTables`, which is borrowed exclusively.
        unsafe { &mut *entry }
    }

    /// The page's entry, and the entry that owns this table.
    #[inline]
    fn entry_and_owner(&mut self, page: Page) -> (&mut PageTableEntry, &mut PageTableEntry) {
        let entry = self.pointer_to(self.index(page).into());
        // SAFETY: as for `into_entry`. The entry is borrowed exclusively, together with `self`. It
        // is not the owner, which is outside of this table.
        let entry = unsafe { &mut *entry };
        (entry, self.owner)
    }

    /// The place of an entry. The index is below 512.
    #[inline]
    fn pointer_to(&self, index: usize) -> *mut PageTableEntry {
        debug_assert!(index < ENTRIES, "a table has no entry {index}");
        self.entries.wrapping_add(index)
    }

    /// All entries of this table.
    ///
    /// # Panics
    ///
    /// If this is a table of level 3, because its other entries are not borrowed.
    #[inline]
    fn whole(&mut self) -> &mut PageTable {
        assert!(self.level < PageTableLevel::Three, "other shards use the same level-3 table");
        let table: *mut PageTable = self.entries.cast();
        // SAFETY: as for `into_entry`. All entries of the table belong to one owner, which is
        // borrowed exclusively, and `PageTable` is an aligned array of 512 entries.
        unsafe { &mut *table }
    }
}
