//! Instances, and what they export.

use alloc::vec::Vec;
use wasmi::{Error, WasmParams, WasmResults, errors::FuncError};

use super::{AsContext, Func, Global, Memory, StoreContext, Table, TypedFunc};
use crate::module;

/// An instantiated module: a handle into the store, which owns the instance.
#[derive(Clone, Copy, Debug)]
pub struct Instance {
    inner: wasmi::Instance,
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
    pub(crate) fn from_wasmi(inner: wasmi::Extern) -> Self {
        match inner {
            wasmi::Extern::Func(func) => Self::Func(Func::from_wasmi(func)),
            wasmi::Extern::Global(global) => Self::Global(Global::from_wasmi(global)),
            wasmi::Extern::Table(table) => Self::Table(Table::from_wasmi(table)),
            wasmi::Extern::Memory(memory) => Self::Memory(Memory::from_wasmi(memory)),
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

    pub(crate) fn to_wasmi(self) -> wasmi::Extern {
        match self {
            Self::Func(func) => func.wasmi().into(),
            Self::Global(global) => global.wasmi().into(),
            Self::Table(table) => table.wasmi().into(),
            Self::Memory(memory) => memory.wasmi().into(),
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
    pub(crate) fn from_wasmi(inner: wasmi::Instance) -> Self {
        Self { inner }
    }

    /// Returns the export `name`.
    pub fn get_export(&self, ctx: impl AsContext, name: &str) -> Option<Extern> {
        if module::is_reserved(name) {
            return None;
        }
        self.inner.get_export(ctx.as_context().into_wasmi(), name).map(Extern::from_wasmi)
    }

    /// Returns the function that is exported as `name`.
    pub fn get_func(&self, ctx: impl AsContext, name: &str) -> Option<Func> {
        self.get_export(ctx, name).and_then(Extern::into_func)
    }

    /// Returns the function that is exported as `name`. Its type is checked here, not at each call.
    ///
    /// # Errors
    ///
    /// Fails if the instance exports no function of this name and type.
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
        let exports = self.inner.exports(ctx.into().into_wasmi()).map(|export| {
            let name = export.name();
            (name, Extern::from_wasmi(export.into_extern()))
        });
        exports.filter(|(name, _)| !module::is_reserved(name)).collect()
    }
}
