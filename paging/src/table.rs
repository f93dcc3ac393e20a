//! Page tables as a tree of owned frames.
//!
//! An entry says by itself what it is, and owns what it says:
//!
//! | entry | bits | refers to |
//! | --- | --- | --- |
//! | absent | none | nothing |
//! | owned | present, writable | a data frame (level 1), or a table below: the entry is its owner |
//! | zero | present, `BORROWED` | the shared zero frame, read-only; level 1 only |
//! | sink | present, writable, `BORROWED` | the region's sink, or a table all of whose entries lead to it |
//! | deferred | an address, `DEFERRED` | a data frame with old bytes, out of the CPU's reach; level 1 only |
//! | detached | an address | a frame on its way back: still owned, out of the CPU's reach for good |
//!
//! Invariants: an entry that owns a table counts what keeps that table alive; a table is reached through the
//! one entry that owns it, so a [`Table`] is an exclusive borrow; all frames that are put into entries are
//! blank. All walks are safe code over this module. Called by: the fault path, decommit and reserve, with the
//! lock held.

mod entry;
mod resident;
mod span;

use x86_64::structures::paging::page_table::{PageTableEntry, PageTableLevel};
use x86_64::structures::paging::{Page, PageTable, PageTableFlags, PageTableIndex, PhysFrame};

pub(crate) use self::entry::Held;
use self::entry::{OWNED, SINK, ZERO, count_down, count_up, detach, held, is_needed};
pub(crate) use self::resident::{Resident, Stale};
pub(crate) use self::span::{pages_per_table, pieces};
use crate::frame::Frame;
use crate::memory::{Blank, PhysicalMemory};

/// A page table of level 1, 2 or 3, borrowed exclusively.
#[derive(Debug)]
pub(crate) struct Table<'t> {
    memory: PhysicalMemory,
    level: PageTableLevel,
    entries: &'t mut PageTable,
    /// The entry that owns this table and counts what it holds. The level-3 tables have none: they stay.
    owner: Option<&'t mut PageTableEntry>,
}

impl<'t> Table<'t> {
    /// The root of a tree: the level-3 table that `frame` holds.
    ///
    /// # Safety
    ///
    /// The caller guarantees that the frame was blank when it became a table, and that it was written through
    /// values of this type only.
    pub(crate) unsafe fn root(memory: PhysicalMemory, frame: &'t mut Frame) -> Self {
        // SAFETY: the frame holds a table by this function's contract, and is borrowed exclusively for `'t`.
        let entries = unsafe { memory.table(frame.phys()) };
        Self { memory, level: PageTableLevel::Three, entries, owner: None }
    }

    pub(crate) const fn level(&self) -> PageTableLevel {
        self.level
    }

    /// What the entry for this page holds. Like all methods, for an entry of this table, whatever its level.
    pub(crate) fn held(&self, page: Page) -> Held {
        held(&self.entries[self.index(page)])
    }

    /// The table below, if the entry owns one, be it within the CPU's reach or detached.
    pub(crate) fn below(&mut self, page: Page) -> Option<Table<'_>> {
        let index = self.index(page);
        Table::owned_by(self.memory, self.level, &mut self.entries[index])
    }

    /// Goes down to the table below; if there is none, hands this table back.
    pub(crate) fn into_below(self, page: Page) -> Result<Self, Self> {
        match self.held(page) {
            Held::Owned(_) if self.level > PageTableLevel::One => {
                let index = self.index(page);
                let below = Self::owned_by(self.memory, self.level, &mut self.entries[index]);
                Ok(below.expect("the entry was just seen to own a table"))
            }
            Held::Owned(_)
            | Held::Absent
            | Held::Zero
            | Held::Sink
            | Held::Deferred(_)
            | Held::Detached(_) => Err(self),
        }
    }

    /// The table that an entry of a table at `level` owns.
    fn owned_by(
        memory: PhysicalMemory,
        level: PageTableLevel,
        entry: &'t mut PageTableEntry,
    ) -> Option<Self> {
        let below = level.next_lower_level()?;
        let frame = match held(entry) {
            Held::Owned(frame) | Held::Detached(frame) => frame,
            Held::Absent | Held::Zero | Held::Sink | Held::Deferred(_) => return None,
        };
        // SAFETY:
        // 1. The frame holds a table: above level 1 an entry owns only what `put` gave it, a blank frame,
        //    which is a table without entries, and which has been written through this type only.
        // 2. It lives, and no other reference to it exists, for `'t`: the entry is its one owner, and is
        //    borrowed exclusively.
        let entries = unsafe { memory.table(frame) };
        Some(Self { memory, level: below, entries, owner: Some(entry) })
    }

    /// Makes the entry the owner of a frame of zeros: data at level 1, an empty table above.
    ///
    /// The entry was absent, or showed the zero frame.
    pub(crate) fn put(&mut self, page: Page, blank: Blank) {
        self.set_present(page, blank.into_frame().into_phys(), OWNED);
    }

    /// Puts an empty table below an absent entry, and goes down to it.
    pub(crate) fn grow(mut self, page: Page, blank: Blank) -> Self {
        self.put(page, blank);
        self.into_below(page).expect("a table was put there just now")
    }

    /// Lets the entry show the shared zero frame. It was absent.
    pub(crate) fn show_zero(&mut self, page: Page, zero: &Frame) {
        self.set_present(page, zero.phys(), ZERO);
    }

    /// Lets the entry lead to the sink: `target` is what a sink offers for this level.
    ///
    /// The entry was absent, or showed the zero frame.
    pub(crate) fn cover(&mut self, page: Page, target: PhysFrame) {
        self.set_present(page, target, SINK);
    }

    /// Clears an entry that shows the zero frame or leads to the sink.
    pub(crate) fn uncover(&mut self, page: Page) {
        debug_assert!(matches!(self.held(page), Held::Zero | Held::Sink), "the entry owns a frame");
        self.entry(page).set_unused();
        self.count_down();
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

    /// Takes what the entry owns out of the CPU's reach, for good.
    ///
    /// The frame comes out by [`take_detached`](Self::take_detached), once the TLB is flushed.
    pub(crate) fn detach(&mut self, page: Page) {
        debug_assert!(matches!(self.held(page), Held::Owned(_) | Held::Deferred(_)), "it owns nothing");
        detach(self.entry(page));
        self.count_down();
    }

    /// Takes a detached frame out of its entry, which is absent then.
    ///
    /// # Safety
    ///
    /// The caller guarantees that the TLB was flushed for the entry's pages after they were taken out of the
    /// CPU's reach: by [`detach`](Self::detach), or by [`Resident::defer`] before that.
    pub(crate) unsafe fn take_detached(&mut self, page: Page) -> Option<Frame> {
        let Held::Detached(frame) = self.held(page) else { return None };
        self.entry(page).set_unused();
        // SAFETY: the entry owned the frame and is cleared; by this function's contract no CPU translates by
        // the entry any more.
        Some(unsafe { Frame::from_phys(frame) })
    }

    /// Whether anything keeps alive the table that the entry owns.
    pub(crate) fn is_needed(&self, page: Page) -> bool {
        is_needed(&self.entries[self.index(page)])
    }

    /// Keeps this table alive even if it is empty. Every pin is matched by an [`unpin`](Self::unpin).
    pub(crate) fn pin(&mut self) {
        self.count_up();
    }

    /// Takes a pin back. The next decommit over the table's pages frees it if it is not needed any more.
    pub(crate) fn unpin(&mut self) {
        self.count_down();
    }

    fn set_present(&mut self, page: Page, frame: PhysFrame, flags: PageTableFlags) {
        let before = self.held(page);
        debug_assert!(matches!(before, Held::Absent | Held::Zero), "what the entry owns would be lost");
        if before == Held::Absent {
            self.count_up();
        }
        self.entry(page).set_frame(frame, flags);
    }

    fn index(&self, page: Page) -> PageTableIndex {
        page.page_table_index(self.level)
    }

    fn entry(&mut self, page: Page) -> &mut PageTableEntry {
        let index = self.index(page);
        &mut self.entries[index]
    }

    fn count_up(&mut self) {
        if let Some(owner) = &mut self.owner {
            count_up(owner);
        }
    }

    fn count_down(&mut self) {
        if let Some(owner) = &mut self.owner {
            count_down(owner);
        }
    }
}

/// Makes a table all of whose entries lead to the sink: to its frame, or to a table like this one below.
pub(crate) fn sink_table(memory: PhysicalMemory, blank: Blank, target: PhysFrame) -> Frame {
    let frame = blank.into_frame();
    // SAFETY: zeros are a table without entries; the frame is owned, and the reference ends here.
    let entries = unsafe { memory.table(frame.phys()) };
    entries.iter_mut().for_each(|entry| entry.set_frame(target, SINK));
    frame
}
