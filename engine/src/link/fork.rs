//! Forks: instances that start with the state of a snapshot.
//!
//! A fork is linked like any other instance, with memories of the recorded sizes. It then gets the
//! recorded images, globals and tables in place of what its segments would give it, and its start
//! function is not called.

use alloc::vec::Vec;
use thiserror::Error;
use wasmi::{Nullable, Ref, RefType, Val, errors::TableError};

use super::{
    Linker,
    error::InstantiateError,
    instantiate::{self, Linked, WasmiContext},
};
use crate::{
    backing::LiveBytes,
    engine::EntryError,
    module::{self, FUNCTIONS_AT_ONCE, Recorded},
    store::{
        AsContextMut, DataError, Instance, OutOfHeap, Recording, Reference, Snapshot, SnapshotData, handles,
        list_functions, serve, table, unpaid,
    },
};

/// Why a snapshot was not forked. What was created stays in the store, which can be dropped.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ForkError {
    /// The module of the snapshot was not instantiated.
    #[error(transparent)]
    Instantiate(#[from] InstantiateError),
    /// A table cannot have as many elements as are recorded.
    #[error("table {table} was recorded with {elements} elements: {cause}")]
    Table {
        /// The index of the table in the module.
        table: usize,
        /// The number of elements that are recorded.
        elements: u64,
        /// The limit that was hit.
        #[source]
        cause: TableError,
    },
    /// A function that the engine has added to the module failed.
    #[error("the state of the instance was not restored: {0}")]
    Restore(#[source] wasmi::Error),
    /// The kernel heap has no room for the list of the functions.
    #[error("out of heap: the kernel heap has no room to fork the snapshot; drop a store")]
    NoHeap,
    /// The embedder's data does not take its recorded state.
    #[error("the data of the store was not restored: {0}")]
    Data(#[source] DataError),
}

impl From<EntryError> for ForkError {
    fn from(error: EntryError) -> Self {
        Self::Instantiate(error.into())
    }
}

impl From<OutOfHeap> for ForkError {
    fn from(error: OutOfHeap) -> Self {
        Self::Instantiate(error.into())
    }
}

impl<T: SnapshotData> Linker<T> {
    /// Starts an instance with the state of `snapshot`, in a store of the same engine.
    ///
    /// The data of the store gets [its recorded state](SnapshotData::restore). Imports are resolved
    /// as by [`instantiate`](Self::instantiate), so host functions are those of the new store.
    /// Constants that the module imports must have the same values as when the snapshot was made.
    /// The start function is not called, because it has run in the instance that was snapshotted.
    ///
    /// On a `Paged` backing the time does not depend on the size of the memories, and the fork
    /// holds no data frame until it writes. On a [`Fixed`](crate::Fixed) backing the recorded pages
    /// are copied into it.
    ///
    /// # Errors
    ///
    /// - [`ForkError::Data`] if the data does not take its state. Nothing was created then.
    /// - [`ForkError::Instantiate`] as for [`instantiate`](Self::instantiate). The limits of the
    ///   store apply to the recorded sizes.
    /// - [`ForkError::Table`] if a limit of the store is below the recorded size of a table.
    /// - [`ForkError::Restore`] or [`ForkError::NoHeap`] if the rest of the state was not restored.
    pub fn fork(
        &self,
        mut ctx: impl AsContextMut<Data = T>,
        snapshot: &Snapshot<T::State>,
    ) -> Result<Instance, ForkError> {
        let mut ctx = ctx.as_context_mut().into_wasmi();
        if !ctx.data().engine.same(snapshot.module().engine()) {
            return Err(InstantiateError::OtherEngine.into());
        }
        ctx.data_mut().data.restore(snapshot.data()).map_err(ForkError::Data)?;
        serve(&mut ctx, |ctx| fork(self, ctx, snapshot.recording()))
    }
}

/// Creates the instance and gives it the state of `recording`.
fn fork<T: 'static>(
    linker: &Linker<T>,
    ctx: &mut WasmiContext<'_, T>,
    recording: &Recording,
) -> Result<Instance, ForkError> {
    let module = &recording.module;
    let recorded = module.recorded().expect("the module of a snapshot is recorded");
    let imported = module.memory_count() - module.defined_memories().len();
    let size =
        |index: usize, ty: module::MemoryType| ty.starting_with(recording.memories[index - imported].bytes);
    let Linked { instance, memories } = instantiate::link(linker, ctx, module, size)?;
    for (memory, record) in recording.memories.iter().zip(&memories[imported..]) {
        if let Some(image) = &memory.image {
            let live = LiveBytes::all(record.wasmi().data_mut(&mut *ctx));
            record.region().with(|region| region.attach(image, live));
        }
    }
    let functions = functions(ctx, instance, recording, recorded)?;
    for ((index, _), value) in recorded.globals.iter().zip(&recording.globals) {
        let global = instance.get_global(&*ctx, &module::global_name(*index));
        let global = global.expect("the splice exports it under this name");
        let value = value.to_wasmi(|reference| functions.get(reference));
        global.set(&mut *ctx, value).expect("the global is mutable, and the value is of its type");
    }
    if let Some(restorer) = instance.get_func(&*ctx, module::RESTORER) {
        unpaid(ctx, |ctx| restorer.call(ctx, &[], &mut [])).map_err(ForkError::Restore)?;
    }
    for ((index, _), elements) in module.defined_tables().zip(&recording.tables) {
        let table = table(&*ctx, instance, index);
        fill(ctx, table, elements, &functions).map_err(|cause| {
            let elements = elements.len() as u64;
            ForkError::Table { table: index, elements, cause }
        })?;
    }
    Ok(Instance::from_wasmi(instance, ctx.data_mut(), module, memories))
}

/// The functions of the fork that recorded references refer to.
struct Functions<'a> {
    recorded: &'a Recorded,
    /// The recorded functions, in the same order. Empty if no recorded reference needs one.
    all: Vec<wasmi::Func>,
}

impl Functions<'_> {
    /// Returns the function of a recorded reference.
    fn get(&self, reference: Reference) -> Nullable<wasmi::Func> {
        let Some(index) = reference.index() else { return Nullable::Null };
        let position = self.recorded.functions.binary_search(&index);
        let position = position.expect("a recorded reference is to one of these functions");
        Nullable::Val(self.all[position])
    }
}

/// Returns the functions of the new instance, if a recorded reference refers to one.
fn functions<'a, T: 'static>(
    ctx: &mut WasmiContext<'_, T>,
    instance: wasmi::Instance,
    recording: &Recording,
    recorded: &'a Recorded,
) -> Result<Functions<'a>, ForkError> {
    let mut functions = Functions { recorded, all: Vec::new() };
    if !recording.has_references() {
        return Ok(functions);
    }
    let mut results = Vec::new();
    let most = FUNCTIONS_AT_ONCE.min(recorded.functions.len());
    results.try_reserve_exact(most).map_err(|_| ForkError::NoHeap)?;
    functions.all.try_reserve_exact(recorded.functions.len()).map_err(|_| ForkError::NoHeap)?;
    for (group, indices) in recorded.groups().enumerate() {
        results.clear();
        results.resize(indices.len(), Val::FuncRef(Nullable::Null));
        list_functions(ctx, instance, group, &mut results).map_err(ForkError::Restore)?;
        functions.all.extend(handles(&results));
    }
    Ok(functions)
}

/// Gives a table the recorded elements.
///
/// # Errors
///
/// Fails if the limits of the store do not allow as many.
fn fill<T: 'static>(
    ctx: &mut WasmiContext<'_, T>,
    table: wasmi::Table,
    elements: &[Reference],
    functions: &Functions<'_>,
) -> Result<(), TableError> {
    let size = table.size(&*ctx);
    let ty = table.ty(&*ctx).element();
    let more = (elements.len() as u64).saturating_sub(size);
    if more > 0 {
        table.grow(&mut *ctx, more, Ref::null(ty))?;
    }
    if ty == RefType::Extern {
        // Only null is recorded.
        return Ok(());
    }
    for (index, element) in (0..).zip(elements) {
        if element.index().is_some() {
            table.set(&mut *ctx, index, Ref::Func(functions.get(*element)))?;
        }
    }
    Ok(())
}
