//! The sink of a CPU: a frame that absorbs writes that need not, or cannot, be kept.
//!
//! The sink has a level-1 table whose 512 entries all lead to the frame, and a level-2 table whose
//! entries all lead to that table. So one entry covers everything that a region's tables lack,
//! without an allocation. The fault path maps the sink when no frame is left, and instead of a
//! frame while the zero-fill guard is up.
//!
//! The space makes one sink for each CPU, and lends it to one region at a time. It can recall the
//! sink at any time, because the writes are not kept. The pages that led there are absent then, and
//! fault again when they are touched. Only a few entries lead there at any time, so that a recall
//! is short: one more makes the oldest absent.
//!
//! A read that finds no frame for a table leads to other tables, all of whose entries show the zero
//! frame, read-only. Several CPUs may read a region at the same time, and a recall flushes one of
//! them. The others still translate to the zero frame, and not to what another region writes into
//! the sink. The first write to such a page leads to the sink.
//!
//! Invariants: only entries of the region that borrows the sink lead there, and the loan lists them
//! all. The frame is zeroed when it is lent, so no region reads what another one wrote. A CPU
//! writes to the sink only while no other CPU uses the region that borrows it.

use arrayvec::ArrayVec;
use x86_64::VirtAddr;
use x86_64::structures::paging::page_table::PageTableLevel;
use x86_64::structures::paging::{Page, PageTableFlags, PhysFrame};

use super::Table;
use super::entry::{SHARED, SINK};
use crate::frame::{Frame, PhysicalMemory, ZeroedFrame};
use crate::pages::entry_pages;

/// The frames of the sink, and the loan.
#[derive(Debug)]
pub(crate) struct Sink {
    memory: PhysicalMemory,
    frame: Frame,
    level1: Frame,
    level2: Frame,
    /// The zero frame, which belongs to the space.
    zero: PhysFrame,
    zeros1: Frame,
    zeros2: Frame,
    lent: Option<Loan>,
}

/// The access for which no frame is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LostAccess {
    Read,
    Write,
}

/// The most entries that lead to the sink. One instruction needs no more than the few pages that it
/// accesses.
const MOST_PLACES: usize = 32;

/// The region that borrows the sink.
#[derive(Debug)]
pub(crate) struct Loan {
    /// The region's first address.
    pub(crate) base: VirtAddr,
    /// The entries that may lead to the sink, the oldest first.
    pub(crate) places: ArrayVec<SinkPlace, MOST_PLACES>,
}

/// An entry that was made to lead to the sink. A sweep may have cleared it since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SinkPlace {
    /// A page that the entry covers.
    pub(crate) page: Page,
    /// The level of the table that the entry is in.
    pub(crate) level: PageTableLevel,
}

impl Sink {
    /// The number of frames of a sink.
    pub(crate) const FRAMES: u64 = 5;

    /// Makes the sink of five frames. `zero` is the zero frame.
    pub(crate) fn new(memory: PhysicalMemory, zero: PhysFrame, frames: [ZeroedFrame; 5]) -> Self {
        let [frame, level1, level2, zeros1, zeros2] = frames;
        let frame = frame.into_frame();
        let level1 = table_to(memory, level1, frame.phys(), SINK);
        let level2 = table_to(memory, level2, level1.phys(), SINK);
        let zeros1 = table_to(memory, zeros1, zero, SHARED);
        let zeros2 = table_to(memory, zeros2, zeros1.phys(), SINK);
        Self { memory, frame, level1, level2, zero, zeros1, zeros2, lent: None }
    }

    /// The base of the region that borrows the sink.
    pub(crate) fn borrower(&self) -> Option<VirtAddr> {
        self.lent.as_ref().map(|loan| loan.base)
    }

    /// Makes the entry of `page` in this table of the region with this base lead to the sink, or to
    /// zeros if it is read. No other region borrows the sink.
    ///
    /// Returns the oldest entry if there are too many. The caller must clear it.
    pub(crate) fn cover(
        &mut self,
        base: VirtAddr,
        page: Page,
        table: &mut Table<'_>,
        access: LostAccess,
    ) -> Option<SinkPlace> {
        debug_assert!(
            self.borrower().is_none_or(|borrower| borrower == base),
            "the sink was not recalled before it is lent"
        );
        let level = table.level();
        let target = self.target(level, access);
        let Self { memory, frame, lent, .. } = self;
        let Loan { places, .. } = lent.get_or_insert_with(|| {
            memory.zero(frame);
            Loan { base, places: ArrayVec::new() }
        });
        let is_leaf = level == PageTableLevel::One;
        table.cover(page, target, if is_leaf && access == LostAccess::Read { SHARED } else { SINK });
        // An entry that led to zeros is listed once.
        let entry = entry_pages(page, level);
        places.retain(|place| place.level != level || entry_pages(place.page, level) != entry);
        let oldest = places.is_full().then(|| places.remove(0));
        places.push(SinkPlace { page, level });
        oldest
    }

    /// Ends the loan, if it is to the region with this base. The caller must clear the entries that
    /// lead to the sink.
    pub(crate) fn recall_from(&mut self, base: VirtAddr) -> Option<Loan> {
        self.lent.take_if(|loan| loan.base == base)
    }

    /// The frame to which an entry of a table at this level leads.
    fn target(&self, level: PageTableLevel, access: LostAccess) -> PhysFrame {
        let (data, level1, level2) = match access {
            LostAccess::Read => (self.zero, &self.zeros1, &self.zeros2),
            LostAccess::Write => (self.frame.phys(), &self.level1, &self.level2),
        };
        match level {
            PageTableLevel::One => data,
            PageTableLevel::Two => level1.phys(),
            PageTableLevel::Three => level2.phys(),
            PageTableLevel::Four => {
                unreachable!("level-3 tables live as long as the space, so no entry of level 4 is covered")
            }
        }
    }

    /// The frames, at the end of the space.
    pub(crate) fn into_frames(self) -> [Frame; 5] {
        [self.frame, self.level1, self.level2, self.zeros1, self.zeros2]
    }
}

/// Makes a table all of whose entries lead to this frame: data, or a table like this one below.
fn table_to(memory: PhysicalMemory, zeroed: ZeroedFrame, target: PhysFrame, flags: PageTableFlags) -> Frame {
    let frame = zeroed.into_frame();
    // SAFETY: zeros are a table without entries; the frame is owned, and the reference ends here.
    let entries = unsafe { memory.table(frame.phys()) };
    entries.iter_mut().for_each(|entry| entry.set_frame(target, flags));
    frame
}
