//! Runs many guests in turns: on one CPU with an [`Executor`], on all CPUs with a [`Scheduler`].
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

mod entry;
mod queue;
mod scheduler;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::hint::spin_loop;
use core::time::Duration;

use palimpsest_engine::{Error, Store, Task, Val};

use self::entry::{After, Entry};
use self::queue::Queue;
pub use self::scheduler::{Moves, Scheduler};
use crate::clock;
use crate::timer::TickRate;

/// Identifies a task of an executor. Not reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TaskId(u64);

/// Runs tasks in turns on the CPU that calls it.
#[derive(Debug)]
pub struct Executor<T: 'static> {
    queue: Queue<T>,
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

impl<T: 'static> Executor<T> {
    /// Creates an executor without tasks, whose turns take about `slice`.
    #[must_use]
    pub fn new(rate: TickRate, slice: Duration) -> Self {
        let slice_ticks = rate.ticks_in(slice).max(1);
        Self { queue: Queue::new(slice_ticks), next: 0, rate, slice_ticks }
    }

    /// Adds a task. Its first turn is after one turn of each other task.
    pub fn spawn(&mut self, task: Task<T>) -> TaskId {
        let id = TaskId(self.next);
        self.next += 1;
        self.queue.push(Entry::new(id, task));
        id
    }

    /// Ends a task and returns its store. Returns None if it has already ended.
    pub fn kill(&mut self, id: TaskId) -> Option<Store<T>> {
        self.queue.remove(id).map(|entry| entry.task.kill())
    }

    /// Returns the tasks that have not ended.
    pub fn tasks(&self) -> impl Iterator<Item = (TaskId, &Task<T>)> {
        self.queue.tasks()
    }

    /// Runs the next task that does not wait, for one turn.
    pub fn turn(&mut self) -> Turn<T> {
        let now_ns = self.rate.nanoseconds_in(clock::ticks());
        let Some(entry) = self.queue.next_ready(now_ns) else {
            return self.queue.first_ns().map_or(Turn::Empty, |until_ns| Turn::Idle { until_ns });
        };
        let id = entry.id;
        match entry.take_turn(self.slice_ticks) {
            After::Queue(entry) => {
                self.queue.push(entry);
                Turn::Ran(id)
            }
            After::Ended(ended) => Turn::Ended(ended),
        }
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
