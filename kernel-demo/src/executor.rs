//! Many guests on one CPU: a round-robin executor over the engine's tasks.
//!
//! Owns the tasks, their turns, and how much fuel a turn is worth. Tasks take turns in the order in which they
//! came; one that waits is passed over until its time has come. A turn is to last as long as the configured
//! slice: each task has a pace that is corrected after every turn by what the clock says. Nothing is
//! preempted: fuel is what ends a turn, so a guest in an endless loop takes its turns and no more.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::hint::spin_loop;
use core::time::Duration;

use palimpsest_engine::{Error, Poll, Store, Task, Val};

use crate::clock;
use crate::timer::TickRate;

/// What a task's first turn is worth, in units of fuel.
const FIRST_FUEL: u64 = 10_000;

/// Bounds of what a turn is worth: a guest always gets somewhere, and a wrong guess does not last for long.
const MIN_FUEL: u64 = 100;
const MAX_FUEL: u64 = 1 << 32;

/// Names a task of an executor; never used for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TaskId(u64);

/// Lets tasks take turns on the CPU that calls it.
#[derive(Debug)]
pub struct Executor<T: 'static> {
    turns: VecDeque<Box<Entry<T>>>,
    next: u64,
    rate: TickRate,
    slice_ticks: u64,
}

/// How a task ended, with its store: its memories, its report, the embedder's data.
#[derive(Debug)]
pub struct Ended<T: 'static> {
    /// The task.
    pub id: TaskId,
    /// The values that its function returned, or why it did not return.
    pub result: Result<Vec<Val>, Error>,
    /// Units of fuel that it used up.
    pub fuel_used: u64,
    /// The store; dropping it frees everything that the guest had.
    pub store: Store<T>,
}

/// What came of a turn.
#[derive(Debug)]
#[must_use = "an ended task hands over its store"]
pub enum Turn<T: 'static> {
    /// There is no task.
    Empty,
    /// Every task waits, the first of them until the clock shows this many nanoseconds since reset.
    Idle {
        /// Nanoseconds, by the executor's [`TickRate`].
        until_ns: u64,
    },
    /// A task ran and is not done.
    Ran(TaskId),
    /// A task ran and is done.
    Ended(Box<Ended<T>>),
}

#[derive(Debug)]
struct Entry<T: 'static> {
    id: TaskId,
    task: Task<T>,
    pace: Pace,
    /// When it may run again, in nanoseconds since reset.
    not_before_ns: u64,
}

impl<T: 'static> Executor<T> {
    /// An executor without tasks, whose turns last for about `slice`.
    #[must_use]
    pub fn new(rate: TickRate, slice: Duration) -> Self {
        Self { turns: VecDeque::new(), next: 0, rate, slice_ticks: rate.ticks_in(slice).max(1) }
    }

    /// Adds a task; its first turn comes after one of each other task.
    pub fn spawn(&mut self, task: Task<T>) -> TaskId {
        let id = TaskId(self.next);
        self.next += 1;
        self.turns.push_back(Box::new(Entry { id, task, pace: Pace::new(), not_before_ns: 0 }));
        id
    }

    /// Ends a task where it is and gives its store back; nothing if it has ended already.
    pub fn kill(&mut self, id: TaskId) -> Option<Store<T>> {
        let index = self.turns.iter().position(|entry| entry.id == id)?;
        self.turns.remove(index).map(|entry| entry.task.kill())
    }

    /// The tasks that have not ended, with what they are worth now.
    pub fn tasks(&self) -> impl Iterator<Item = (TaskId, &Task<T>)> {
        self.turns.iter().map(|entry| (entry.id, &entry.task))
    }

    /// Gives the next task that does not wait its turn.
    pub fn turn(&mut self) -> Turn<T> {
        let now_ns = self.rate.nanoseconds_in(clock::ticks());
        let ready = self.turns.iter().position(|entry| entry.not_before_ns <= now_ns);
        let Some(mut entry) = ready.and_then(|index| self.turns.remove(index)) else {
            let first = self.turns.iter().map(|entry| entry.not_before_ns).min();
            return first.map_or(Turn::Empty, |until_ns| Turn::Idle { until_ns });
        };
        let result = match entry.run(self.slice_ticks) {
            Poll::Runnable => return self.again(entry, 0),
            Poll::Waiting { until_ns } => return self.again(entry, until_ns),
            Poll::Returned(values) => Ok(values),
            Poll::Failed(error) => Err(error),
        };
        let Entry { id, task, .. } = *entry;
        Turn::Ended(Box::new(Ended { id, result, fuel_used: task.fuel_used(), store: task.kill() }))
    }

    /// Puts `entry` behind all others.
    fn again(&mut self, mut entry: Box<Entry<T>>, not_before_ns: u64) -> Turn<T> {
        let id = entry.id;
        entry.not_before_ns = not_before_ns;
        self.turns.push_back(entry);
        Turn::Ran(id)
    }

    /// Runs all tasks to their ends, which go to `on_end` as they come. Never returns while a task loops forever:
    /// call [`turn`](Self::turn) and [`kill`](Self::kill) instead.
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
    /// One turn of about `slice_ticks`.
    fn run(&mut self, slice_ticks: u64) -> Poll {
        let used_before = self.task.fuel_used();
        let start = clock::ticks();
        let poll = self.task.run(self.pace.fuel);
        let ticks = clock::ticks() - start;
        self.pace.correct(self.task.fuel_used() - used_before, ticks, slice_ticks);
        poll
    }
}

/// How much fuel a turn is worth, so that it lasts for a slice.
///
/// What a unit of fuel takes differs from guest to guest and over time: host calls and page faults cost ticks and
/// no fuel.
#[derive(Clone, Copy, Debug)]
struct Pace {
    fuel: u64,
}

impl Pace {
    fn new() -> Self {
        Self { fuel: FIRST_FUEL }
    }

    /// Learns that `used` units took `ticks`, where a turn is to take `slice_ticks`. One turn changes the fuel by a
    /// factor of 2 at most: a single page fault or host call more or less is no trend.
    fn correct(&mut self, used: u64, ticks: u64, slice_ticks: u64) {
        let wanted = u128::from(used.max(1)) * u128::from(slice_ticks) / u128::from(ticks.max(1));
        let wanted = u64::try_from(wanted).unwrap_or(MAX_FUEL);
        self.fuel = wanted.clamp(self.fuel / 2, self.fuel * 2).clamp(MIN_FUEL, MAX_FUEL);
    }
}
