//! A task that takes turns, and the fuel of its turns.

use alloc::boxed::Box;
use alloc::vec::Vec;

use palimpsest_engine::{Error, Poll, Task, Val};

use super::{Ended, TaskId};
use crate::clock;

/// The fuel of a task's first turn.
const FIRST_FUEL: u64 = 10_000;

/// The number of pieces in which the fuel of a turn is granted.
const PIECES: u64 = 8;

/// The bounds of the fuel of a turn. They guarantee progress, and limit the effect of a wrong
/// estimate.
const MIN_FUEL: u64 = 100;
const MAX_FUEL: u64 = 1 << 32;

#[derive(Debug)]
pub(super) struct Entry<T: 'static> {
    pub(super) id: TaskId,
    pub(super) task: Task<T>,
    pace: Pace,
    /// When the task may run again, in nanoseconds since reset.
    pub(super) not_before_ns: u64,
    /// Ticks that the task had beyond its slices and that were not deducted yet.
    pub(super) overdrawn_ticks: u64,
    /// The CPU on which it had its last turn, if a [`Scheduler`](super::Scheduler) runs it.
    pub(super) cpu: Option<usize>,
}

/// What follows a turn.
#[derive(Debug)]
pub(super) enum After<T: 'static> {
    /// The task goes back to a queue.
    Queue(Box<Entry<T>>),
    /// The task has ended.
    Ended(Box<Ended<T>>),
}

impl<T: 'static> Entry<T> {
    pub(super) fn new(id: TaskId, task: Task<T>) -> Box<Self> {
        Box::new(Self { id, task, pace: Pace::new(), not_before_ns: 0, overdrawn_ticks: 0, cpu: None })
    }

    /// Runs one turn of about `slice_ticks`.
    pub(super) fn take_turn(mut self: Box<Self>, slice_ticks: u64) -> After<T> {
        let until_ns = match self.run(slice_ticks) {
            Poll::Runnable => 0,
            Poll::Waiting { until_ns } => until_ns,
            Poll::Returned(values) => return After::Ended(self.end(Ok(values))),
            Poll::Failed(error) => return After::Ended(self.end(Err(error))),
        };
        self.not_before_ns = until_ns;
        After::Queue(self)
    }

    fn end(self, result: Result<Vec<Val>, Error>) -> Box<Ended<T>> {
        let Self { id, task, .. } = self;
        Box::new(Ended { id, result, fuel_used: task.fuel_used(), store: task.kill() })
    }

    fn run(&mut self, slice_ticks: u64) -> Poll {
        let used_before = self.task.fuel_used();
        let start = clock::ticks();
        let piece = (self.pace.fuel / PIECES).max(MIN_FUEL);
        let mut poll = Poll::Runnable;
        let mut ticks = 0;
        while matches!(poll, Poll::Runnable) {
            poll = self.task.run(piece);
            let before = core::mem::replace(&mut ticks, clock::ticks() - start);
            // Another piece would probably end farther from the end of the slice.
            if ticks + (ticks - before) / 2 > slice_ticks {
                break;
            }
        }
        self.overdrawn_ticks += ticks.saturating_sub(slice_ticks);
        self.pace.adjust(self.task.fuel_used() - used_before, ticks, slice_ticks);
        poll
    }
}

/// The fuel for a turn that takes one slice.
///
/// The time per unit of fuel differs between guests and over time, because host calls and page
/// faults take time but no fuel.
#[derive(Clone, Copy, Debug)]
struct Pace {
    fuel: u64,
}

impl Pace {
    fn new() -> Self {
        Self { fuel: FIRST_FUEL }
    }

    /// Adjusts the fuel after a turn in which `used` units took `ticks`. A turn should take
    /// `slice_ticks`. The fuel changes by a factor of at most 2, because a single page fault or
    /// host call is not a trend.
    fn adjust(&mut self, used: u64, ticks: u64, slice_ticks: u64) {
        let wanted = u128::from(used.max(1)) * u128::from(slice_ticks) / u128::from(ticks.max(1));
        let wanted = u64::try_from(wanted).unwrap_or(MAX_FUEL);
        self.fuel = wanted.clamp(self.fuel / 2, self.fuel * 2).clamp(MIN_FUEL, MAX_FUEL);
    }
}
