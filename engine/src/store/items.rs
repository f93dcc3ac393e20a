//! Global variables, tables, and references to the embedder's objects: wasmi's handles, for the
//! engine's contexts.

use core::any::Any;
use wasmi::{
    Error, GlobalType, Mutability, Ref, TableType, Val,
    errors::{GlobalError, TableError},
};

use super::{AsContext, AsContextMut, StoreContext, StoreState, owner::Owned};

/// A global variable: a handle into the store that owns it.
///
/// # Panics
///
/// All methods panic if the variable, or a reference in a value that is passed, does not belong to
/// the store that is passed.
#[derive(Clone, Copy, Debug)]
pub struct Global {
    inner: Owned<wasmi::Global>,
}

impl Global {
    /// Creates a variable with this value, whose type is the variable's type.
    pub fn new(mut ctx: impl AsContextMut, value: Val, mutability: Mutability) -> Self {
        let mut ctx = ctx.as_context_mut().into_wasmi();
        Self::from_wasmi(wasmi::Global::new(&mut ctx, value, mutability), ctx.data())
    }

    pub(crate) fn from_wasmi<T>(inner: wasmi::Global, state: &StoreState<T>) -> Self {
        Self { inner: Owned::new(inner, state) }
    }

    /// # Panics
    ///
    /// Panics if the variable does not belong to the store with this state.
    pub(crate) fn wasmi<T>(self, state: &StoreState<T>) -> wasmi::Global {
        self.inner.of(state)
    }

    /// Returns the variable's type.
    pub fn ty(&self, ctx: impl AsContext) -> GlobalType {
        let ctx = ctx.as_context().into_wasmi();
        self.inner.of(ctx.data()).ty(ctx)
    }

    /// Returns the value.
    pub fn get(&self, ctx: impl AsContext) -> Val {
        let ctx = ctx.as_context().into_wasmi();
        self.inner.of(ctx.data()).get(ctx)
    }

    /// Sets the value.
    ///
    /// # Errors
    ///
    /// Fails if the variable is constant or has another type.
    pub fn set(&self, mut ctx: impl AsContextMut, value: Val) -> Result<(), GlobalError> {
        let ctx = ctx.as_context_mut().into_wasmi();
        self.inner.of(ctx.data()).set(ctx, value)
    }
}

/// A table of references: a handle into the store that owns it.
///
/// # Panics
///
/// All methods panic if the table, or a reference that is passed, does not belong to the store that
/// is passed.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    inner: Owned<wasmi::Table>,
}

impl Table {
    /// Creates a table whose elements are `init`.
    ///
    /// # Errors
    ///
    /// Fails if `init` has another type than the elements, or if the table would have more elements
    /// than [`Limits::table_elements`](crate::Limits::table_elements).
    pub fn new(mut ctx: impl AsContextMut, ty: TableType, init: Ref) -> Result<Self, Error> {
        let mut ctx = ctx.as_context_mut().into_wasmi();
        let inner = wasmi::Table::new(&mut ctx, ty, init)?;
        Ok(Self::from_wasmi(inner, ctx.data()))
    }

    pub(crate) fn from_wasmi<T>(inner: wasmi::Table, state: &StoreState<T>) -> Self {
        Self { inner: Owned::new(inner, state) }
    }

    /// # Panics
    ///
    /// Panics if the table does not belong to the store with this state.
    pub(crate) fn wasmi<T>(self, state: &StoreState<T>) -> wasmi::Table {
        self.inner.of(state)
    }

    /// Returns the table's type.
    pub fn ty(&self, ctx: impl AsContext) -> TableType {
        let ctx = ctx.as_context().into_wasmi();
        self.inner.of(ctx.data()).ty(ctx)
    }

    /// Returns the number of elements.
    pub fn size(&self, ctx: impl AsContext) -> u64 {
        let ctx = ctx.as_context().into_wasmi();
        self.inner.of(ctx.data()).size(ctx)
    }

    /// Returns element `index`, or `None` past the end.
    pub fn get(&self, ctx: impl AsContext, index: u64) -> Option<Ref> {
        let ctx = ctx.as_context().into_wasmi();
        self.inner.of(ctx.data()).get(ctx, index)
    }

    /// Sets element `index`.
    ///
    /// # Errors
    ///
    /// Fails past the end of the table, or if the elements have another type.
    pub fn set(&self, mut ctx: impl AsContextMut, index: u64, element: Ref) -> Result<(), TableError> {
        let ctx = ctx.as_context_mut().into_wasmi();
        self.inner.of(ctx.data()).set(ctx, index, element)
    }

    /// Adds `delta` elements that are `init`, and returns the old number of elements.
    ///
    /// # Errors
    ///
    /// Fails if the table would have more elements than its maximum or than
    /// [`Limits::table_elements`](crate::Limits::table_elements), or if the elements have another
    /// type.
    pub fn grow(&self, mut ctx: impl AsContextMut, delta: u64, init: Ref) -> Result<u64, TableError> {
        let ctx = ctx.as_context_mut().into_wasmi();
        self.inner.of(ctx.data()).grow(ctx, delta, init)
    }
}

/// A reference to an object of the embedder, which a guest can keep and return but not examine.
///
/// The object is dropped with the store.
///
/// # Panics
///
/// The methods panic if the reference does not belong to the store that is passed.
#[derive(Clone, Copy, Debug)]
pub struct ExternRef {
    inner: Owned<wasmi::ExternRef>,
}

impl ExternRef {
    /// Moves `object` into the store.
    pub fn new(mut ctx: impl AsContextMut, object: impl Any + Send + Sync) -> Self {
        let mut ctx = ctx.as_context_mut().into_wasmi();
        let inner = wasmi::ExternRef::new(&mut ctx, object);
        Self { inner: Owned::new(inner, ctx.data()) }
    }

    /// Returns the reference in a [`Val`] or [`Ref`], which are wasmi's types, of the store that is
    /// passed.
    pub fn of_store(ctx: impl AsContext, reference: wasmi::ExternRef) -> Self {
        Self { inner: Owned::new(reference, ctx.as_context().into_wasmi().data()) }
    }

    /// Returns the object.
    pub fn data<'a, T: 'static>(&self, ctx: impl Into<StoreContext<'a, T>>) -> &'a dyn Any {
        let ctx = ctx.into().into_wasmi();
        self.inner.of(ctx.data()).data(ctx)
    }
}

impl From<ExternRef> for Val {
    fn from(reference: ExternRef) -> Self {
        reference.inner.unchecked().into()
    }
}

impl From<ExternRef> for Ref {
    fn from(reference: ExternRef) -> Self {
        Self::Extern(reference.inner.unchecked().into())
    }
}
