//! Snapshots: the recorded state of an instance in a store that is not running.
//!
//! In such a store no value is on a stack, so its state can be named: the bytes of its memories,
//! its mutable globals, the elements of its tables, which segments it has dropped, and the state
//! that the embedder's data [saves](SnapshotData::save). The bytes become images without being
//! copied, where the backing shares them. References are recorded as indices of functions, as
//! [`functions`](mod@functions) finds them.

mod error;
mod functions;
mod read;
mod write;

use alloc::{sync::Arc, vec::Vec};
use wasmi::{F32, F64, Nullable, Ref, StoreContextMut, V128, Val};

use self::functions::Functions;
pub(crate) use self::functions::handles;
pub use self::{
    error::{SnapshotError, Unrecordable},
    read::SnapshotReadError,
};
use super::{AsContextMut, Instance, InstanceRecord, SnapshotData, Store, StoreState, cross, memory::freeze};
use crate::{
    backing::{DataImage, SnapshotBudget},
    budget::{self, Ledger, Verdict},
    module::{self, MemoryType, Module, Recorded, SharedImport},
};

/// The state of an instance, from which forks start.
///
/// [`Store::snapshot`] makes it, and [`Linker::fork`](crate::Linker::fork) starts an instance in a
/// new store from it. `S` is the [state of the embedder's data](SnapshotData::State). A clone is
/// the same snapshot.
///
/// The bytes of the memories are images. On a `Paged` backing they share the frames of the store
/// that was snapshotted and of all forks, each of which takes another frame for a page that it
/// writes. The frames are charged to a [`SnapshotBudget`] if the embedder passes one, and otherwise
/// count against [`Limits::image_frames`](crate::Limits::image_frames). They are released with the
/// last snapshot and store that use them, in any order.
#[derive(Debug)]
pub struct Snapshot<S = ()> {
    instance: Arc<Recording>,
    data: Arc<S>,
}

impl<S> Clone for Snapshot<S> {
    fn clone(&self) -> Self {
        Self { instance: Arc::clone(&self.instance), data: Arc::clone(&self.data) }
    }
}

impl<S> Snapshot<S> {
    /// Returns the module of the instance.
    #[must_use]
    pub fn module(&self) -> &Module {
        &self.instance.module
    }

    /// Returns the state of the embedder's data.
    #[must_use]
    pub fn data(&self) -> &S {
        &self.data
    }

    /// Returns the number of frames in the images of the memories, which other snapshots may share.
    /// On a [`Fixed`](crate::Fixed) backing it is the number of pages of 4 KiB on the heap.
    #[must_use]
    pub fn image_frames(&self) -> u64 {
        self.instance
            .memories
            .iter()
            .filter_map(|memory| memory.image.as_ref())
            .map(|image| image.frames())
            .sum()
    }

    /// Returns the number of bytes that the memories have together.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        let sizes = self.instance.memories.iter();
        sizes.map(|memory| memory.bytes).fold(0, u64::saturating_add)
    }

    pub(crate) fn recording(&self) -> &Recording {
        &self.instance
    }
}

/// The state of an instance.
#[derive(Debug)]
pub(crate) struct Recording {
    pub(crate) module: Module,
    /// The memories that the module defines, in order.
    pub(crate) memories: Vec<FrozenMemory>,
    /// The values of the [globals](Recorded::globals) that are recorded, in the same order.
    pub(crate) globals: Vec<Value>,
    /// The elements of the tables that the module defines, in order, if they are recorded.
    pub(crate) tables: Vec<Vec<Reference>>,
}

impl Recording {
    /// Returns whether a global or an element refers to a function.
    pub(crate) fn has_references(&self) -> bool {
        let globals = self
            .globals
            .iter()
            .any(|value| matches!(value, Value::Func(reference) if reference.index().is_some()));
        globals || self.tables.iter().flatten().any(|reference| reference.index().is_some())
    }
}

/// A memory at the time of the snapshot.
#[derive(Debug)]
pub(crate) struct FrozenMemory {
    /// The size.
    pub(crate) bytes: u64,
    /// The bytes, unless all of them are zero.
    pub(crate) image: Option<Arc<dyn DataImage>>,
}

/// The value of a global.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    I32(i32),
    I64(i64),
    F32(u32),
    F64(u64),
    V128(u128),
    Func(Reference),
    /// A null `externref`. No other is recorded.
    NullExtern,
}

/// A reference to a function by its index in the module, or null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reference(u32);

impl Reference {
    /// A module has fewer functions than this, because the format counts its bytes in 32 bits.
    pub(crate) const NULL: Self = Self(u32::MAX);

    /// Returns the reference with these bits: an index, or those of null.
    pub(crate) fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// Returns the index, or the bits of null.
    pub(crate) fn to_bits(self) -> u32 {
        self.0
    }

    /// Returns the index of the function, or `None` for null.
    pub(crate) fn index(self) -> Option<u32> {
        (self != Self::NULL).then_some(self.0)
    }
}

impl<T: SnapshotData> Store<T> {
    /// Records the state of `instance`, from which [`Linker::fork`](crate::Linker::fork) starts
    /// others. The instance goes on as if nothing had happened.
    ///
    /// A snapshot has the memories, tables and globals that the module defines, the segments that
    /// were dropped, and the [state of the data](SnapshotData::save). It does not have constants
    /// that the module imports, so a fork must get the same ones. Other instances of the store are
    /// not recorded.
    ///
    /// On a `Paged` backing no byte is copied: the frames become those of an image, and the store
    /// copies a page when it writes to it next. The time grows with the pages that are resident and
    /// that no image shows yet. On a [`Fixed`](crate::Fixed) backing all pages that are not zero
    /// are copied to the heap.
    ///
    /// # Errors
    ///
    /// - [`SnapshotError::NotConfigured`] if the engine has no
    ///   [snapshots](crate::Config::snapshots).
    /// - [`SnapshotError::Suspended`] if a [`Task`](crate::Task) has suspended a call.
    /// - [`SnapshotError::Imported`], [`SnapshotError::BytePages`], [`SnapshotError::Element`] or
    ///   [`SnapshotError::Global`] if something cannot be recorded.
    /// - [`SnapshotError::ImageFrames`], [`SnapshotError::OutOfFrames`] or
    ///   [`SnapshotError::OutOfHeap`] if the limit, the frame source or the heap has no room.
    /// - [`SnapshotError::Entry`] or [`SnapshotError::Call`] if pages are lent, if the engine is in
    ///   use, or if the store is lost.
    /// - [`SnapshotError::Data`] if the data cannot be recorded.
    ///
    /// # Panics
    ///
    /// Panics if `instance` does not belong to the store.
    pub fn snapshot(&mut self, instance: Instance) -> Result<Snapshot<T::State>, SnapshotError> {
        self.snapshot_charged_to(None, instance)
    }

    /// As [`snapshot`](Self::snapshot), with the frames charged to `budget` and not to the engine.
    ///
    /// # Errors
    ///
    /// As for [`snapshot`](Self::snapshot), with [`SnapshotError::Budget`] in place of
    /// [`SnapshotError::ImageFrames`].
    ///
    /// # Panics
    ///
    /// Panics if `instance` does not belong to the store.
    pub fn snapshot_within(
        &mut self,
        instance: Instance,
        budget: &SnapshotBudget,
    ) -> Result<Snapshot<T::State>, SnapshotError> {
        self.snapshot_charged_to(Some(budget), instance)
    }

    fn snapshot_charged_to(
        &mut self,
        budget: Option<&SnapshotBudget>,
        instance: Instance,
    ) -> Result<Snapshot<T::State>, SnapshotError> {
        let mut ctx = self.as_context_mut().into_wasmi();
        check_idle(&mut ctx)?;
        let Some(record) = instance.record(ctx.data()) else { return Err(SnapshotError::NotConfigured) };
        let recorded = record.module.recorded().ok_or(SnapshotError::NotConfigured)?;
        check_own(&record.module, recorded, ctx.data().engine.backing().shares_images())?;
        let inner = instance.wasmi(ctx.data());
        let functions = functions(&mut ctx, inner, &record.module, recorded)?;
        let globals = globals(&ctx, inner, recorded, &functions)?;
        let tables =
            if recorded.has_tables { tables(&ctx, inner, &record.module, &functions)? } else { Vec::new() };
        drop(functions);
        let ledger = ctx.data().engine.config().heap;
        within_heap(ledger, || {
            let memories = memories(&mut ctx, &record, budget)?;
            let recording = Recording { module: record.module.clone(), memories, globals, tables };
            let data = ctx.data_mut().data.save().map_err(SnapshotError::Data)?;
            Ok(Snapshot { instance: Arc::new(recording), data: Arc::new(data) })
        })
    }
}

/// Runs `work`, whose allocations cannot fail because the reserve of the heap serves them.
///
/// # Errors
///
/// [`SnapshotError::OutOfHeap`] if the reserve was needed, and what `work` fails with.
fn within_heap<R>(
    ledger: Option<&'static dyn Ledger>,
    work: impl FnOnce() -> Result<R, SnapshotError>,
) -> Result<R, SnapshotError> {
    let Some(ledger) = ledger else { return work() };
    let (done, _, verdict) = budget::measure(ledger, usize::MAX, work).ok_or(SnapshotError::OutOfHeap)?;
    match verdict {
        Verdict::Sound | Verdict::AboveLimit => done,
        Verdict::Exhausted => Err(SnapshotError::OutOfHeap),
    }
}

/// Checks that no call is suspended, that the store is not lost, and that no page is lent.
fn check_idle<T: 'static>(ctx: &mut StoreContextMut<'_, StoreState<T>>) -> Result<(), SnapshotError> {
    let state = ctx.data_mut();
    if state.is_suspended {
        return Err(SnapshotError::Suspended);
    }
    state.refuse_lost().map_err(SnapshotError::Call)?;
    Ok(state.recall_guarded()?)
}

/// Checks that the instances of `module` have all of their state for themselves.
fn check_own(module: &Module, recorded: &Recorded, shares_images: bool) -> Result<(), SnapshotError> {
    let (kind, index) = match recorded.shared {
        Some(SharedImport::Memory(index)) => ("memory", index),
        Some(SharedImport::Table(index)) => ("table", index),
        Some(SharedImport::Global(index)) => ("mutable global", index),
        None => {
            let has_byte_pages = |ty: MemoryType| !ty.can_have_image();
            let found = module.defined_memories().find(|(_, ty)| shares_images && has_byte_pages(*ty));
            return found.map_or(Ok(()), |(index, _)| Err(SnapshotError::BytePages { index }));
        }
    };
    Err(SnapshotError::Imported { kind, index })
}

/// Returns the functions that references of the instance can refer to.
fn functions<T: 'static>(
    ctx: &mut StoreContextMut<'_, StoreState<T>>,
    instance: wasmi::Instance,
    module: &Module,
    recorded: &Recorded,
) -> Result<Functions, SnapshotError> {
    let mut all = Vec::new();
    all.try_reserve_exact(recorded.functions.len()).map_err(|_| SnapshotError::OutOfHeap)?;
    for (group, indices) in recorded.groups().enumerate() {
        all.resize(all.len() + indices.len(), Val::FuncRef(Nullable::Null));
        let start = all.len() - indices.len();
        list_functions(ctx, instance, group, &mut all[start..]).map_err(SnapshotError::Call)?;
    }
    Functions::new(recorded.functions.iter().copied().zip(handles(&all)), module.imported_functions())
}

/// Calls the added function that returns the functions of a [group](Recorded::groups). `results`
/// are as many null references.
///
/// It costs the guest no fuel, because it is the engine's work and bounded by the module's size.
pub(crate) fn list_functions<T: 'static>(
    ctx: &mut StoreContextMut<'_, StoreState<T>>,
    instance: wasmi::Instance,
    group: usize,
    results: &mut [Val],
) -> Result<(), wasmi::Error> {
    let list = instance.get_func(&*ctx, &module::functions_name(group));
    let list = list.expect("the splice exports it under this name");
    unpaid(ctx, |ctx| list.call(ctx, &[], results))
}

/// Calls a function that the splice has added, without charging the guest for it.
///
/// # Errors
///
/// Those of [`cross`].
pub(crate) fn unpaid<T: 'static, R>(
    ctx: &mut StoreContextMut<'_, StoreState<T>>,
    call: impl FnOnce(&mut StoreContextMut<'_, StoreState<T>>) -> Result<R, wasmi::Error>,
) -> Result<R, wasmi::Error> {
    let Ok(fuel) = ctx.get_fuel() else { return cross(ctx, call) };
    ctx.set_fuel(u64::MAX)?;
    let returned = cross(ctx, call);
    ctx.set_fuel(fuel)?;
    returned
}

/// Records the values of the mutable globals.
fn globals<T: 'static>(
    ctx: &StoreContextMut<'_, StoreState<T>>,
    instance: wasmi::Instance,
    recorded: &Recorded,
    functions: &Functions,
) -> Result<Vec<Value>, SnapshotError> {
    let mut values = Vec::new();
    values.try_reserve_exact(recorded.globals.len()).map_err(|_| SnapshotError::OutOfHeap)?;
    for (index, _) in &recorded.globals {
        let global = instance.get_global(ctx, &module::global_name(*index));
        let value = global.expect("the splice exports it under this name").get(ctx);
        let unrecordable = |what| SnapshotError::Global { global: *index, what };
        values.push(match value {
            Val::I32(value) => Value::I32(value),
            Val::I64(value) => Value::I64(value),
            Val::F32(value) => Value::F32(value.to_bits()),
            Val::F64(value) => Value::F64(value.to_bits()),
            Val::V128(value) => Value::V128(value.as_u128()),
            Val::FuncRef(func) => Value::Func(reference(&Ref::Func(func), functions).map_err(unrecordable)?),
            Val::ExternRef(object) => {
                reference(&Ref::Extern(object), functions).map_err(unrecordable)?;
                Value::NullExtern
            }
        });
    }
    Ok(values)
}

/// Records the elements of the tables that the module defines.
fn tables<T: 'static>(
    ctx: &StoreContextMut<'_, StoreState<T>>,
    instance: wasmi::Instance,
    module: &Module,
    functions: &Functions,
) -> Result<Vec<Vec<Reference>>, SnapshotError> {
    let record = |(index, _): (usize, u64)| {
        let table = table(ctx, instance, index);
        let size = table.size(ctx);
        let mut elements = Vec::new();
        let count = usize::try_from(size).map_err(|_| SnapshotError::OutOfHeap)?;
        elements.try_reserve_exact(count).map_err(|_| SnapshotError::OutOfHeap)?;
        for element in 0..size {
            let found = table.get(ctx, element).expect("the size has not changed");
            let unrecordable = |what| SnapshotError::Element { table: index, element, what };
            elements.push(reference(&found, functions).map_err(unrecordable)?);
        }
        Ok(elements)
    };
    module.defined_tables().map(record).collect()
}

/// Returns a table that is recorded.
pub(crate) fn table<T: 'static>(
    ctx: impl wasmi::AsContext<Data = StoreState<T>>,
    instance: wasmi::Instance,
    index: usize,
) -> wasmi::Table {
    let index = u32::try_from(index).expect("the validator bounds the number of tables");
    let table = instance.get_table(ctx, &module::table_name(index));
    table.expect("the splice exports it under this name")
}

/// Records a reference.
fn reference(reference: &Ref, functions: &Functions) -> Result<Reference, Unrecordable> {
    match reference {
        Ref::Func(Nullable::Null) | Ref::Extern(Nullable::Null) => Ok(Reference::NULL),
        Ref::Func(Nullable::Val(func)) => {
            functions.index_of(*func).map(Reference::from_bits).ok_or(Unrecordable::Function)
        }
        Ref::Extern(Nullable::Val(_)) => Err(Unrecordable::Object),
    }
}

/// Makes images of the memories that the module defines.
fn memories<T: 'static>(
    ctx: &mut StoreContextMut<'_, StoreState<T>>,
    record: &InstanceRecord,
    budget: Option<&SnapshotBudget>,
) -> Result<Vec<FrozenMemory>, SnapshotError> {
    let mut memories = Vec::new();
    let defined = record.module.defined_memories().len();
    memories.try_reserve_exact(defined).map_err(|_| SnapshotError::OutOfHeap)?;
    let records = record.memories[record.memories.len() - defined..].iter().map(|memory| &**memory);
    freeze(ctx, records, budget, |bytes, image| {
        memories.push(FrozenMemory { bytes, image: Some(image) });
    })?;
    Ok(memories)
}

impl Value {
    /// Returns the value in wasmi's terms. `function` returns the function with an index.
    pub(crate) fn to_wasmi(self, function: impl FnOnce(Reference) -> Nullable<wasmi::Func>) -> Val {
        match self {
            Self::I32(value) => Val::I32(value),
            Self::I64(value) => Val::I64(value),
            Self::F32(bits) => Val::F32(F32::from_bits(bits)),
            Self::F64(bits) => Val::F64(F64::from_bits(bits)),
            Self::V128(bits) => Val::V128(V128::from(bits)),
            Self::Func(reference) => Val::FuncRef(function(reference)),
            Self::NullExtern => Val::ExternRef(Nullable::Null),
        }
    }
}
