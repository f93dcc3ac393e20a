//! Instantiation, in this order: resolve the imports, reserve the regions, put memories over them,
//! fill the host table, attach the images, apply the other segments, call the start function.
//!
//! A failure up to and including the reservations leaves nothing in the store, except for host
//! functions that were allocated for imports.

use alloc::{boxed::Box, string::ToString, sync::Arc, vec::Vec};
use core::{cell::OnceCell, slice};
use wasmi::{AsContextMut, ExternType, ImportType};

use super::{
    Linker,
    error::{InstantiateError, UnknownImports},
    guest_imports::Provided,
    host_table, matching,
};
use crate::{
    backing::LiveBytes,
    module::{self, MemoryType, Module},
    store::{
        Extern, Func, ImporterMemory, Instance, MemoryError, MemoryRecord, Reserved, StoreContextMut,
        StoreState, cross, serve,
    },
};

pub(super) type WasmiContext<'a, T> = wasmi::StoreContextMut<'a, StoreState<T>>;

/// A resolved import.
enum Resolved {
    /// The linker defines it.
    Defined(Extern),
    /// The engine provides the function.
    Provided(Provided),
}

/// An instance, and its start function, which was not called yet.
pub(crate) struct Unstarted {
    pub(crate) instance: Instance,
    pub(crate) start: Option<Func>,
}

/// Implements [`Linker::instantiate`].
pub(crate) fn instantiate<T: 'static>(
    linker: &Linker<T>,
    mut ctx: StoreContextMut<'_, T>,
    module: &Module,
) -> Result<Instance, InstantiateError> {
    let Unstarted { instance, start } = prepare(linker, StoreContextMut::from(&mut ctx), module)?;
    if let Some(start) = start {
        start.call(&mut ctx, &[], &mut []).map_err(InstantiateError::Start)?;
    }
    Ok(instance)
}

/// Does everything but the call of the start function.
pub(crate) fn prepare<T: 'static>(
    linker: &Linker<T>,
    ctx: StoreContextMut<'_, T>,
    module: &Module,
) -> Result<Unstarted, InstantiateError> {
    let mut ctx = ctx.into_wasmi();
    if !ctx.data().engine.same(module.engine()) {
        return Err(InstantiateError::OtherEngine);
    }
    serve(&mut ctx, |ctx| create(linker, ctx, module))
}

/// Creates the instance in a store of the module's engine.
fn create<T: 'static>(
    linker: &Linker<T>,
    ctx: &mut WasmiContext<'_, T>,
    module: &Module,
) -> Result<Unstarted, InstantiateError> {
    let Linked { instance: inner, memories } = link(linker, ctx, module, |_, ty| ty)?;
    attach_images(ctx, module, &memories);
    write_parts(ctx, module, &memories).map_err(InstantiateError::Segment)?;
    apply_segments(ctx, inner).map_err(InstantiateError::Segment)?;
    let start = inner.get_func(&*ctx, module::START).map(|start| Func::from_wasmi(start, ctx.data()));
    Ok(Unstarted { instance: Instance::from_wasmi(inner, ctx.data_mut(), module, memories), start })
}

/// An instance whose memories read as zero and whose segments were not applied.
pub(super) struct Linked {
    pub(super) instance: wasmi::Instance,
    /// All memories, the imported ones first.
    pub(super) memories: Vec<Arc<MemoryRecord>>,
}

/// Creates the instance, and memories of the types that `memory_type` returns for the index and the
/// type of each that the module defines.
pub(super) fn link<T: 'static>(
    linker: &Linker<T>,
    ctx: &mut WasmiContext<'_, T>,
    module: &Module,
    memory_type: impl Fn(usize, MemoryType) -> MemoryType,
) -> Result<Linked, InstantiateError> {
    check_counts(module, ctx.data())?;
    check_tables(module, ctx.data())?;
    check_entries(module, ctx.data())?;
    // Counted before anything is created, because what a failed instantiation has created stays.
    ctx.data_mut().limiter.add_entries(module.entries());
    let mut imports = Vec::new();
    let mut memories = Vec::with_capacity(module.memory_count());
    // Allocated with the first host function, because most modules import none.
    let memory_0 = OnceCell::new();
    for import in module.imports() {
        let resolved = resolve(linker, ctx, module, &import, memories.len(), &memory_0)?;
        if let Resolved::Defined(Extern::Memory(memory)) = &resolved {
            memories.push(MemoryRecord::of(*memory, &*ctx));
        }
        imports.push(resolved);
    }
    let (first, others) = reserve_memories(ctx, module, memory_type)?;
    for (index, reserved) in first.into_iter().chain(others) {
        memories.push(reserved.establish(&mut *ctx).map_err(|cause| memory_error(index, cause))?);
    }
    if let (Some(memory_0), Some(record)) = (memory_0.get(), memories.first()) {
        memory_0.set(record.memory());
    }
    let externs = externs(ctx, imports, &memories, module);
    ctx.data_mut().limiter.allow_host_table(module.slots().len());
    ctx.data_mut().limiter.count_instance(module.defined_tables().count());
    let inner = wasmi::Instance::new(&mut *ctx, module.wasmi(), externs.as_slice())
        .map_err(InstantiateError::Link)?;
    host_table::fill(ctx, module, inner, &memories).map_err(InstantiateError::Link)?;
    Ok(Linked { instance: inner, memories })
}

/// Checks that the store has room for one more instance and for the tables that `module` defines.
fn check_counts<T>(module: &Module, state: &StoreState<T>) -> Result<(), InstantiateError> {
    if state.limiter.instances_left() == 0 {
        return Err(InstantiateError::TooManyInstances { limit: state.limits().instances });
    }
    let tables = module.defined_tables().count();
    let left = state.limiter.tables_left();
    if tables > left {
        return Err(InstantiateError::TooManyTables { tables, left, limit: state.limits().tables });
    }
    Ok(())
}

/// Checks the initial sizes of the tables that `module` defines.
fn check_tables<T>(module: &Module, state: &StoreState<T>) -> Result<(), InstantiateError> {
    let limit = state.limits().table_elements;
    if let Some((index, elements)) = module.defined_tables().find(|(_, elements)| *elements > limit as u64) {
        return Err(InstantiateError::TableTooLarge { index, elements, limit });
    }
    let elements = module.defined_tables().fold(0, |sum: u64, (_, elements)| sum.saturating_add(elements));
    let left = state.limiter.table_elements_left();
    if elements > left as u64 {
        let limit = state.limits().store_table_elements;
        return Err(InstantiateError::TablesTooLarge { elements, left, limit });
    }
    Ok(())
}

/// Checks the number of section entries.
fn check_entries<T>(module: &Module, state: &StoreState<T>) -> Result<(), InstantiateError> {
    let entries = module.entries();
    let left = state.limiter.entries_left();
    if entries <= left {
        return Ok(());
    }
    Err(InstantiateError::TooManyEntries { entries, left, limit: state.limits().store_entries })
}

/// Resolves `import` and checks its type. `memories` is the number of imported memories before it.
fn resolve<T: 'static>(
    linker: &Linker<T>,
    ctx: &mut WasmiContext<'_, T>,
    module: &Module,
    import: &ImportType<'_>,
    memories: usize,
    memory_0: &OnceCell<Arc<ImporterMemory>>,
) -> Result<Resolved, InstantiateError> {
    let wrong = |found: ExternType| InstantiateError::ImportType {
        module: import.module().to_string(),
        name: import.name().to_string(),
        expected: Box::new(import.ty().clone()),
        found: Box::new(found),
    };
    let context = StoreContextMut::from_wasmi(ctx.as_context_mut());
    if let Some(item) = linker.resolve(context, import.module(), import.name(), memory_0) {
        if !matching::matches(&*ctx, import.ty(), module.memory_type(memories), item) {
            return Err(wrong(item.to_wasmi(ctx.data()).ty(&*ctx)));
        }
        return Ok(Resolved::Defined(item));
    }
    let provided =
        Provided::named(import.module(), import.name()).ok_or_else(|| unknown_imports(linker, module))?;
    let index = module.memory_type(0).map(|ty| ty.index());
    let no_memory = || InstantiateError::NoMemory { name: import.name().to_string() };
    let found = provided.ty(index).ok_or_else(no_memory)?;
    if import.ty().func() != Some(&found) {
        return Err(wrong(found.into()));
    }
    Ok(Resolved::Provided(provided))
}

/// Lists the imports that neither the linker nor the engine defines.
#[cold]
fn unknown_imports<T: 'static>(linker: &Linker<T>, module: &Module) -> UnknownImports {
    let unknown = module.imports().filter(|import| {
        !linker.defines(import.module(), import.name())
            && Provided::named(import.module(), import.name()).is_none()
    });
    let names: Vec<_> = unknown.collect();
    UnknownImports::new(names.iter().map(|import| (import.module(), import.name())))
}

/// The region of a memory with this index.
type Numbered = (usize, Reserved);

/// Reserves the regions of all memories that the module defines. If one fails, none stays reserved.
///
/// Most modules define one memory, which takes no heap here.
fn reserve_memories<T: 'static>(
    ctx: &WasmiContext<'_, T>,
    module: &Module,
    memory_type: impl Fn(usize, MemoryType) -> MemoryType,
) -> Result<(Option<Numbered>, Vec<Numbered>), InstantiateError> {
    let mut first = None;
    let mut others = Vec::new();
    for (index, ty) in module.defined_memories() {
        let pending = first.iter().chain(&others).map(|(_, region): &Numbered| region.capacity());
        let region = Reserved::new(ctx, memory_type(index, ty), pending)
            .map_err(|cause| memory_error(index, cause))?;
        if first.is_none() {
            first = Some((index, region));
        } else {
            others.push((index, region));
        }
    }
    Ok((first, others))
}

/// Attaches the images of the new memories.
fn attach_images<T: 'static>(ctx: &mut WasmiContext<'_, T>, module: &Module, memories: &[Arc<MemoryRecord>]) {
    for (index, image) in module.images() {
        let record = &memories[index];
        let live = LiveBytes::all(record.wasmi().data_mut(&mut *ctx));
        record.region().with(|region| region.attach(image, live));
    }
}

/// Writes the segments of a prepared module into the new memories that have no image. A write that
/// finds no frame loses the store.
fn write_parts<T: 'static>(
    ctx: &mut WasmiContext<'_, T>,
    module: &Module,
    memories: &[Arc<MemoryRecord>],
) -> Result<(), wasmi::Error> {
    for (index, part) in module.parts() {
        let memory = memories.get(index).map(|record| record.wasmi());
        let offset = usize::try_from(part.offset).ok();
        let (memory, offset) = memory.zip(offset).ok_or(wasmi::errors::MemoryError::OutOfBoundsAccess)?;
        memory.write(&mut *ctx, offset, part.bytes)?;
    }
    ctx.data().refuse_lost()
}

/// Calls the initializer. It costs the guest no fuel, because it is the engine's work and bounded
/// by the module's size.
fn apply_segments<T: 'static>(
    ctx: &mut WasmiContext<'_, T>,
    instance: wasmi::Instance,
) -> Result<(), wasmi::Error> {
    let Some(initializer) = instance.get_func(&*ctx, module::INITIALIZER) else { return Ok(()) };
    let apply = |ctx: &mut _| cross(ctx, |ctx| initializer.call(ctx, &[], &mut []));
    let Ok(fuel) = ctx.get_fuel() else { return apply(ctx) };
    ctx.set_fuel(u64::MAX)?;
    let applied = apply(ctx);
    ctx.set_fuel(fuel)?;
    applied
}

/// Returns the definitions for the imports of the spliced module, in wasmi's order. That is by
/// kind, so the memories that the guest defines come before the globals that it imports.
fn externs<T: 'static>(
    ctx: &mut WasmiContext<'_, T>,
    imports: Vec<Resolved>,
    memories: &[Arc<MemoryRecord>],
    module: &Module,
) -> Externs {
    let mut own = imports.into_iter();
    let mut defined = module.defined_memories();
    let extern_of = |import: ImportType<'_>| {
        if module::is_reserved(import.module()) {
            let (index, _) = defined.next().expect("the splice turns each defined memory into an import");
            return memories[index].wasmi().into();
        }
        match own.next().expect("each of the guest's own imports was resolved, in this order") {
            Resolved::Defined(item) => item.to_wasmi(ctx.data()),
            Resolved::Provided(provided) => provided.make(&mut *ctx, memories).into(),
        }
    };
    let mut all = module.wasmi().imports().map(extern_of);
    if all.len() == 1
        && let Some(only) = all.next()
    {
        return Externs::One(only);
    }
    Externs::Several(all.collect())
}

/// The definitions for the imports of a spliced module. Most guests import nothing and define one
/// memory, which is then the only import and takes no heap here.
enum Externs {
    One(wasmi::Extern),
    Several(Vec<wasmi::Extern>),
}

impl Externs {
    fn as_slice(&self) -> &[wasmi::Extern] {
        match self {
            Self::One(only) => slice::from_ref(only),
            Self::Several(all) => all,
        }
    }
}

fn memory_error(index: usize, cause: MemoryError) -> InstantiateError {
    InstantiateError::Memory { index, cause }
}
