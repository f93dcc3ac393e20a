//! Runs a guest's calls in slices of time, and samples its frames after each slice.
//!
//! The guest runs until its slice is used up or it waits. It is then continued at once, because no
//! other guest exists. With several CPUs each slice is on [any of them](errands::anywhere). The
//! samples, and a last one at the end, become the timeline of the report.

use alloc::vec::Vec;

use kernel_demo::{clock, errands, memory::Space};
use palimpsest_engine::{Error, Func, Linker, Module, Poll, Store, Task, TaskError, Val};
use palimpsest_wasi::{Clock, TscClock};
use thiserror::Error;

use crate::{run::Measured, samples::Samples};

/// The fuel of a slice, at about one unit for each instruction of the guest. It lasts some 20 ms in
/// QEMU.
const SLICE_FUEL: u64 = 2_000_000;

/// Why a call did not return.
#[derive(Debug, Error)]
pub(crate) enum SliceError {
    /// The call could not be made.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// The guest failed, or ended itself.
    #[error(transparent)]
    Guest(Error),
}

/// A store whose calls run in slices.
#[derive(Debug)]
pub(crate) struct Sliced<T: 'static> {
    /// None after a call that could not be made.
    store: Option<Store<T>>,
    space: &'static Space,
    time: TscClock,
    timeline: Samples,
    /// Fuel that completed calls used.
    fuel_used: u64,
    /// Ticks of the clock in all calls.
    ticks: u64,
}

impl<T: Send + 'static> Sliced<T> {
    pub(crate) fn new(store: Store<T>, space: &'static Space, time: TscClock) -> Self {
        Self { store: Some(store), space, time, timeline: Samples::default(), fuel_used: 0, ticks: 0 }
    }

    /// Returns the store, unless a call could not be made.
    pub(crate) fn store(&mut self) -> Result<&mut Store<T>, SliceError> {
        self.store.as_mut().ok_or(SliceError::Task(TaskError::Over))
    }

    /// Ends the program: records its figures in `measured`, and drops the store.
    pub(crate) fn conclude(mut self, measured: &mut Measured) {
        self.timeline.add(self.fuel_used, self.space.usage().resident_frames);
        if let Some(store) = &self.store {
            measured.record_memories(store);
        }
        measured.run_ticks = Some(self.ticks);
        measured.run_ns = Some(self.time.rate().nanoseconds_in(self.ticks));
        measured.timeline = self.timeline;
    }

    /// Instantiates `module` and calls its export `name`, which must not have parameters.
    ///
    /// # Errors
    ///
    /// See [`SliceError`].
    pub(crate) fn start(
        &mut self,
        linker: &Linker<T>,
        module: &Module,
        name: &str,
    ) -> Result<Vec<Val>, SliceError> {
        self.run(|store| Task::instantiate(store, linker, module, name, &[]))
    }

    /// Calls `func`.
    ///
    /// # Errors
    ///
    /// See [`SliceError`].
    pub(crate) fn call(&mut self, func: Func, arguments: &[Val]) -> Result<Vec<Val>, SliceError> {
        self.run(|store| Task::new(store, func, arguments))
    }

    fn run(
        &mut self,
        make: impl FnOnce(Store<T>) -> Result<Task<T>, TaskError>,
    ) -> Result<Vec<Val>, SliceError> {
        let store = self.store.take().ok_or(TaskError::Over)?;
        let before = clock::ticks();
        let mut task = make(store)?;
        let ended = loop {
            match errands::anywhere(|| task.run(SLICE_FUEL)) {
                Poll::Runnable => {}
                Poll::Waiting { until_ns } => {
                    self.time.wait_until(until_ns);
                }
                Poll::Returned(results) => break Ok(results),
                Poll::Failed(error) => break Err(SliceError::Guest(error)),
            }
            self.timeline.add(self.fuel_used + task.fuel_used(), self.space.usage().resident_frames);
        };
        self.ticks += clock::ticks() - before;
        self.fuel_used += task.fuel_used();
        self.store = Some(task.kill());
        ended
    }
}
