//! Functions, and their calls by the host.
//!
//! wasmi's functions can be suspended and resumed with another store, whose instances they then
//! confuse with those of their own. The functions here have no resumable calls. A
//! [`Task`](crate::Task) makes such calls on a store that it owns.

use alloc::sync::Arc;
use core::fmt;
use wasmi::{Error, FuncType, Val, WasmParams, WasmResults};

use super::{AsContext, AsContextMut, Caller, ImporterMemory, IntoFunc, StoreContextMut, cross};

/// A function of a guest or of the host: a handle into the store that owns it.
///
/// # Panics
///
/// All methods panic if the function does not belong to the store that is passed.
#[derive(Clone, Copy, Debug)]
pub struct Func {
    inner: wasmi::Func,
}

impl Func {
    /// Allocates a host function in a store. Its [`Caller`](crate::Caller) has no memory, because
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
    /// # let engine = Engine::new(Config::default(), Fixed::new(bytes, 0))?;
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
        Self::from_wasmi(wasmi::Func::new(ctx.into_wasmi(), ty, move |caller, arguments, results| {
            caller.data().refuse_lost()?;
            func(Caller::new(caller, &memory), arguments, results)
        }))
    }

    pub(crate) fn from_wasmi(inner: wasmi::Func) -> Self {
        Self { inner }
    }

    pub(crate) fn wasmi(self) -> wasmi::Func {
        self.inner
    }

    /// Returns the function's type.
    pub fn ty(&self, ctx: impl AsContext) -> FuncType {
        self.inner.ty(ctx.as_context().into_wasmi())
    }

    /// Calls the function. `results` must have as many values as the function has results. What
    /// they are before the call has no meaning.
    ///
    /// # Errors
    ///
    /// - Those of wasmi if the function has other parameters, or another number of results.
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
        cross(&mut ctx, |ctx| self.inner.call(ctx, arguments, results))
    }

    /// Returns the function with its type checked, so that calls need not check it.
    ///
    /// # Errors
    ///
    /// Fails if the function has another type.
    pub fn typed<Params, Results>(&self, ctx: impl AsContext) -> Result<TypedFunc<Params, Results>, Error>
    where
        Params: WasmParams,
        Results: WasmResults,
    {
        self.inner.typed(ctx.as_context().into_wasmi()).map(TypedFunc::from_wasmi)
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
    inner: wasmi::TypedFunc<Params, Results>,
}

impl<Params, Results> TypedFunc<Params, Results> {
    pub(super) fn from_wasmi(inner: wasmi::TypedFunc<Params, Results>) -> Self {
        Self { inner }
    }

    /// Returns the function without its type.
    #[must_use]
    pub fn func(&self) -> Func {
        Func::from_wasmi(*self.inner.func())
    }
}

impl<Params: WasmParams, Results: WasmResults> TypedFunc<Params, Results> {
    /// Calls the function.
    ///
    /// # Errors
    ///
    /// - [`ReentryTooDeep`](crate::ReentryTooDeep) if calls nest too deeply.
    /// - [`OutOfFrames`](crate::OutOfFrames) if the store is lost.
    /// - The guest's trap, or the error of a host function.
    ///
    /// # Panics
    ///
    /// Panics if the function does not belong to the store that is passed.
    pub fn call(&self, mut ctx: impl AsContextMut, params: Params) -> Result<Results, Error> {
        let mut ctx = ctx.as_context_mut().into_wasmi();
        cross(&mut ctx, |ctx| self.inner.call(ctx, params))
    }
}

/// Converts the function of a [`Val`] or [`Ref`](crate::Ref), which are wasmi's types.
impl From<wasmi::Func> for Func {
    fn from(inner: wasmi::Func) -> Self {
        Self { inner }
    }
}

impl From<Func> for Val {
    fn from(func: Func) -> Self {
        func.inner.into()
    }
}

impl From<Func> for wasmi::Ref {
    fn from(func: Func) -> Self {
        Self::Func(func.inner.into())
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
        f.debug_tuple("TypedFunc").field(self.inner.func()).finish()
    }
}
