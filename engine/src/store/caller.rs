//! A host function's view of its caller: the store, and the instance that made the call.

use core::fmt;
use spin::Once;
use wasmi::Error;

use super::{AsContext, AsContextMut, Extern, Memory, StoreContext, StoreContextMut, StoreState, charge};
use crate::{engine::Engine, module};

/// The caller of a host function: its store, and the exports of the instance that made the call.
///
/// A host function that is defined with [`Linker::func_wrap`](crate::Linker::func_wrap) may take it
/// as its first parameter. It is passed to every method that takes a context.
pub struct Caller<'a, T: 'static> {
    inner: wasmi::Caller<'a, StoreState<T>>,
    memory: &'a ImporterMemory,
}

/// Memory 0 of a module, for the host functions that the module imports. It is set later than they
/// are created, because memories are created after imports are resolved.
#[derive(Debug, Default)]
pub struct ImporterMemory(Once<Memory>);

impl ImporterMemory {
    /// Sets the memory, before the first call of a function that uses it.
    pub(crate) fn set(&self, memory: Memory) {
        self.0.call_once(|| memory);
    }
}

impl<'a, T: 'static> Caller<'a, T> {
    pub(crate) fn new(inner: wasmi::Caller<'a, StoreState<T>>, memory: &'a ImporterMemory) -> Self {
        Self { inner, memory }
    }
}

impl<T: 'static> Caller<'_, T> {
    /// Returns memory 0 of the module that imports the host function, or `None` if the module has
    /// no memory.
    ///
    /// The module need not export the memory, and the call takes no time to look for it.
    #[must_use]
    pub fn memory(&self) -> Option<Memory> {
        self.memory.0.get().copied()
    }

    /// Returns what the calling instance exports as `name`, or `None` if the host made the call.
    #[must_use]
    pub fn get_export(&self, name: &str) -> Option<Extern> {
        if module::is_reserved(name) {
            return None;
        }
        let export = self.inner.get_export(name)?;
        Some(Extern::from_wasmi(export, self.inner.data()))
    }

    /// Returns the embedder's data.
    #[must_use]
    pub fn data(&self) -> &T {
        &self.inner.data().data
    }

    /// Returns the embedder's data, exclusively.
    pub fn data_mut(&mut self) -> &mut T {
        &mut self.inner.data_mut().data
    }

    /// Returns the engine that the store belongs to.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.inner.data().engine
    }

    /// Returns how many units of fuel the store has left.
    ///
    /// # Errors
    ///
    /// Fails if the engine is not metered.
    pub fn get_fuel(&self) -> Result<u64, Error> {
        self.inner.get_fuel()
    }

    /// Sets how many units of fuel the store has left.
    ///
    /// # Errors
    ///
    /// Fails if the engine is not metered.
    pub fn set_fuel(&mut self, units: u64) -> Result<(), Error> {
        self.inner.set_fuel(units)
    }

    /// Returns whether a [`Pause`](crate::Pause) suspends the guest: the call is a
    /// [`Task`](crate::Task)'s, and not nested in a call of another host function.
    #[must_use]
    pub fn can_pause(&self) -> bool {
        self.inner.data().can_pause()
    }

    /// Returns the number that the host function passed to [`Pause::again`](crate::Pause::again) in
    /// its last call, or 0 in the first call. It can be taken once.
    #[must_use]
    pub fn take_progress(&mut self) -> u64 {
        core::mem::take(&mut self.inner.data_mut().progress)
    }

    /// Charges the guest `units` of fuel for work of the host function.
    ///
    /// A guest that has fewer units keeps none, and stops at its next instruction that costs fuel.
    /// The guest of a [`Task`](crate::Task) owes the rest: its next slices pay it before the guest
    /// continues.
    /// The call has no effect if the engine is not metered.
    pub fn charge_fuel(&mut self, units: u64) {
        charge(&mut self.inner, units);
    }
}

impl<T: 'static> AsContext for Caller<'_, T> {
    type Data = T;

    fn as_context(&self) -> StoreContext<'_, T> {
        StoreContext::from_wasmi(wasmi::AsContext::as_context(&self.inner))
    }
}

impl<T: 'static> AsContextMut for Caller<'_, T> {
    fn as_context_mut(&mut self) -> StoreContextMut<'_, T> {
        StoreContextMut::from_wasmi(wasmi::AsContextMut::as_context_mut(&mut self.inner))
    }
}

impl<T: fmt::Debug> fmt::Debug for Caller<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").field("data", self.data()).finish_non_exhaustive()
    }
}
