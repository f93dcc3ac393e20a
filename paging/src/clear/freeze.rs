//! Moving the frames of a region out of its tables, for an image.
//!
//! A freeze finds the pages that own a frame, prepares an image for them, and then takes the frames
//! out. It does so with a sweep, like a clear: the pages are absent afterwards, and the tables that
//! this empties are released. What can fail comes before the sweep.

use alloc::vec::Vec;

use x86_64::structures::paging::page::PageRange;

use crate::frame::Frame;
use crate::platform::Platform;
use crate::state::Mapping;
use crate::table::Sweep;

impl<P: Platform> Mapping<'_, P> {
    /// Makes the pages absent, and moves their frames to `frames`, in the order of the pages and
    /// within the capacity. The account is not charged for them any more, but a reserved one keeps
    /// what it is charged for, which the caller has reserved again.
    ///
    /// No page is deferred or was committed ahead, so all frames were written.
    pub(crate) fn take_frames(&mut self, pages: PageRange, frames: &mut Vec<Frame>) {
        debug_assert!(self.record.figures.deferred_frames == 0 && self.record.ahead.is_empty());
        let before = frames.len();
        self.sweep_with(Sweep::Everything, pages, |_, run| {
            debug_assert!((frames.capacity() - frames.len()) as u64 >= run.len());
            frames.extend(run);
        });
        self.supply().unhold((frames.len() - before) as u64);
    }
}
