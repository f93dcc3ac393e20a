//! Closures as host functions.
//!
//! wasmi has a trait of this name, but it is sealed, and its closures take wasmi's `Caller`. The
//! closures here take the engine's [`Caller`], or none.

use alloc::sync::Arc;
use wasmi::{Error, WasmRet, WasmTy};

use super::{Caller, Func, ImporterMemory, StoreContextMut, StoreState};

/// A closure or function that can be a host function.
///
/// It is implemented for all `Fn(Caller<'_, T>, P1, ..) -> R` and `Fn(P1, ..) -> R` with up to 16
/// parameters, each of which is a [`WasmTy`]. `R` is a [`WasmRet`]: `()`, a value, a tuple of
/// values, or a `Result` of one of these with an [`Error`].
pub trait IntoFunc<T: 'static, Params, Results>: Send + Sync + 'static {
    /// Allocates the function in a store, for a module with this memory.
    #[doc(hidden)]
    fn into_func(self, ctx: StoreContextMut<'_, T>, memory: &Arc<ImporterMemory>) -> Func;
}

/// The result of a host function that fails without being run if the store is lost.
struct Checked<R>(Result<R, Error>);

impl<R: WasmRet> WasmRet for Checked<R> {
    type Ok = R::Ok;

    #[inline]
    fn into_fallible(self) -> Result<R::Ok, Error> {
        self.0.and_then(R::into_fallible)
    }
}

/// Returns the parameters, or ends the closure if the store of its caller is lost.
///
/// The call for a store with a flag takes the parameters and returns them. So the usual way need
/// not save registers to keep them.
macro_rules! admit {
    ($caller:ident, $params:expr) => {
        if $caller.data().is_flagged() {
            match $caller.data().admit_flagged($params) {
                Ok(params) => params,
                Err(error) => return Checked(Err(error)),
            }
        } else {
            $params
        }
    };
}

/// Implements [`IntoFunc`] for closures that have these parameters.
macro_rules! impl_into_func {
    ($($param:ident)*) => {
        impl<T, F, $($param,)* R> IntoFunc<T, ($($param,)*), R> for F
        where
            T: 'static,
            F: Fn($($param),*) -> R + Send + Sync + 'static,
            $($param: WasmTy,)*
            R: WasmRet,
        {
            #[allow(non_snake_case, reason = "a parameter has the name of its type")]
            fn into_func(self, ctx: StoreContextMut<'_, T>, _: &Arc<ImporterMemory>) -> Func {
                let checked = move |caller: wasmi::Caller<'_, StoreState<T>>, $($param: $param),*| {
                    let ($($param,)*) = admit!(caller, ($($param,)*));
                    Checked(Ok(self($($param),*)))
                };
                let mut ctx = ctx.into_wasmi();
                Func::from_wasmi(wasmi::Func::wrap(&mut ctx, checked), ctx.data())
            }
        }

        impl<T, F, $($param,)* R> IntoFunc<T, (Caller<'_, T>, $($param,)*), R> for F
        where
            T: 'static,
            F: Fn(Caller<'_, T>, $($param),*) -> R + Send + Sync + 'static,
            $($param: WasmTy,)*
            R: WasmRet,
        {
            #[allow(non_snake_case, reason = "a parameter has the name of its type")]
            fn into_func(self, ctx: StoreContextMut<'_, T>, memory: &Arc<ImporterMemory>) -> Func {
                let memory = Arc::clone(memory);
                let checked = move |caller: wasmi::Caller<'_, StoreState<T>>, $($param: $param),*| {
                    let ($($param,)*) = admit!(caller, ($($param,)*));
                    Checked(Ok(self(Caller::new(caller, &memory), $($param),*)))
                };
                let mut ctx = ctx.into_wasmi();
                Func::from_wasmi(wasmi::Func::wrap(&mut ctx, checked), ctx.data())
            }
        }
    };
}

/// Implements [`IntoFunc`] for as many parameters as are listed, and for every smaller number.
macro_rules! impl_into_func_up_to {
    () => { impl_into_func!(); };
    ($first:ident $($rest:ident)*) => {
        impl_into_func!($first $($rest)*);
        impl_into_func_up_to!($($rest)*);
    };
}

impl_into_func_up_to!(P1 P2 P3 P4 P5 P6 P7 P8 P9 P10 P11 P12 P13 P14 P15 P16);
