//! The tasks that take turns on one CPU, in the order of their next turns.

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use palimpsest_engine::Task;

use super::TaskId;
use super::entry::Entry;

#[derive(Debug)]
pub(super) struct Queue<T: 'static> {
    entries: VecDeque<Box<Entry<T>>>,
    slice_ticks: u64,
}

impl<T: 'static> Queue<T> {
    /// Creates an empty queue for turns of `slice_ticks`.
    pub(super) fn new(slice_ticks: u64) -> Self {
        Self { entries: VecDeque::new(), slice_ticks }
    }

    /// Appends `entry`.
    pub(super) fn push(&mut self, entry: Box<Entry<T>>) {
        self.entries.push_back(entry);
    }

    /// Takes the task `id` out. Returns None if it is not here.
    pub(super) fn remove(&mut self, id: TaskId) -> Option<Box<Entry<T>>> {
        let index = self.entries.iter().position(|entry| entry.id == id)?;
        self.entries.remove(index)
    }

    pub(super) fn tasks(&self) -> impl Iterator<Item = (TaskId, &Task<T>)> {
        self.entries.iter().map(|entry| (entry.id, &entry.task))
    }

    /// Returns all entries.
    pub(super) fn into_entries(self) -> impl Iterator<Item = Box<Entry<T>>> {
        self.entries.into_iter()
    }

    /// Returns when the first task may run, in nanoseconds since reset, or None if there is none.
    pub(super) fn first_ns(&self) -> Option<u64> {
        self.entries.iter().map(|entry| entry.not_before_ns).min()
    }

    /// Returns how many tasks may run at this time.
    pub(super) fn ready(&self, now_ns: u64) -> usize {
        self.entries.iter().filter(|entry| entry.not_before_ns <= now_ns).count()
    }

    /// Takes the next task that does not wait and has not overdrawn its share. Each task that is
    /// skipped for this reason pays off one slice.
    pub(super) fn next_ready(&mut self, now_ns: u64) -> Option<Box<Entry<T>>> {
        let is_ready = |entry: &Entry<T>| entry.not_before_ns <= now_ns;
        // With nothing else to run, no task has to wait for its share.
        let forgiven =
            self.entries.iter().filter(|entry| is_ready(entry)).map(|entry| entry.overdrawn_ticks).min()?;
        let forgiven = forgiven - forgiven % self.slice_ticks;
        for entry in self.entries.iter_mut().filter(|entry| is_ready(entry)) {
            entry.overdrawn_ticks -= forgiven;
        }
        loop {
            let index = self.entries.iter().position(|entry| is_ready(entry))?;
            let mut entry = self.entries.remove(index)?;
            if entry.overdrawn_ticks < self.slice_ticks {
                return Some(entry);
            }
            entry.overdrawn_ticks -= self.slice_ticks;
            self.entries.push_back(entry);
        }
    }
}
