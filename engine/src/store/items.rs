//! Global variables, tables, and references to the embedder's objects: wasmi's handles, for the
//! engine's contexts.

use core::any::Any;
use wasmi::{
    Error, GlobalType, Mutability, Ref, TableType, Val,
    errors::{GlobalError, TableError},
};

use super::{AsContext, AsContextMut, StoreContext};

/// A global variable: a handle into the store that owns it.
///
/// # Panics
///
/// All methods panic if the variable, or a reference in a value that is passed, does not belong to
/// the store that is passed.
#[derive(Clone, Copy, Debug)]
pub struct Global {
    inner: wasmi::Global,
}

impl Global {
    /// Creates a variable with this value, whose type is the variable's type.
    pub fn new(mut ctx: impl AsContextMut, value: Val, mutability: Mutability) -> Self {
        Self::from_wasmi(wasmi::Global::new(ctx.as_context_mut().into_wasmi(), value, mutability))
    }

    pub(crate) fn from_wasmi(inner: wasmi::Global) -> Self {
        Self { inner }
    }

    pub(crate) fn wasmi(self) -> wasmi::Global {
        self.inner
    }

    /// Returns the variable's type.
    pub fn ty(&self, ctx: impl AsContext) -> GlobalType {
        self.inner.ty(ctx.as_context().into_wasmi())
    }

    /// Returns the value.
    pub fn get(&self, ctx: impl AsContext) -> Val {
        self.inner.get(ctx.as_context().into_wasmi())
    }

    /// Sets the value.
    ///
    /// # Errors
    ///
    /// Fails if the variable is constant or has another type.
    pub fn set(&self, mut ctx: impl AsContextMut, value: Val) -> Result<(), GlobalError> {
        self.inner.set(ctx.as_context_mut().into_wasmi(), value)
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
    inner: wasmi::Table,
}

impl Table {
    /// Creates a table whose elements are `init`.
    ///
    /// # Errors
    ///
    /// Fails if `init` has another type than the elements, or if the table would have more elements
    /// than [`Limits::table_elements`](crate::Limits::table_elements).
    pub fn new(mut ctx: impl AsContextMut, ty: TableType, init: Ref) -> Result<Self, Error> {
        wasmi::Table::new(ctx.as_context_mut().into_wasmi(), ty, init).map(Self::from_wasmi)
    }

    pub(crate) fn from_wasmi(inner: wasmi::Table) -> Self {
        Self { inner }
    }

    pub(crate) fn wasmi(self) -> wasmi::Table {
        self.inner
    }

    /// Returns the table's type.
    pub fn ty(&self, ctx: impl AsContext) -> TableType {
        self.inner.ty(ctx.as_context().into_wasmi())
    }

    /// Returns the number of elements.
    pub fn size(&self, ctx: impl AsContext) -> u64 {
        self.inner.size(ctx.as_context().into_wasmi())
    }

    /// Returns element `index`, or `None` past the end.
    pub fn get(&self, ctx: impl AsContext, index: u64) -> Option<Ref> {
        self.inner.get(ctx.as_context().into_wasmi(), index)
    }

    /// Sets element `index`.
    ///
    /// # Errors
    ///
    /// Fails past the end of the table, or if the elements have another type.
    pub fn set(&self, mut ctx: impl AsContextMut, index: u64, element: Ref) -> Result<(), TableError> {
        self.inner.set(ctx.as_context_mut().into_wasmi(), index, element)
    }

    /// Adds `delta` elements that are `init`, and returns the old number of elements.
    ///
    /// # Errors
    ///
    /// Fails if the table would have more elements than its maximum or than
    /// [`Limits::table_elements`](crate::Limits::table_elements), or if the elements have another
    /// type.
    pub fn grow(&self, mut ctx: impl AsContextMut, delta: u64, init: Ref) -> Result<u64, TableError> {
        self.inner.grow(ctx.as_context_mut().into_wasmi(), delta, init)
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
    inner: wasmi::ExternRef,
}

impl ExternRef {
    /// Moves `object` into the store.
    pub fn new(mut ctx: impl AsContextMut, object: impl Any + Send + Sync) -> Self {
        Self { inner: wasmi::ExternRef::new(ctx.as_context_mut().into_wasmi(), object) }
    }

    /// Returns the object.
    pub fn data<'a, T: 'static>(&self, ctx: impl Into<StoreContext<'a, T>>) -> &'a dyn Any {
        self.inner.data(ctx.into().into_wasmi())
    }
}

/// Converts the reference of a [`Val`] or [`Ref`], which are wasmi's types.
impl From<wasmi::ExternRef> for ExternRef {
    fn from(inner: wasmi::ExternRef) -> Self {
        Self { inner }
    }
}

impl From<ExternRef> for Val {
    fn from(reference: ExternRef) -> Self {
        reference.inner.into()
    }
}

impl From<ExternRef> for Ref {
    fn from(reference: ExternRef) -> Self {
        Self::Extern(reference.inner.into())
    }
}
