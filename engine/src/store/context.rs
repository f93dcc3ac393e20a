//! Contexts: borrowed access to a store.
//!
//! wasmi's contexts lead to the store's whole data, which contains what the engine keeps, and they
//! are accepted by functions of wasmi that create items without the engine. So the contexts here
//! wrap wasmi's, and only this crate unwraps them. A function of the engine takes the context from
//! its argument once. An embedder's implementation of [`AsContext`] cannot pass a different store
//! to a later step of the same call.

use core::fmt;
use wasmi::Error;

use super::StoreState;
use crate::engine::Engine;

/// A type that gives shared access to a store: a [`Store`](crate::Store), a
/// [`Caller`](crate::Caller), a context, or a reference to one of these.
pub trait AsContext {
    /// The embedder's data in the store.
    type Data: 'static;

    /// Returns the context of the store.
    fn as_context(&self) -> StoreContext<'_, Self::Data>;
}

/// A type that gives exclusive access to a store.
pub trait AsContextMut: AsContext {
    /// Returns the exclusive context of the store.
    fn as_context_mut(&mut self) -> StoreContextMut<'_, Self::Data>;
}

/// Shared access to a store.
pub struct StoreContext<'a, T: 'static> {
    inner: wasmi::StoreContext<'a, StoreState<T>>,
}

/// Exclusive access to a store.
///
/// The interpreter's own functions do not accept it, because they would create memories, instances
/// and functions without the engine's limits and checks:
///
/// ```compile_fail
/// # fn example(mut store: palimpsest_engine::Store<()>) {
/// palimpsest_engine::wasmi::Func::wrap(&mut store, || {});
/// # }
/// ```
///
/// The engine's do:
///
/// ```
/// # fn example(mut store: palimpsest_engine::Store<()>) {
/// palimpsest_engine::Func::wrap(&mut store, || {});
/// # }
/// ```
pub struct StoreContextMut<'a, T: 'static> {
    inner: wasmi::StoreContextMut<'a, StoreState<T>>,
}

impl<'a, T: 'static> StoreContext<'a, T> {
    pub(crate) fn from_wasmi(inner: wasmi::StoreContext<'a, StoreState<T>>) -> Self {
        Self { inner }
    }

    pub(crate) fn into_wasmi(self) -> wasmi::StoreContext<'a, StoreState<T>> {
        self.inner
    }

    /// Returns the embedder's data.
    #[must_use]
    pub fn data(&self) -> &T {
        &self.inner.data().data
    }

    /// Returns the engine that the store belongs to.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.inner.data().engine
    }

    /// Returns how many units of fuel are left.
    ///
    /// # Errors
    ///
    /// Fails if the engine is not metered.
    pub fn get_fuel(&self) -> Result<u64, Error> {
        self.inner.get_fuel()
    }
}

impl<'a, T: 'static> StoreContextMut<'a, T> {
    pub(crate) fn from_wasmi(inner: wasmi::StoreContextMut<'a, StoreState<T>>) -> Self {
        Self { inner }
    }

    pub(crate) fn into_wasmi(self) -> wasmi::StoreContextMut<'a, StoreState<T>> {
        self.inner
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

    /// Returns how many units of fuel are left.
    ///
    /// # Errors
    ///
    /// Fails if the engine is not metered.
    pub fn get_fuel(&self) -> Result<u64, Error> {
        self.inner.get_fuel()
    }

    /// Sets how many units of fuel are left.
    ///
    /// # Errors
    ///
    /// Fails if the engine is not metered.
    pub fn set_fuel(&mut self, units: u64) -> Result<(), Error> {
        self.inner.set_fuel(units)
    }
}

impl<T: 'static> AsContext for StoreContext<'_, T> {
    type Data = T;

    fn as_context(&self) -> StoreContext<'_, T> {
        *self
    }
}

impl<T: 'static> AsContext for StoreContextMut<'_, T> {
    type Data = T;

    fn as_context(&self) -> StoreContext<'_, T> {
        StoreContext::from_wasmi(wasmi::AsContext::as_context(&self.inner))
    }
}

impl<T: 'static> AsContextMut for StoreContextMut<'_, T> {
    fn as_context_mut(&mut self) -> StoreContextMut<'_, T> {
        StoreContextMut::from_wasmi(wasmi::AsContextMut::as_context_mut(&mut self.inner))
    }
}

impl<C: AsContext> AsContext for &C {
    type Data = C::Data;

    fn as_context(&self) -> StoreContext<'_, C::Data> {
        C::as_context(self)
    }
}

impl<C: AsContext> AsContext for &mut C {
    type Data = C::Data;

    fn as_context(&self) -> StoreContext<'_, C::Data> {
        C::as_context(self)
    }
}

impl<C: AsContextMut> AsContextMut for &mut C {
    fn as_context_mut(&mut self) -> StoreContextMut<'_, C::Data> {
        C::as_context_mut(self)
    }
}

impl<'a, C: AsContext> From<&'a C> for StoreContext<'a, C::Data> {
    fn from(ctx: &'a C) -> Self {
        ctx.as_context()
    }
}

impl<'a, C: AsContext> From<&'a mut C> for StoreContext<'a, C::Data> {
    fn from(ctx: &'a mut C) -> Self {
        C::as_context(ctx)
    }
}

impl<'a, C: AsContextMut> From<&'a mut C> for StoreContextMut<'a, C::Data> {
    fn from(ctx: &'a mut C) -> Self {
        ctx.as_context_mut()
    }
}

// These are not derived, because a derived implementation would require the same of `T`.

impl<T: 'static> Clone for StoreContext<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: 'static> Copy for StoreContext<'_, T> {}

impl<T: fmt::Debug> fmt::Debug for StoreContext<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreContext").field("data", self.data()).finish_non_exhaustive()
    }
}

impl<T: fmt::Debug> fmt::Debug for StoreContextMut<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreContextMut").field("data", self.data()).finish_non_exhaustive()
    }
}
