//! Runs of frames that follow each other: of any length, for boot, and of 2 MiB, for large pages.
//!
//! Called by: a kernel that needs physically contiguous memory; the address space, through
//! [`FrameSource`](crate::FrameSource) and [`Promises`](crate::Promises).

use core::ops::Range;

use x86_64::structures::paging::PhysFrame;

use super::frame_set::GROUP;
use super::{FramePool, FrameRun, Fresh, State};

impl FramePool {
    /// Takes `frames` frames that follow each other in one usable range, or returns `None` if there is no
    /// such run, or too few frames are left that are not promised, or `frames` is zero.
    ///
    /// It looks at every frame, so it is for boot: a kernel heap, or a device's buffers.
    pub fn allocate_contiguous(&self, frames: u64) -> Option<FrameRun> {
        let mut state = self.state.lock();
        let run = state.free_run(frames).filter(|_| frames <= state.unpromised_frames())?;
        let first = state.phys_of(run.start);
        run.for_each(|number| state.remove(number));
        Some(FrameRun::new(PhysFrame::range(first, first + frames)))
    }
}

impl State {
    /// Takes 512 free frames from a multiple of 2 MiB on, scrubbed ones if there are as many in a row; promised
    /// or not.
    pub(super) fn take_large(&mut self) -> Option<Fresh> {
        if let Some(number) = self.scrubbed.take_group() {
            self.scrubbed_frames -= GROUP as u64;
            return Some(Fresh::Blank(self.group_from(number)));
        }
        let number = self.free.take_group()?;
        Some(Fresh::Used(self.group_from(number)))
    }

    /// The frames of a group that was taken out of its set.
    fn group_from(&mut self, number: usize) -> FrameRun {
        self.free_frames -= GROUP as u64;
        FrameRun::new(self.spans.with_number(number).frames_from(number, GROUP))
    }

    /// The first run of free numbers of this length, within one span.
    fn free_run(&self, frames: u64) -> Option<Range<usize>> {
        let length = usize::try_from(frames).ok().filter(|length| *length > 0)?;
        self.spans.iter().find_map(|span| {
            let mut start = span.numbers().start;
            span.numbers().find_map(|number| {
                if !self.is_free(number) {
                    start = number + 1;
                }
                (number + 1 - start == length).then_some(start..number + 1)
            })
        })
    }
}
