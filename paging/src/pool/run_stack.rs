//! A stack of runs of free frames, of fixed capacity.
//!
//! Invariants: no run is empty, no two runs overlap, and `frames` is the sum of their lengths.

use arrayvec::ArrayVec;
use x86_64::structures::paging::PhysFrame;
use x86_64::structures::paging::frame::PhysFrameRange;

use crate::frame::FrameRun;
use crate::pages::frame_after;

/// The most runs of a stack. They take one kilobyte.
const RUNS: usize = 64;

/// Runs of free frames. The run that was put on last is taken first, because its frames are most
/// likely to be in the CPU's data caches.
#[derive(Debug)]
pub(super) struct RunStack {
    runs: ArrayVec<PhysFrameRange, RUNS>,
    frames: u64,
}

impl RunStack {
    pub(super) const fn new() -> Self {
        Self { runs: ArrayVec::new_const(), frames: 0 }
    }

    pub(super) const fn frames(&self) -> u64 {
        self.frames
    }

    /// Whether there may be no room for another run.
    pub(super) fn is_full(&self) -> bool {
        self.runs.is_full()
    }

    /// Takes up to `most` frames that follow each other, or returns `None` if the stack is empty.
    /// `most` is not zero.
    #[inline]
    pub(super) fn take(&mut self, most: u64) -> Option<FrameRun> {
        let top = self.runs.last_mut()?;
        let count = most.min(top.len());
        let first = top.start;
        top.start = frame_after(first, count);
        if top.is_empty() {
            self.runs.pop();
        }
        self.frames -= count;
        // SAFETY: the stack owned the frames, and the range that is left of the run does not
        // contain them any more.
        Some(unsafe { FrameRun::from_phys(first, count) })
    }

    /// Adds frames.
    ///
    /// # Panics
    ///
    /// If the stack [is full](Self::is_full) and the frames do not continue the last run.
    #[inline]
    pub(super) fn put(&mut self, frames: FrameRun) {
        self.frames += frames.len();
        let frames = frames.into_phys();
        debug_assert!(!self.overlaps(frames), "{frames:?} were released, and some of them are free already");
        match self.runs.last_mut() {
            Some(top) if top.end == frames.start => top.end = frames.end,
            Some(top) if frames.end == top.start => top.start = frames.start,
            Some(_) | None => self.runs.push(frames),
        }
    }

    /// Takes the oldest frames out until at most `keep_frames` are left, in at most half of the
    /// runs, and passes them to `put_back`.
    pub(super) fn spill(&mut self, keep_frames: u64, mut put_back: impl FnMut(PhysFrameRange)) {
        let mut emptied = 0;
        while self.frames > keep_frames || self.runs.len() - emptied > RUNS / 2 {
            let has_many_runs = self.runs.len() - emptied > RUNS / 2;
            let run = &mut self.runs[emptied];
            let spare = if has_many_runs { run.len() } else { run.len().min(self.frames - keep_frames) };
            let spilled = PhysFrame::range(run.start, frame_after(run.start, spare));
            run.start = spilled.end;
            emptied += usize::from(run.is_empty());
            self.frames -= spare;
            put_back(spilled);
        }
        self.runs.drain(..emptied);
    }

    fn overlaps(&self, frames: PhysFrameRange) -> bool {
        self.runs.iter().any(|run| run.start < frames.end && frames.start < run.end)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn run(first: u64, count: u64) -> FrameRun {
        let start = PhysFrame::from_pfn(first);
        // SAFETY: the tests neither access nor map the frames.
        unsafe { FrameRun::from_phys(start, count) }
    }

    fn stack(runs: impl IntoIterator<Item = (u64, u64)>) -> RunStack {
        let mut stack = RunStack::new();
        runs.into_iter().for_each(|(first, count)| stack.put(run(first, count)));
        stack
    }

    fn numbers(frames: PhysFrameRange) -> (u64, u64) {
        (frames.start.pfn(), frames.len())
    }

    fn take(stack: &mut RunStack, most: u64) -> Option<(u64, u64)> {
        stack.take(most).map(|taken| numbers(taken.into_phys()))
    }

    fn spill(stack: &mut RunStack, keep_frames: u64) -> Vec<(u64, u64)> {
        let mut spilled = Vec::new();
        stack.spill(keep_frames, |frames| spilled.push(numbers(frames)));
        spilled
    }

    #[test]
    fn the_frames_that_were_put_last_are_taken_first_and_from_the_lowest_on() {
        let mut stack = stack([(10, 4), (20, 2)]);
        let taken = [1, 9, 3, 3, 3].map(|most| take(&mut stack, most));
        assert_eq!(taken, [Some((20, 1)), Some((21, 1)), Some((10, 3)), Some((13, 1)), None]);
        assert_eq!(stack.frames(), 0);
    }

    #[test]
    fn frames_that_continue_the_last_run_at_either_end_join_it() {
        let mut stack = stack([(10, 4), (14, 2), (8, 2)]);
        assert_eq!(take(&mut stack, 99), Some((8, 8)));
    }

    #[test]
    fn a_spill_keeps_the_newest_frames_and_divides_a_run() {
        let mut stack = stack([(10, 4), (20, 4), (30, 4)]);
        assert_eq!(spill(&mut stack, 6), [(10, 4), (20, 2)]);
        assert_eq!(stack.frames(), 6);
        assert_eq!(spill(&mut stack, 6), []);
        assert_eq!(spill(&mut stack, 0), [(22, 2), (30, 4)]);
        assert_eq!((stack.frames(), take(&mut stack, 1)), (0, None));
    }

    #[test]
    fn a_spill_of_a_full_stack_leaves_half_of_its_runs() {
        let mut stack = stack((0..64).map(|number| (2 * number, 1)));
        assert!(stack.is_full());
        assert_eq!(spill(&mut stack, 1000), (0..32).map(|number| (2 * number, 1)).collect::<Vec<_>>());
        assert_eq!((stack.frames(), stack.is_full()), (32, false));
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "are free already")]
    fn a_frame_that_is_free_already_is_refused_in_debug_builds() {
        stack([(10, 4), (20, 1), (12, 1)]);
    }
}
