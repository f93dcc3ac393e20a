//! Tasks: a guest's call in slices, so that one CPU can serve many guests.
//!
//! A [`Task`] owns a store and one call into it: a start function, if there is one, and then an export. Each
//! [`run`](Task::run) hands out some fuel and comes back when it is used up, when the guest waits, or when the
//! call is over. Between two slices the guest's stack is on the heap and the native stack is free. Built on
//! wasmi's resumable calls; who calls whom when is the embedder's scheduler's business.
//!
//! Nothing is lost between slices: what fuel an instruction could not use stays in the store, and adds up until
//! it is enough for a `memory.fill` that costs more than a slice.

mod error;
mod pause;

use alloc::{string::ToString, vec::Vec};
use core::fmt;
use wasmi::{
    AsContext, AsContextMut, Func, ResumableCall, ResumableCallHostTrap, ResumableCallOutOfFuel, TrapCode,
    Val,
};

pub use self::{error::TaskError, pause::Pause};
use crate::{
    link::{self, Linker, Unstarted},
    module::Module,
    store::Store,
};

/// A guest's call that runs in slices of fuel. Owns its store.
///
/// Dropping it ends the guest where it is and frees everything of it; [`kill`](Self::kill) does the same and
/// keeps the store.
///
/// A host function that calls back into the guest does so in one piece: a nested call cannot be divided. It ends
/// in `TrapCode::OutOfFuel` when the slice does, or with the [`Pause`] that was meant for its own caller.
pub struct Task<T: 'static> {
    // Before the store: what is suspended names functions of the store.
    state: State,
    /// The calls still to be made, the next one last.
    calls: Vec<Call>,
    results: Vec<Val>,
    /// Fuel that the guest may still be given; without limit if there is none.
    quota: Option<u64>,
    granted: u64,
    store: Store<T>,
}

/// What a task has come to by the end of a slice.
#[derive(Debug)]
#[must_use = "a task may have failed, or wait for a time"]
pub enum Poll {
    /// The guest has more to do: run it again.
    Runnable,
    /// The guest waits: it has nothing to do before the embedder's monotonic clock shows this many nanoseconds.
    Waiting {
        /// Nanoseconds on the clock that the pausing host function works with.
        until_ns: u64,
    },
    /// The function returned these values.
    Returned(Vec<Val>),
    /// The guest trapped, a host function failed, or the fuel of [`Limits::fuel`](crate::Limits::fuel) is used up.
    Failed(wasmi::Error),
}

/// A function and what to call it with.
struct Call {
    func: Func,
    arguments: Vec<Val>,
}

/// Where the call stands.
enum State {
    /// Between two calls, or before the first.
    Ready,
    /// The fuel was used up.
    OutOfFuel(ResumableCallOutOfFuel),
    /// A host function asked for a pause, which ends with these results of it.
    Paused { call: ResumableCallHostTrap, results: Vec<Val> },
    /// Returned or failed.
    Over,
}

impl<T: 'static> Task<T> {
    /// A task that calls `func`, a function of `store`, with `arguments`.
    ///
    /// # Errors
    ///
    /// - [`TaskError::Unmetered`] if the store's engine does not count fuel.
    /// - [`TaskError::Arguments`] if the function's parameters are others.
    pub fn new(store: Store<T>, func: Func, arguments: &[Val]) -> Result<Self, TaskError> {
        let call = Call::new(&store, func, arguments)?;
        Self::of(store, alloc::vec![call])
    }

    /// A task that instantiates `module` in `store`, and then calls its start function and the export `name`.
    ///
    /// Unlike [`Linker::instantiate`] this leaves the start function to the slices, so that it is as divisible
    /// and as limited as any other call.
    ///
    /// # Errors
    ///
    /// - [`TaskError::Instantiate`] if the module was not instantiated.
    /// - [`TaskError::NoExport`] if it exports no function `name`.
    /// - The errors of [`new`](Self::new).
    pub fn instantiate(
        mut store: Store<T>,
        linker: &Linker<T>,
        module: &Module,
        name: &str,
        arguments: &[Val],
    ) -> Result<Self, TaskError> {
        let Unstarted { instance, start } = link::prepare(linker, store.as_context_mut(), module)?;
        let export =
            instance.get_func(&store, name).ok_or_else(|| TaskError::NoExport { name: name.to_string() })?;
        let mut calls = alloc::vec![Call::new(&store, export, arguments)?];
        calls.extend(start.map(|func| Call { func, arguments: Vec::new() }));
        Self::of(store, calls)
    }

    fn of(mut store: Store<T>, calls: Vec<Call>) -> Result<Self, TaskError> {
        let fuel = store.get_fuel().map_err(|_| TaskError::Unmetered)?;
        let quota = store.limits().fuel.map(|_| fuel);
        store.set_fuel(0).map_err(|_| TaskError::Unmetered)?;
        Ok(Self { state: State::Ready, calls, results: Vec::new(), quota, granted: 0, store })
    }

    /// Lets the guest run until it has used up `fuel` units, waits, or is done.
    ///
    /// A slice of 0 units leaves the guest where it is. One instruction is never divided: the last one of a slice
    /// may be a clear or a fill that takes longer than the slice. So may the translation of a function that is
    /// called for the first time: it costs no fuel, and is bounded by
    /// [`Limits::function_bytes`](crate::Limits::function_bytes).
    ///
    /// A guest that waits is resumed at once: whoever runs it before its time cuts its wait short.
    pub fn run(&mut self, fuel: u64) -> Poll {
        if matches!(self.state, State::Over) {
            return Poll::Failed(wasmi::Error::host(TaskError::Over));
        }
        if let Err(error) = self.grant(fuel) {
            return self.fail(error);
        }
        loop {
            match self.advance() {
                Ok(ResumableCall::Finished) if self.calls.is_empty() => {
                    self.state = State::Over;
                    return Poll::Returned(core::mem::take(&mut self.results));
                }
                Ok(ResumableCall::Finished) => self.state = State::Ready,
                Ok(ResumableCall::OutOfFuel(call)) => return self.out_of_fuel(call),
                Ok(ResumableCall::HostTrap(call)) => return self.host_error(call),
                Err(error) => return self.fail(error),
            }
        }
    }

    /// Whether the call has returned or failed, so that [`run`](Self::run) has nothing left to do.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// Units of fuel that the guest has used up so far.
    #[must_use]
    pub fn fuel_used(&self) -> u64 {
        self.granted.saturating_sub(self.store.get_fuel().unwrap_or_default())
    }

    /// The store, between two slices: its memories, its report, the embedder's data.
    #[must_use]
    pub fn store(&self) -> &Store<T> {
        &self.store
    }

    /// The store, exclusively. Its fuel is the task's: leave it alone.
    pub fn store_mut(&mut self) -> &mut Store<T> {
        &mut self.store
    }

    /// Ends the guest where it is and gives its store back.
    #[must_use = "the store keeps the guest's frames until it is dropped"]
    pub fn kill(self) -> Store<T> {
        self.store
    }

    /// Moves up to `fuel` units from the quota to the store.
    fn grant(&mut self, fuel: u64) -> Result<(), wasmi::Error> {
        let units = self.quota.map_or(fuel, |quota| quota.min(fuel));
        self.quota = self.quota.map(|quota| quota - units);
        self.granted = self.granted.saturating_add(units);
        let left = self.store.get_fuel()?;
        self.store.set_fuel(left.saturating_add(units))
    }

    /// Begins the next call or goes on with the one that was suspended.
    fn advance(&mut self) -> Result<ResumableCall, wasmi::Error> {
        match core::mem::replace(&mut self.state, State::Over) {
            State::Ready => {
                let Call { func, arguments } = self.calls.pop().expect("a task that is not over has a call");
                let ty = func.ty(&self.store);
                self.results = ty.results().iter().map(|ty| Val::default_for_ty(*ty)).collect();
                func.call_resumable(&mut self.store, &arguments, &mut self.results)
            }
            State::OutOfFuel(call) => call.resume(&mut self.store, &mut self.results),
            State::Paused { call, results } => call.resume(&mut self.store, &results, &mut self.results),
            State::Over => unreachable!("`run` does not advance a task that is over"),
        }
    }

    fn out_of_fuel(&mut self, call: ResumableCallOutOfFuel) -> Poll {
        if self.quota == Some(0) {
            return self.fail(TrapCode::OutOfFuel.into());
        }
        self.state = State::OutOfFuel(call);
        Poll::Runnable
    }

    /// A pause suspends the call; every other error of a host function ends it.
    fn host_error(&mut self, call: ResumableCallHostTrap) -> Poll {
        let Some(pause) = call.host_error().downcast_ref::<Pause>() else {
            return self.fail(call.into_host_error());
        };
        let (until_ns, results) = (pause.until_ns(), pause.results().to_vec());
        self.state = State::Paused { call, results };
        until_ns.map_or(Poll::Runnable, |until_ns| Poll::Waiting { until_ns })
    }

    fn fail(&mut self, error: wasmi::Error) -> Poll {
        self.state = State::Over;
        Poll::Failed(error)
    }
}

impl Call {
    /// # Errors
    ///
    /// [`TaskError::Arguments`] if the function's parameters are others.
    fn new(ctx: impl AsContext, func: Func, arguments: &[Val]) -> Result<Self, TaskError> {
        let ty = func.ty(&ctx);
        let given: Vec<_> = arguments.iter().map(Val::ty).collect();
        if ty.params() != given {
            return Err(TaskError::Arguments { expected: ty.params().to_vec(), given });
        }
        Ok(Self { func, arguments: arguments.to_vec() })
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Ready => "ready",
            State::OutOfFuel(_) => "out of fuel",
            State::Paused { .. } => "paused",
            State::Over => "over",
        };
        f.debug_struct("Task")
            .field("state", &state)
            .field("quota", &self.quota)
            .field("fuel_used", &self.fuel_used())
            .finish_non_exhaustive()
    }
}
