//! Functions, and their calls by the host.
//!
//! wasmi's functions can be suspended and resumed with another store, whose instances they then
//! confuse with those of their own. The functions here have no resumable calls. A
//! [`Task`](crate::Task) makes such calls on a store that it owns.

use alloc::sync::Arc;
use core::fmt;
use wasmi::{Error, FuncType, Val, WasmParams, WasmResults};

use super::{
    AsContext, AsContextMut, Caller, ImporterMemory, IntoFunc, StoreContextMut, StoreState, cross,
    owner::Owned,
};

/// A function of a guest or of the host: a handle into the store that owns it.
///
/// # Panics
///
/// All methods panic if the function does not belong to the store that is passed.
#[derive(Clone, Copy, Debug)]
pub struct Func {
    inner: Owned<wasmi::Func>,
}

impl Func {
    /// Allocates a host function in a store. Its [`Caller`] has no memory, because
    /// no module imports it.
    ///
    /// [`Linker::func_wrap`](crate::Linker::func_wrap) defines host functions that modules import.
    ///
    /// # Examples
    ///
    /// ```
    /// use palimpsest_engine::{Func, Store};
    /// # use palimpsest_engine::{Config, Engine, Fixed};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bytes = Box::leak(vec![std::mem::MaybeUninit::uninit(); 1 << 16].into_boxed_slice());
    /// # let engine = Engine::new(Config::default(), Fixed::new(bytes))?;
    /// let mut store = Store::new(&engine, ());
    /// let add = Func::wrap(&mut store, |left: u32, right: u32| left + right);
    /// assert_eq!(add.typed::<(u32, u32), u32>(&store)?.call(&mut store, (2, 3))?, 5);
    /// # Ok(())
    /// # }
    /// ```
    pub fn wrap<C: AsContextMut, Params, Results>(
        mut ctx: C,
        func: impl IntoFunc<C::Data, Params, Results>,
    ) -> Self {
        func.into_func(ctx.as_context_mut(), &Arc::new(ImporterMemory::default()))
    }

    /// Allocates a host function of type `ty` over untyped values, for a module with this memory.
    pub(crate) fn new<T: 'static>(
        ctx: StoreContextMut<'_, T>,
        ty: FuncType,
        memory: Arc<ImporterMemory>,
        func: impl Fn(Caller<'_, T>, &[Val], &mut [Val]) -> Result<(), Error> + Send + Sync + 'static,
    ) -> Self {
        let mut ctx = ctx.into_wasmi();
        let inner = wasmi::Func::new(&mut ctx, ty, move |caller, arguments, results| {
            caller.data().refuse_lost()?;
            func(Caller::new(caller, &memory), arguments, results)
        });
        Self::from_wasmi(inner, ctx.data())
    }

    /// Returns the function in a [`Val`] or [`Ref`](crate::Ref), which are wasmi's types, of the
    /// store that is passed.
    pub fn of_store(ctx: impl AsContext, func: wasmi::Func) -> Self {
        Self::from_wasmi(func, ctx.as_context().into_wasmi().data())
    }

    pub(crate) fn from_wasmi<T>(inner: wasmi::Func, state: &StoreState<T>) -> Self {
        Self { inner: Owned::new(inner, state) }
    }

    /// # Panics
    ///
    /// Panics if the function does not belong to the store with this state.
    pub(crate) fn wasmi<T>(self, state: &StoreState<T>) -> wasmi::Func {
        self.inner.of(state)
    }

    /// Returns the function's type.
    pub fn ty(&self, ctx: impl AsContext) -> FuncType {
        let ctx = ctx.as_context().into_wasmi();
        self.inner.of(ctx.data()).ty(ctx)
    }

    /// Calls the function. `results` must have as many values as the function has results. What
    /// they are before the call has no meaning.
    ///
    /// # Errors
    ///
    /// - Those of wasmi if the function has other parameters, or another number of results.
    /// - [`EntryError`](crate::EntryError) if another call uses the engine, or if the native stack
    ///   is too small.
    /// - [`ReentryTooDeep`](crate::ReentryTooDeep) if calls nest too deeply.
    /// - [`OutOfFrames`](crate::OutOfFrames) if the store is lost.
    /// - The guest's trap, or the error of a host function.
    pub fn call(
        &self,
        mut ctx: impl AsContextMut,
        arguments: &[Val],
        results: &mut [Val],
    ) -> Result<(), Error> {
        let mut ctx = ctx.as_context_mut().into_wasmi();
        let func = self.inner.of(ctx.data());
        cross(&mut ctx, |ctx| func.call(ctx, arguments, results))
    }

    /// Returns the function with its type checked, so that calls need not check it.
    ///
    /// # Errors
    ///
    /// Fails if the function has another type, or with [`EntryError`](crate::EntryError) if another
    /// call uses the engine.
    pub fn typed<Params, Results>(&self, ctx: impl AsContext) -> Result<TypedFunc<Params, Results>, Error>
    where
        Params: WasmParams,
        Results: WasmResults,
    {
        let ctx = ctx.as_context().into_wasmi();
        ctx.data().refuse_in_use()?;
        let inner = self.inner.of(ctx.data()).typed(ctx)?;
        Ok(TypedFunc { inner: self.inner.map(|_| inner) })
    }
}

/// A function whose type was checked: a handle into the store that owns it.
///
/// wasmi's resumable calls are not offered, because wasmi does not check that a call is resumed
/// with the store that it was started with:
///
/// ```compile_fail
/// # use palimpsest_engine::{Store, TypedFunc};
/// # fn example(mut store: Store<()>, func: TypedFunc<(), ()>) {
/// func.call_resumable(&mut store, ());
/// # }
/// ```
///
/// A [`Task`](crate::Task) suspends calls.
pub struct TypedFunc<Params, Results> {
    inner: Owned<wasmi::TypedFunc<Params, Results>>,
}

impl<Params, Results> TypedFunc<Params, Results> {
    /// Returns the function without its type.
    #[must_use]
    pub fn func(&self) -> Func {
        Func { inner: self.inner.map(|typed| *typed.func()) }
    }
}

impl<Params: WasmParams, Results: WasmResults> TypedFunc<Params, Results> {
    /// Calls the function.
    ///
    /// # Errors
    ///
    /// - [`EntryError`](crate::EntryError) if another call uses the engine, or if the native stack
    ///   is too small.
    /// - [`ReentryTooDeep`](crate::ReentryTooDeep) if calls nest too deeply.
    /// - [`OutOfFrames`](crate::OutOfFrames) if the store is lost.
    /// - The guest's trap, or the error of a host function.
    ///
    /// # Panics
    ///
    /// Panics if the function does not belong to the store that is passed.
    pub fn call(&self, mut ctx: impl AsContextMut, params: Params) -> Result<Results, Error> {
        let mut ctx = ctx.as_context_mut().into_wasmi();
        let func = self.inner.of(ctx.data());
        cross(&mut ctx, |ctx| func.call(ctx, params))
    }
}

impl From<Func> for Val {
    fn from(func: Func) -> Self {
        func.inner.unchecked().into()
    }
}

impl From<Func> for wasmi::Ref {
    fn from(func: Func) -> Self {
        Self::Func(func.inner.unchecked().into())
    }
}

// These are not derived, because a derived implementation would require the same of the types.

impl<Params, Results> Clone for TypedFunc<Params, Results> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Params, Results> Copy for TypedFunc<Params, Results> {}

impl<Params, Results> fmt::Debug for TypedFunc<Params, Results> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TypedFunc").field(self.inner.unchecked().func()).finish()
    }
}
