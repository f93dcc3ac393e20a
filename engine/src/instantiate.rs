//! Instantiation: imports are resolved, regions reserved, memories put over them, the host table filled, and
//! the start function called, in this order. Up to and including the reservations a failure leaves nothing
//! behind.

mod guest_imports;
mod host_table;
mod matching;

use alloc::{boxed::Box, string::ToString, sync::Arc, vec::Vec};
use wasmi::{AsContextMut, ExternType, ImportType, StoreContextMut};

use self::guest_imports::Provided;
use crate::{
    error::{InstantiateError, MemoryError},
    instance::{Extern, Instance},
    linker::Linker,
    memory::{MemoryRecord, Reserved},
    module::{self, Module},
    store::StoreState,
};

/// An import on its way to the instance.
enum Resolved {
    /// The linker has it.
    Defined(Extern),
    /// One of the engine's own functions, which act on memory 0.
    Provided(Provided),
}

/// See [`Linker::instantiate`].
pub(crate) fn instantiate<T: 'static>(
    linker: &Linker<T>,
    mut ctx: StoreContextMut<'_, StoreState<T>>,
    module: &Module,
) -> Result<Instance, InstantiateError> {
    if !ctx.data().engine.same(module.engine()) {
        return Err(InstantiateError::OtherEngine);
    }
    check_tables(module)?;
    let mut imports = Vec::new();
    let mut memories = Vec::new();
    for import in module.imports() {
        let resolved = resolve(linker, &mut ctx, module, &import, memories.len())?;
        if let Resolved::Defined(Extern::Memory(memory)) = &resolved {
            memories.push(MemoryRecord::of(*memory, &ctx));
        }
        imports.push(resolved);
    }
    for (index, reserved) in reserve_memories(&ctx, module)? {
        memories.push(reserved.establish(&mut ctx).map_err(|cause| memory_error(index, cause))?);
    }
    let externs = externs(&mut ctx, imports, &memories, module);
    let inner = wasmi::Instance::new(&mut ctx, module.wasmi(), &externs).map_err(InstantiateError::Link)?;
    host_table::fill(&mut ctx, module, inner, &memories).map_err(InstantiateError::Link)?;
    if let Some(start) = inner.get_func(&ctx, module::START) {
        start.call(&mut ctx, &[], &mut []).map_err(InstantiateError::Start)?;
    }
    Ok(Instance::from_wasmi(inner))
}

fn check_tables(module: &Module) -> Result<(), InstantiateError> {
    let limit = module.engine().limits().table_elements;
    match module.defined_tables().find(|(_, elements)| *elements > limit as u64) {
        None => Ok(()),
        Some((index, elements)) => Err(InstantiateError::TableTooLarge { index, elements, limit }),
    }
}

/// Finds what `import` stands for and checks its type. `memories` imported memories stand before it.
fn resolve<T: 'static>(
    linker: &Linker<T>,
    ctx: &mut StoreContextMut<'_, StoreState<T>>,
    module: &Module,
    import: &ImportType<'_>,
    memories: usize,
) -> Result<Resolved, InstantiateError> {
    let wrong = |found: ExternType| InstantiateError::ImportType {
        module: import.module().to_string(),
        name: import.name().to_string(),
        expected: Box::new(import.ty().clone()),
        found: Box::new(found),
    };
    if let Some(item) = linker.resolve(ctx.as_context_mut(), import.module(), import.name()) {
        if !matching::matches(&*ctx, import.ty(), module.memory_type(memories), item) {
            return Err(wrong(item.to_wasmi().ty(&*ctx)));
        }
        return Ok(Resolved::Defined(item));
    }
    let provided =
        Provided::named(import.module(), import.name()).ok_or_else(|| InstantiateError::UnknownImport {
            module: import.module().to_string(),
            name: import.name().to_string(),
        })?;
    let memory_0 = module
        .memory_type(0)
        .ok_or_else(|| InstantiateError::NoMemory { name: import.name().to_string() })?;
    let found = provided.ty(memory_0.index());
    if import.ty().func() != Some(&found) {
        return Err(wrong(found.into()));
    }
    Ok(Resolved::Provided(provided))
}

/// Reserves the regions of all memories that the module defines, or none.
fn reserve_memories<T: 'static>(
    ctx: &StoreContextMut<'_, StoreState<T>>,
    module: &Module,
) -> Result<Vec<(usize, Reserved)>, InstantiateError> {
    let mut reserved = Vec::new();
    for (index, ty) in module.defined_memories() {
        let region = Reserved::new(ctx, ty, reserved.len()).map_err(|cause| memory_error(index, cause))?;
        reserved.push((index, region));
    }
    Ok(reserved)
}

/// What wasmi gets for the imports of the spliced module: the guest's own, then its defined memories.
fn externs<T: 'static>(
    ctx: &mut StoreContextMut<'_, StoreState<T>>,
    imports: Vec<Resolved>,
    memories: &[Arc<MemoryRecord>],
    module: &Module,
) -> Vec<wasmi::Extern> {
    let mut externs: Vec<wasmi::Extern> = Vec::with_capacity(imports.len() + memories.len());
    for import in imports {
        externs.push(match import {
            Resolved::Defined(item) => item.to_wasmi(),
            Resolved::Provided(provided) => provided.make(&mut *ctx, &memories[0]).into(),
        });
    }
    for (index, _) in module.defined_memories() {
        externs.push(memories[index].memory().wasmi().into());
    }
    externs
}

fn memory_error(index: usize, cause: MemoryError) -> InstantiateError {
    InstantiateError::Memory { index, cause }
}
