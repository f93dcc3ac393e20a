//! Entries that refer to what they do not own: a shared frame, or the sink.
//!
//! Invariant: such an entry keeps its table alive like any other, and nothing is lost with it. Called by: the fault
//! path, the sink, and whatever clears pages.

use x86_64::structures::paging::{Page, PhysFrame};

use super::entry::{SHARED, SINK, count_down};
use super::{Held, Table};
use crate::frame::Frame;
use crate::memory::{Blank, PhysicalMemory};

impl Table<'_> {
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
}

/// Makes a table all of whose entries lead to the sink: to its frame, or to a table like this one below.
pub(crate) fn sink_table(memory: PhysicalMemory, blank: Blank, target: PhysFrame) -> Frame {
    let frame = blank.into_frame();
    // SAFETY: zeros are a table without entries; the frame is owned, and the reference ends here.
    let entries = unsafe { memory.table(frame.phys()) };
    entries.iter_mut().for_each(|entry| entry.set_frame(target, SINK));
    frame
}
