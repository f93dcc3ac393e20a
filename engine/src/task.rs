//! Tasks: a guest's call in slices, so that one CPU can serve many guests.
//!
//! A [`Task`] owns a store and one call into it: the start function, if there is one, and then an
//! export. Each [`run`](Task::run) grants some fuel, and returns when the fuel is used up, when the
//! guest waits, or when the call is over. Between two slices the guest's stack is on the heap and
//! the native stack is free. Tasks are built on wasmi's resumable calls. The embedder's scheduler
//! decides which task runs when.
//!
//! A long `memory.fill`, `memory.copy` or `memory.init` is divided into pieces of one Wasm page
//! (64 KiB), between which a slice can end. Fuel that a slice leaves over stays in the store. So it
//! adds up to what a piece costs, even if that is more than a slice.
//!
//! A host function whose work grows with a number of the guest's does it in pieces as well: it
//! returns [`Pause::again`], and the task calls it until its work is done or the fuel is used up.
//! So do the engine's clears. A piece may cost more than the fuel that is left. The guest owes the
//! rest, which its next slices pay.

#[cfg(test)]
mod attendance;
mod error;

use alloc::{string::ToString, vec::Vec};
use core::fmt;
use wasmi::{ResumableCall, ResumableCallHostTrap, ResumableCallOutOfFuel, StoreContextMut, TrapCode, Val};

pub use self::error::TaskError;
use crate::{
    link::{self, Linker, Unstarted},
    module::Module,
    store::{AsContext, AsContextMut, Func, Pause, PauseKind, Store, StoreId, StoreState, cross, settle},
};

/// A guest's call that runs in slices of fuel. Owns its store.
///
/// Dropping a task ends the guest and frees everything that it owns. [`kill`](Self::kill) ends the
/// guest and returns the store.
///
/// A call of a host function back into the guest is nested, and a nested call cannot be suspended.
/// It traps with [`TrapCode::OutOfFuel`] when the slice ends, and fails with the [`Pause`] of a
/// host function that it calls.
pub struct Task<T: 'static> {
    // Declared before the store, and so dropped before it, because a suspended call refers to
    // functions of the store.
    state: State,
    /// The calls that are still to be made. The next one is the last.
    calls: Vec<Call>,
    results: Vec<Val>,
    /// Units of fuel that the guest may still be granted, or `None` without a limit.
    quota: Option<u64>,
    granted: u64,
    /// The store of the suspended call. wasmi does not check it, and a call that is resumed with
    /// another store would run on instances that are not there.
    owner: StoreId,
    store: Store<T>,
}

/// The state of a task at the end of a slice.
#[derive(Debug)]
#[must_use = "the task may have failed, or may be waiting"]
pub enum Poll {
    /// The guest is not done. Run it again.
    Runnable,
    /// The guest waits, and has nothing to do before this time.
    Waiting {
        /// The end of the wait in nanoseconds, on the clock of the host function that paused.
        until_ns: u64,
    },
    /// The function returned these values.
    Returned(Vec<Val>),
    /// The guest trapped, a host function failed, or the fuel of
    /// [`Limits::fuel`](crate::Limits::fuel) is used up.
    Failed(wasmi::Error),
}

/// A function and its arguments.
struct Call {
    func: Func,
    arguments: Vec<Val>,
}

/// The state of the current call.
enum State {
    /// Between two calls, or before the first.
    Ready,
    /// Suspended because the fuel was used up.
    OutOfFuel(ResumableCallOutOfFuel),
    /// Suspended by a host function, which returns these results when the guest is resumed.
    Paused { call: ResumableCallHostTrap, results: Vec<Val> },
    /// Suspended by a host function that is called again, with these arguments.
    Repeated { call: ResumableCallHostTrap, arguments: Vec<Val>, progress: u64 },
    /// All calls have returned, or one has failed.
    Over,
}

impl<T: 'static> Task<T> {
    /// Creates a task that calls `func`, a function of `store`, with `arguments`.
    ///
    /// # Errors
    ///
    /// - [`TaskError::Unmetered`] if the store's engine does not count fuel.
    /// - [`TaskError::Arguments`] if the function has other parameters.
    pub fn new(store: Store<T>, func: Func, arguments: &[Val]) -> Result<Self, TaskError> {
        let call = Call::new(&store, func, arguments)?;
        Self::of(store, alloc::vec![call])
    }

    /// Instantiates `module` in `store`, and creates a task that calls its start function and then
    /// the export `name`.
    ///
    /// Unlike [`Linker::instantiate`] this does not call the start function. It runs in slices,
    /// like the export.
    ///
    /// # Errors
    ///
    /// - [`TaskError::Instantiate`] if the module was not instantiated.
    /// - [`TaskError::NoExport`] if the module exports no function `name`.
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
        let mut ctx = store.as_context_mut().into_wasmi();
        let state = ctx.data_mut();
        state.owed = 0;
        let owner = state.id;
        Ok(Self { state: State::Ready, calls, results: Vec::new(), quota, granted: 0, owner, store })
    }

    /// Runs the guest until it has used up `fuel` units, waits, or is done.
    ///
    /// With 0 units the guest does not advance. Long `memory.fill`, `memory.copy` and `memory.init`
    /// are divided: a turn copies at most one Wasm page (64 KiB) more than its fuel pays for.
    /// Clears are divided: a turn releases at most 8,192 frames more, or zeroes 512. What is not
    /// divided may take longer than the rest of the slice:
    ///
    /// - `table.fill`, `table.copy`, `table.init` and `table.grow`, bounded by
    ///   [`Limits::table_elements`](crate::Limits::table_elements) of 4 bytes each. By default they
    ///   write 512 KiB, and `table.grow` moves as much, after the guest has paid for it,
    /// - a host function of the embedder, unless it returns [`Pause::again`],
    /// - the translation of a function at its first call, which costs no fuel and is bounded by
    ///   [`Limits::function_bytes`](crate::Limits::function_bytes).
    ///
    /// A guest that waits is resumed at once. Running it before its time cuts its wait short.
    ///
    /// If pages of the store are lent and in use, the call returns
    /// [`EntryError::Lent`](crate::EntryError::Lent). The task is not over then, and can be run
    /// later.
    ///
    /// # Panics
    ///
    /// Panics if the store was replaced by another one through [`store_mut`](Self::store_mut).
    pub fn run(&mut self, fuel: u64) -> Poll {
        self.owner.check(self.store.as_context().into_wasmi().data());
        let poll = self.run_slice(fuel);
        let is_suspended = !matches!(self.state, State::Ready | State::Over);
        self.store.as_context_mut().into_wasmi().data_mut().is_suspended = is_suspended;
        poll
    }

    fn run_slice(&mut self, fuel: u64) -> Poll {
        if matches!(self.state, State::Over) {
            return Poll::Failed(wasmi::Error::host(TaskError::Over));
        }
        if let Err(error) = self.store.as_context_mut().into_wasmi().data_mut().recall() {
            return Poll::Failed(error.into());
        }
        match self.grant(fuel) {
            Ok(0) => {}
            Ok(_) => return self.unpaid(),
            Err(error) => return self.fail(error),
        }
        loop {
            if let Some(poll) = self.call_again() {
                return poll;
            }
            match self.advance() {
                Ok(ResumableCall::Finished) if self.calls.is_empty() => {
                    self.state = State::Over;
                    let mut ctx = self.store.as_context_mut().into_wasmi();
                    if ctx.data().must_settle {
                        settle(&mut ctx);
                    }
                    return Poll::Returned(core::mem::take(&mut self.results));
                }
                Ok(ResumableCall::Finished) => self.state = State::Ready,
                Ok(ResumableCall::OutOfFuel(call)) => return self.out_of_fuel(call),
                Ok(ResumableCall::HostTrap(call)) => {
                    let error = call.host_error().downcast_ref::<Pause>();
                    let Some(pause) = error.map(|pause| (pause.kind(), pause.values().to_vec())) else {
                        return self.fail(call.into_host_error());
                    };
                    if let Some(poll) = self.pause(call, pause) {
                        return poll;
                    }
                }
                Err(error) => return self.fail(error),
            }
        }
    }

    /// Returns whether the call has returned or failed, so that [`run`](Self::run) has nothing left
    /// to do.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// Returns the number of units of fuel that the guest has used up, with those that it owes for
    /// the last piece of a host function's work.
    #[must_use]
    pub fn fuel_used(&self) -> u64 {
        let paid = self.granted.saturating_sub(self.store.get_fuel().unwrap_or_default());
        paid.saturating_add(self.store.owed_fuel())
    }

    /// Returns the store, which can be examined between two slices.
    #[must_use]
    pub fn store(&self) -> &Store<T> {
        &self.store
    }

    /// Returns the store, exclusively. Its fuel belongs to the task and must not be set, and the
    /// store must not be replaced.
    pub fn store_mut(&mut self) -> &mut Store<T> {
        &mut self.store
    }

    /// Ends the guest and returns its store.
    #[must_use = "the store keeps the guest's frames until it is dropped"]
    pub fn kill(mut self) -> Store<T> {
        self.store.as_context_mut().into_wasmi().data_mut().is_suspended = false;
        self.store
    }

    /// Moves up to `fuel` units from the quota to the store, and pays what the guest owes. Returns
    /// what it still owes.
    fn grant(&mut self, fuel: u64) -> Result<u64, wasmi::Error> {
        let units = self.quota.map_or(fuel, |quota| quota.min(fuel));
        self.quota = self.quota.map(|quota| quota - units);
        self.granted = self.granted.saturating_add(units);
        let left = self.store.get_fuel()?.saturating_add(units);
        let mut ctx = self.store.as_context_mut().into_wasmi();
        let paid = ctx.data().owed.min(left);
        ctx.data_mut().owed -= paid;
        ctx.set_fuel(left - paid)?;
        Ok(ctx.data().owed)
    }

    /// Ends a slice without fuel, or the guest if its quota is used up.
    fn unpaid(&mut self) -> Poll {
        if self.quota == Some(0) { self.fail(TrapCode::OutOfFuel.into()) } else { Poll::Runnable }
    }

    /// Begins the next call, or resumes the one that is suspended.
    fn advance(&mut self) -> Result<ResumableCall, wasmi::Error> {
        let mut ctx = self.store.as_context_mut().into_wasmi();
        match core::mem::replace(&mut self.state, State::Over) {
            State::Ready => {
                let Call { func, arguments } = self.calls.pop().expect("a task that is not over has a call");
                let func = func.wasmi(ctx.data());
                let ty = func.ty(&ctx);
                self.results = ty.results().iter().map(|ty| Val::default_for_ty(*ty)).collect();
                in_task(&mut ctx, |ctx| func.call_resumable(ctx, &arguments, &mut self.results))
            }
            State::OutOfFuel(call) => in_task(&mut ctx, |ctx| call.resume(ctx, &mut self.results)),
            State::Paused { call, results } => {
                in_task(&mut ctx, |ctx| call.resume(ctx, &results, &mut self.results))
            }
            State::Repeated { .. } | State::Over => {
                unreachable!("`run` does not advance a task that is over or repeats a host function")
            }
        }
    }

    fn out_of_fuel(&mut self, call: ResumableCallOutOfFuel) -> Poll {
        self.state = State::OutOfFuel(call);
        self.unpaid()
    }

    /// Suspends the call. Returns `None` if its host function can be called again at once.
    fn pause(&mut self, call: ResumableCallHostTrap, pause: (PauseKind, Vec<Val>)) -> Option<Poll> {
        let (kind, values) = pause;
        let (state, poll) = match kind {
            PauseKind::Now => (State::Paused { call, results: values }, Some(Poll::Runnable)),
            PauseKind::Until(until_ns) => {
                (State::Paused { call, results: values }, Some(Poll::Waiting { until_ns }))
            }
            PauseKind::Again { progress } => (State::Repeated { call, arguments: values, progress }, None),
        };
        self.state = state;
        poll
    }

    /// Calls the host function again that has requested it, until it returns. Returns `None` if the
    /// guest can be advanced.
    fn call_again(&mut self) -> Option<Poll> {
        loop {
            let (call, arguments, progress) = match core::mem::replace(&mut self.state, State::Over) {
                State::Repeated { call, arguments, progress } => (call, arguments, progress),
                other @ (State::Ready | State::OutOfFuel(_) | State::Paused { .. } | State::Over) => {
                    self.state = other;
                    return None;
                }
            };
            if self.store.get_fuel().unwrap_or_default() == 0 {
                self.state = State::Repeated { call, arguments, progress };
                return Some(self.unpaid());
            }
            let func = call.host_func();
            let mut ctx = self.store.as_context_mut().into_wasmi();
            let mut results: Vec<_> =
                func.ty(&ctx).results().iter().map(|ty| Val::default_for_ty(*ty)).collect();
            ctx.data_mut().progress = progress;
            let returned = in_task(&mut ctx, |ctx| func.call(ctx, &arguments, &mut results));
            let Err(error) = returned else {
                self.state = State::Paused { call, results };
                return None;
            };
            let pause = error.downcast_ref::<Pause>().map(|pause| (pause.kind(), pause.values().to_vec()));
            let Some(pause) = pause else { return Some(self.fail(error)) };
            if let Some(poll) = self.pause(call, pause) {
                return Some(poll);
            }
        }
    }

    fn fail(&mut self, error: wasmi::Error) -> Poll {
        self.state = State::Over;
        Poll::Failed(error)
    }
}

/// Runs `call` like [`cross`], and lets host functions pause it.
fn in_task<T: 'static, R>(
    ctx: &mut StoreContextMut<'_, StoreState<T>>,
    call: impl FnOnce(&mut StoreContextMut<'_, StoreState<T>>) -> Result<R, wasmi::Error>,
) -> Result<R, wasmi::Error> {
    ctx.data_mut().in_task = true;
    let returned = cross(ctx, call);
    let state = ctx.data_mut();
    state.in_task = false;
    state.progress = 0;
    returned
}

impl Call {
    /// # Errors
    ///
    /// [`TaskError::Arguments`] if the function has other parameters.
    fn new(ctx: impl AsContext, func: Func, arguments: &[Val]) -> Result<Self, TaskError> {
        let ty = func.ty(ctx);
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
            State::Paused { .. } | State::Repeated { .. } => "paused",
            State::Over => "over",
        };
        f.debug_struct("Task")
            .field("state", &state)
            .field("quota", &self.quota)
            .field("fuel_used", &self.fuel_used())
            .finish_non_exhaustive()
    }
}
