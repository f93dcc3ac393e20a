//! Instances, and what they export.

use alloc::vec::Vec;
use wasmi::{Error, WasmParams, WasmResults, errors::FuncError};

use super::{AsContext, Func, Global, Memory, StoreContext, StoreState, Table, TypedFunc, owner::Owned};
use crate::module;

/// An instantiated module: a handle into the store, which owns the instance.
#[derive(Clone, Copy, Debug)]
pub struct Instance {
    inner: Owned<wasmi::Instance>,
}

/// An item that an instance exports or imports.
#[derive(Clone, Copy, Debug)]
pub enum Extern {
    /// A function of the guest or of the host.
    Func(Func),
    /// A global variable.
    Global(Global),
    /// A table of references.
    Table(Table),
    /// A linear memory.
    Memory(Memory),
}

impl Extern {
    pub(crate) fn from_wasmi<T>(inner: wasmi::Extern, state: &StoreState<T>) -> Self {
        match inner {
            wasmi::Extern::Func(func) => Self::Func(Func::from_wasmi(func, state)),
            wasmi::Extern::Global(global) => Self::Global(Global::from_wasmi(global, state)),
            wasmi::Extern::Table(table) => Self::Table(Table::from_wasmi(table, state)),
            wasmi::Extern::Memory(memory) => Self::Memory(Memory::from_wasmi(memory, state)),
        }
    }

    /// Returns the function, or `None` if this is something else.
    #[must_use]
    pub fn into_func(self) -> Option<Func> {
        if let Self::Func(func) = self { Some(func) } else { None }
    }

    /// Returns the global variable, or `None` if this is something else.
    #[must_use]
    pub fn into_global(self) -> Option<Global> {
        if let Self::Global(global) = self { Some(global) } else { None }
    }

    /// Returns the table, or `None` if this is something else.
    #[must_use]
    pub fn into_table(self) -> Option<Table> {
        if let Self::Table(table) = self { Some(table) } else { None }
    }

    /// Returns the linear memory, or `None` if this is something else.
    #[must_use]
    pub fn into_memory(self) -> Option<Memory> {
        if let Self::Memory(memory) = self { Some(memory) } else { None }
    }

    /// # Panics
    ///
    /// Panics if the item does not belong to the store with this state.
    pub(crate) fn to_wasmi<T>(self, state: &StoreState<T>) -> wasmi::Extern {
        match self {
            Self::Func(func) => func.wasmi(state).into(),
            Self::Global(global) => global.wasmi(state).into(),
            Self::Table(table) => table.wasmi(state).into(),
            Self::Memory(memory) => memory.wasmi(state).into(),
        }
    }
}

impl From<Func> for Extern {
    fn from(func: Func) -> Self {
        Self::Func(func)
    }
}

impl From<Global> for Extern {
    fn from(global: Global) -> Self {
        Self::Global(global)
    }
}

impl From<Table> for Extern {
    fn from(table: Table) -> Self {
        Self::Table(table)
    }
}

impl From<Memory> for Extern {
    fn from(memory: Memory) -> Self {
        Self::Memory(memory)
    }
}

impl Instance {
    pub(crate) fn from_wasmi<T>(inner: wasmi::Instance, state: &StoreState<T>) -> Self {
        Self { inner: Owned::new(inner, state) }
    }

    /// Returns the export `name`.
    pub fn get_export(&self, ctx: impl AsContext, name: &str) -> Option<Extern> {
        if module::is_reserved(name) {
            return None;
        }
        let ctx = ctx.as_context().into_wasmi();
        let export = self.inner.of(ctx.data()).get_export(ctx, name)?;
        Some(Extern::from_wasmi(export, ctx.data()))
    }

    /// Returns the function that is exported as `name`.
    pub fn get_func(&self, ctx: impl AsContext, name: &str) -> Option<Func> {
        self.get_export(ctx, name).and_then(Extern::into_func)
    }

    /// Returns the function that is exported as `name`. Its type is checked here, not at each call.
    ///
    /// # Errors
    ///
    /// Fails if the instance exports no function of this name and type, or with
    /// [`EntryError`](crate::EntryError) if another call uses the engine.
    pub fn get_typed_func<Params, Results>(
        &self,
        ctx: impl AsContext,
        name: &str,
    ) -> Result<TypedFunc<Params, Results>, Error>
    where
        Params: WasmParams,
        Results: WasmResults,
    {
        let ctx = ctx.as_context();
        let func = self.get_func(ctx, name).ok_or(FuncError::ExportedFuncNotFound)?;
        func.typed(ctx)
    }

    /// Returns the memory that is exported as `name`.
    pub fn get_memory(&self, ctx: impl AsContext, name: &str) -> Option<Memory> {
        self.get_export(ctx, name).and_then(Extern::into_memory)
    }

    /// Returns the table that is exported as `name`.
    pub fn get_table(&self, ctx: impl AsContext, name: &str) -> Option<Table> {
        self.get_export(ctx, name).and_then(Extern::into_table)
    }

    /// Returns the global variable that is exported as `name`.
    pub fn get_global(&self, ctx: impl AsContext, name: &str) -> Option<Global> {
        self.get_export(ctx, name).and_then(Extern::into_global)
    }

    /// Returns all exports with their names, in no particular order.
    pub fn exports<'a, T: 'static>(&self, ctx: impl Into<StoreContext<'a, T>>) -> Vec<(&'a str, Extern)> {
        let ctx = ctx.into().into_wasmi();
        let exports = self.inner.of(ctx.data()).exports(ctx).map(|export| {
            let name = export.name();
            (name, Extern::from_wasmi(export.into_extern(), ctx.data()))
        });
        exports.filter(|(name, _)| !module::is_reserved(name)).collect()
    }
}
