//! Runs many guests on one CPU: a round-robin executor over the engine's tasks.
//!
//! Tasks run in the order in which they were added. A task that waits is skipped until its time has
//! come. A turn should take as long as the configured slice: each task has a pace, an amount of
//! fuel, that is adjusted after every turn by the measured time. The fuel is granted in pieces, and
//! the clock is read after each, so a guest that suddenly takes more time for a unit of fuel
//! overruns its slice by a piece. Turns end only by fuel, not by
//! preemption, so a guest in an endless loop uses its turns and no more.
//!
//! A turn may last longer than the slice, because fuel is only an estimate of time. For example, a
//! clear of many pages is one instruction. The time beyond the slice is deducted from the task's
//! later turns, so no task gets more than its share of the CPU.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::hint::spin_loop;
use core::time::Duration;

use palimpsest_engine::{Error, Poll, Store, Task, Val};

use crate::clock;
use crate::timer::TickRate;

/// The fuel of a task's first turn.
const FIRST_FUEL: u64 = 10_000;

/// The number of pieces in which the fuel of a turn is granted.
const PIECES: u64 = 8;

/// The bounds of the fuel of a turn. They guarantee progress, and limit the effect of a wrong
/// estimate.
const MIN_FUEL: u64 = 100;
const MAX_FUEL: u64 = 1 << 32;

/// Identifies a task of an executor. Not reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TaskId(u64);

/// Runs tasks in turns on the CPU that calls it.
#[derive(Debug)]
pub struct Executor<T: 'static> {
    turns: VecDeque<Box<Entry<T>>>,
    next: u64,
    rate: TickRate,
    slice_ticks: u64,
}

/// The result of a task, with its store.
#[derive(Debug)]
pub struct Ended<T: 'static> {
    /// The task.
    pub id: TaskId,
    /// The values that its function returned, or the error.
    pub result: Result<Vec<Val>, Error>,
    /// The units of fuel that it used.
    pub fuel_used: u64,
    /// The store. Dropping it releases everything that the guest used.
    pub store: Store<T>,
}

/// The result of a turn.
#[derive(Debug)]
#[must_use = "an ended task returns its store"]
pub enum Turn<T: 'static> {
    /// There are no tasks.
    Empty,
    /// All tasks wait. The first can run when the clock reaches this time.
    Idle {
        /// Nanoseconds since reset, by the executor's [`TickRate`].
        until_ns: u64,
    },
    /// A task ran and has not ended.
    Ran(TaskId),
    /// A task ran and has ended.
    Ended(Box<Ended<T>>),
}

#[derive(Debug)]
struct Entry<T: 'static> {
    id: TaskId,
    task: Task<T>,
    pace: Pace,
    /// When the task may run again, in nanoseconds since reset.
    not_before_ns: u64,
    /// Ticks that the task had beyond its slices and that were not deducted yet.
    overdrawn_ticks: u64,
}

impl<T: 'static> Executor<T> {
    /// Creates an executor without tasks, whose turns take about `slice`.
    #[must_use]
    pub fn new(rate: TickRate, slice: Duration) -> Self {
        Self { turns: VecDeque::new(), next: 0, rate, slice_ticks: rate.ticks_in(slice).max(1) }
    }

    /// Adds a task. Its first turn is after one turn of each other task.
    pub fn spawn(&mut self, task: Task<T>) -> TaskId {
        let id = TaskId(self.next);
        self.next += 1;
        self.turns.push_back(Box::new(Entry {
            id,
            task,
            pace: Pace::new(),
            not_before_ns: 0,
            overdrawn_ticks: 0,
        }));
        id
    }

    /// Ends a task and returns its store. Returns None if it has already ended.
    pub fn kill(&mut self, id: TaskId) -> Option<Store<T>> {
        let index = self.turns.iter().position(|entry| entry.id == id)?;
        self.turns.remove(index).map(|entry| entry.task.kill())
    }

    /// Returns the tasks that have not ended.
    pub fn tasks(&self) -> impl Iterator<Item = (TaskId, &Task<T>)> {
        self.turns.iter().map(|entry| (entry.id, &entry.task))
    }

    /// Runs the next task that does not wait, for one turn.
    pub fn turn(&mut self) -> Turn<T> {
        let Some(mut entry) = self.next_ready() else {
            let first = self.turns.iter().map(|entry| entry.not_before_ns).min();
            return first.map_or(Turn::Empty, |until_ns| Turn::Idle { until_ns });
        };
        let result = match entry.run(self.slice_ticks) {
            Poll::Runnable => return self.requeue(entry, 0),
            Poll::Waiting { until_ns } => return self.requeue(entry, until_ns),
            Poll::Returned(values) => Ok(values),
            Poll::Failed(error) => Err(error),
        };
        let Entry { id, task, .. } = *entry;
        Turn::Ended(Box::new(Ended { id, result, fuel_used: task.fuel_used(), store: task.kill() }))
    }

    /// Takes the next task that does not wait and has not overdrawn its share. Each task that is
    /// skipped for this reason pays off one slice.
    fn next_ready(&mut self) -> Option<Box<Entry<T>>> {
        let now_ns = self.rate.nanoseconds_in(clock::ticks());
        let is_ready = |entry: &Entry<T>| entry.not_before_ns <= now_ns;
        // With nothing else to run, no task has to wait for its share.
        let forgiven =
            self.turns.iter().filter(|entry| is_ready(entry)).map(|entry| entry.overdrawn_ticks).min()?;
        let forgiven = forgiven - forgiven % self.slice_ticks;
        for entry in self.turns.iter_mut().filter(|entry| is_ready(entry)) {
            entry.overdrawn_ticks -= forgiven;
        }
        loop {
            let index = self.turns.iter().position(|entry| is_ready(entry))?;
            let mut entry = self.turns.remove(index)?;
            if entry.overdrawn_ticks < self.slice_ticks {
                return Some(entry);
            }
            entry.overdrawn_ticks -= self.slice_ticks;
            self.turns.push_back(entry);
        }
    }

    /// Appends `entry` to the queue.
    fn requeue(&mut self, mut entry: Box<Entry<T>>, not_before_ns: u64) -> Turn<T> {
        let id = entry.id;
        entry.not_before_ns = not_before_ns;
        self.turns.push_back(entry);
        Turn::Ran(id)
    }

    /// Runs all tasks until they end, and passes each result to `on_end`. Does not return while a
    /// task loops forever; use [`turn`](Self::turn) and [`kill`](Self::kill) for that.
    pub fn run(&mut self, mut on_end: impl FnMut(Box<Ended<T>>)) {
        loop {
            match self.turn() {
                Turn::Empty => return,
                Turn::Idle { .. } => spin_loop(),
                Turn::Ran(_) => {}
                Turn::Ended(ended) => on_end(ended),
            }
        }
    }
}

impl<T: 'static> Entry<T> {
    /// Runs one turn of about `slice_ticks`.
    fn run(&mut self, slice_ticks: u64) -> Poll {
        let used_before = self.task.fuel_used();
        let start = clock::ticks();
        let piece = (self.pace.fuel / PIECES).max(MIN_FUEL);
        let (mut poll, mut ticks) = (Poll::Runnable, 0);
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
