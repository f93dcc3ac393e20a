//! The sink of a region: where writes go that need not, or cannot, be kept.
//!
//! One frame, and for large regions a level-1 table whose 512 entries all lead to it, and a level-2 table
//! whose entries all lead to that table. So whatever is missing in the region's own tables can be covered by
//! one entry, without an allocation. All of it is set aside when the region is made.
//!
//! Invariant: the frame holds zeros when the zero-fill guard goes up. Called by: reserve, which sets it
//! aside; the fault path, which maps it when there is no frame, or instead of a frame while the guard is up.

use x86_64::structures::paging::Page;
use x86_64::structures::paging::page_table::PageTableLevel;

use crate::frame::{Frame, FrameSource};
use crate::memory::PhysicalMemory;
use crate::placement::Block;
use crate::supply::{Shortage, Supply};
use crate::table::{Table, sink_table};

/// The frames of a region's sink.
#[derive(Debug)]
pub(crate) struct Sink {
    frame: Frame,
    content: Content,
    /// In a region that owns its level-1 tables.
    level1: Option<Frame>,
    /// In a region that owns its level-2 tables.
    level2: Option<Frame>,
}

/// What the sink's frame holds.
#[derive(Debug)]
enum Content {
    Zeros,
    /// It was mapped, and may have been written.
    Anything,
}

impl Sink {
    /// The number of frames that the sink of a region with this block of addresses has.
    pub(crate) fn frames_for(block: &Block) -> u64 {
        let owned =
            [PageTableLevel::One, PageTableLevel::Two].into_iter().filter(|level| block.owns_tables(*level));
        1 + owned.count() as u64
    }

    /// Sets aside the sink of a region that has this block of addresses.
    pub(crate) fn set_aside<S: FrameSource>(block: &Block, supply: &Supply<'_, S>) -> Result<Self, Shortage> {
        let frame = supply.take()?.into_frame();
        let mut sink = Self { frame, content: Content::Zeros, level1: None, level2: None };
        match sink.take_tables(block, supply) {
            Ok(()) => Ok(sink),
            Err(shortage) => {
                sink.give_back(supply);
                Err(shortage)
            }
        }
    }

    fn take_tables<S: FrameSource>(&mut self, block: &Block, supply: &Supply<'_, S>) -> Result<(), Shortage> {
        if !block.owns_tables(PageTableLevel::One) {
            return Ok(());
        }
        let level1 = sink_table(supply.memory, supply.take()?, self.frame.phys());
        let level1 = self.level1.insert(level1);
        if !block.owns_tables(PageTableLevel::Two) {
            return Ok(());
        }
        self.level2 = Some(sink_table(supply.memory, supply.take()?, level1.phys()));
        Ok(())
    }

    /// Covers what is missing at the entry of `page` in this table of the region.
    pub(crate) fn cover(&mut self, page: Page, table: &mut Table<'_>) {
        let target = match table.level() {
            PageTableLevel::One => Some(self.frame.phys()),
            PageTableLevel::Two => self.level1.as_ref().map(Frame::phys),
            PageTableLevel::Three => self.level2.as_ref().map(Frame::phys),
            PageTableLevel::Four => None,
        };
        let target = target.expect("tables that a region does not own are pinned, so they are not missing");
        self.content = Content::Anything;
        table.cover(page, target);
    }

    /// Makes the sink read as zero, whatever was written there.
    pub(crate) fn clean(&mut self, memory: PhysicalMemory) {
        match self.content {
            Content::Zeros => {}
            Content::Anything => memory.zero(&mut self.frame),
        }
        self.content = Content::Zeros;
    }

    /// The number of frames that are set aside.
    pub(crate) fn frames(&self) -> u64 {
        1 + u64::from(self.level1.is_some()) + u64::from(self.level2.is_some())
    }

    /// Releases the frames. No entry leads to them any more, and the TLB is flushed.
    pub(crate) fn give_back<S: FrameSource>(self, supply: &Supply<'_, S>) {
        let Self { frame, content: _, level1, level2 } = self;
        [Some(frame), level1, level2].into_iter().flatten().for_each(|frame| supply.give_back(frame));
    }
}
