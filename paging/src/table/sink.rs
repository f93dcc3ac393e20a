//! The sink of an address space: where writes go that need not, or cannot, be kept.
//!
//! One frame, a level-1 table whose 512 entries all lead to it, and a level-2 table whose entries all lead to
//! that table. So whatever is missing in a region's own tables can be covered by one entry, without an
//! allocation. There is one sink for all regions, set aside when the space is made, and it is lent to one
//! region at a time: what is written there is not kept anyway, so it can be recalled from a region that has
//! it, whose pages are absent then and fault again if they are touched.
//!
//! Invariants: only entries of the region that the sink is lent to lead there, all of them in `pages`; the
//! frame holds zeros when it is lent, so no region reads what another one wrote. Called by: the fault path,
//! which maps it when there is no frame, or instead of a frame while the zero-fill guard is up; everything
//! that clears pages, which recalls it first.

use x86_64::VirtAddr;
use x86_64::structures::paging::page::PageRange;
use x86_64::structures::paging::page_table::PageTableLevel;
use x86_64::structures::paging::{Page, PhysFrame};

use super::Table;
use super::entry::SINK;
use crate::frame::{Frame, FrameSource, PhysicalMemory, Shortage, ZeroedFrame};
use crate::pages::{entry_pages, hull};
use crate::supply::Supply;

/// The frames of the sink, and who has it.
#[derive(Debug)]
pub(crate) struct Sink {
    memory: PhysicalMemory,
    frame: Frame,
    level1: Frame,
    level2: Frame,
    lent: Option<Loan>,
}

/// The region that has the sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Loan {
    /// The region's first address.
    pub(crate) base: VirtAddr,
    /// The pages whose entries may lead to the sink; their tables' other entries may be among them.
    pub(crate) pages: PageRange,
}

impl Sink {
    /// The number of frames of a sink.
    pub(crate) const FRAMES: u64 = 3;

    /// Sets the frames aside.
    pub(crate) fn set_aside<S: FrameSource>(supply: &Supply<'_, S>) -> Result<Self, Shortage> {
        let memory = supply.memory;
        let frame = supply.take()?.into_frame();
        let level1 = match supply.take() {
            Ok(zeroed) => sink_table(memory, zeroed, frame.phys()),
            Err(shortage) => {
                supply.release(frame);
                return Err(shortage);
            }
        };
        match supply.take() {
            Ok(zeroed) => {
                let level2 = sink_table(memory, zeroed, level1.phys());
                Ok(Self { memory, frame, level1, level2, lent: None })
            }
            Err(shortage) => {
                [frame, level1].into_iter().for_each(|frame| supply.release(frame));
                Err(shortage)
            }
        }
    }

    /// Whether another region than the one with this base has the sink.
    pub(crate) fn is_lent_elsewhere(&self, base: VirtAddr) -> bool {
        self.lent.is_some_and(|loan| loan.base != base)
    }

    /// Whether the region with this base has the sink.
    pub(crate) fn is_lent_to(&self, base: VirtAddr) -> bool {
        self.lent.is_some_and(|loan| loan.base == base)
    }

    /// Covers what is missing at the entry of `page` in this table of the region with this base. No other
    /// region has the sink.
    pub(crate) fn cover(&mut self, base: VirtAddr, page: Page, table: &mut Table<'_>) {
        debug_assert!(!self.is_lent_elsewhere(base), "the sink is recalled before it is lent");
        let covered = entry_pages(page, table.level());
        let pages = match self.lent {
            Some(Loan { pages, .. }) => hull(pages, covered),
            None => {
                self.memory.zero(&mut self.frame);
                covered
            }
        };
        self.lent = Some(Loan { base, pages });
        table.cover(page, self.target(table.level()));
    }

    /// Ends the loan, if there is one. The entries of its pages that lead to the sink are for the caller to
    /// take out.
    pub(crate) fn recall(&mut self) -> Option<Loan> {
        self.lent.take()
    }

    /// What an entry of a table at this level is to lead to.
    fn target(&self, level: PageTableLevel) -> PhysFrame {
        let target = match level {
            PageTableLevel::One => Some(&self.frame),
            PageTableLevel::Two => Some(&self.level1),
            PageTableLevel::Three => Some(&self.level2),
            PageTableLevel::Four => None,
        };
        target.expect("level-3 tables live as long as the space, so they are not missing").phys()
    }

    /// The frames, at the end of the space.
    pub(crate) fn into_frames(self) -> [Frame; 3] {
        [self.frame, self.level1, self.level2]
    }
}

/// Makes a table all of whose entries lead to the sink: to its frame, or to a table like this one below.
fn sink_table(memory: PhysicalMemory, zeroed: ZeroedFrame, target: PhysFrame) -> Frame {
    let frame = zeroed.into_frame();
    // SAFETY: zeros are a table without entries; the frame is owned, and the reference ends here.
    let entries = unsafe { memory.table(frame.phys()) };
    entries.iter_mut().for_each(|entry| entry.set_frame(target, SINK));
    frame
}
