//! Instances, and what they export.

use alloc::{sync::Arc, vec::Vec};
use wasmi::{Error, WasmParams, WasmResults, errors::FuncError};

use super::{
    AsContext, Func, Global, Memory, MemoryRecord, StoreContext, StoreState, Table, TypedFunc, owner::Owned,
};
use crate::module::{self, Module};

/// An instantiated module: a handle into the store, which owns the instance.
#[derive(Clone, Copy, Debug)]
pub struct Instance {
    inner: Owned<wasmi::Instance>,
    /// The position of its record among those of the store, if the engine has snapshots.
    #[cfg_attr(not(feature = "snapshots"), expect(dead_code, reason = "only snapshots read it"))]
    position: usize,
}

/// What an instance of an engine with snapshots consists of.
#[derive(Debug)]
pub(crate) struct InstanceRecord {
    #[cfg_attr(not(feature = "snapshots"), expect(dead_code, reason = "only snapshots read it"))]
    pub(crate) module: Module,
    /// All memories, the imported ones first.
    #[cfg_attr(not(feature = "snapshots"), expect(dead_code, reason = "only snapshots read it"))]
    pub(crate) memories: Vec<Arc<MemoryRecord>>,
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
    /// Wraps an instance of `module`, whose memories are `memories`.
    pub(crate) fn from_wasmi<T>(
        inner: wasmi::Instance,
        state: &mut StoreState<T>,
        module: &Module,
        memories: Vec<Arc<MemoryRecord>>,
    ) -> Self {
        let position = state.instances.len();
        if module.recorded().is_some() {
            state.instances.push(Arc::new(InstanceRecord { module: module.clone(), memories }));
        }
        Self { inner: Owned::new(inner, state), position }
    }

    /// # Panics
    ///
    /// Panics if the instance does not belong to the store with this state.
    #[cfg(feature = "snapshots")]
    pub(super) fn wasmi<T>(self, state: &StoreState<T>) -> wasmi::Instance {
        self.inner.of(state)
    }

    /// Returns what the instance consists of, if its engine has snapshots.
    ///
    /// # Panics
    ///
    /// Panics if the instance does not belong to the store with this state.
    #[cfg(feature = "snapshots")]
    pub(super) fn record<T>(self, state: &StoreState<T>) -> Option<Arc<InstanceRecord>> {
        let _ = self.inner.of(state);
        state.instances.get(self.position).map(Arc::clone)
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
