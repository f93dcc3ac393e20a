//! Moving the frames of a region out of its tables, for an image.
//!
//! A freeze finds the pages that own a frame, prepares an image for them, and then takes the frames
//! out. It does so with a sweep, like a clear: the pages are absent afterwards, and the tables that
//! this empties are released. What can fail comes before the sweep.

use x86_64::structures::paging::page::PageRange;

use crate::frame::FrameRun;
use crate::platform::Platform;
use crate::state::Mapping;
use crate::table::Sweep;
use crate::tlb::FlushBatch;

impl<P: Platform> Mapping<'_, P> {
    /// Makes the pages absent, and passes their frames to `place`, in the order of the pages. The
    /// account is not charged for them any more. A reserved account keeps what it is charged for,
    /// which the caller has reserved again.
    ///
    /// Everything is flushed. So a table that has no other pages is cut off, and its entries are
    /// walked once.
    ///
    /// No page is deferred or was committed ahead, so all frames were written.
    pub(crate) fn take_frames(&mut self, pages: PageRange, mut place: impl FnMut(FrameRun)) {
        debug_assert!(self.record.figures.deferred_frames == 0 && self.record.ahead.is_empty());
        let mut frames = 0;
        self.sweep_with(Sweep::Everything, pages, FlushBatch::add_everything, |_, run| {
            frames += run.len();
            place(run);
        });
        self.supply().unhold(frames);
    }
}
