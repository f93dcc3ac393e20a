//! The limits of a guest that is alone in the kernel, and the options that replace them.

use palimpsest_engine::Limits;
use palimpsest_protocol::Limit;
use thiserror::Error;

/// A value does not fit into the engine's type for the limit.
#[derive(Debug, Error)]
#[error("{value} is too large for the limit `{limit}`")]
pub(crate) struct LimitTooLarge {
    limit: Limit,
    value: u64,
}

/// The factor by which a lone guest may exceed the engine's defaults in the size of its module.
/// They suit a kernel with 32 MiB of heap, and here the heap itself is the bound.
const LONE_FACTOR: u8 = 4;

/// Returns the limits of a guest that is alone in the kernel, with `options` in their place.
///
/// A lone guest may take all frames and, by the engine's configuration, the free heap. Its module
/// may have 32 MiB.
pub(super) fn of_lone_guest(options: &[(Limit, u64)]) -> Result<Limits, LimitTooLarge> {
    let mut limits = Limits::default();
    limits.module_bytes *= usize::from(LONE_FACTOR);
    limits.header_bytes *= usize::from(LONE_FACTOR);
    limits.module_entries *= u32::from(LONE_FACTOR);
    // Go's linker makes a data segment of each few bytes: esbuild has 98,450.
    limits.section_entries = limits.module_entries;
    limits.element_items *= u32::from(LONE_FACTOR);
    limits.code_bytes *= usize::from(LONE_FACTOR);
    limits.function_bytes *= usize::from(LONE_FACTOR);
    limits.function_work *= u32::from(LONE_FACTOR);
    limits.module_work *= u64::from(LONE_FACTOR);
    limits.store_entries *= usize::from(LONE_FACTOR);
    limits.table_elements *= usize::from(LONE_FACTOR);
    limits.store_table_elements *= usize::from(LONE_FACTOR);
    limits.image_frames = u64::MAX;
    limits.resident_frames = Some(u64::MAX);
    limits.heap_bytes = usize::MAX;
    for (limit, value) in options {
        set(&mut limits, *limit, *value).ok_or(LimitTooLarge { limit: *limit, value: *value })?;
    }
    Ok(limits)
}

/// Sets one field. Returns None if its type has no such value.
fn set(limits: &mut Limits, limit: Limit, value: u64) -> Option<()> {
    match limit {
        Limit::ModuleBytes => limits.module_bytes = value.try_into().ok()?,
        Limit::HeaderBytes => limits.header_bytes = value.try_into().ok()?,
        Limit::SectionEntries => limits.section_entries = value.try_into().ok()?,
        Limit::ModuleEntries => limits.module_entries = value.try_into().ok()?,
        Limit::ElementItems => limits.element_items = value.try_into().ok()?,
        Limit::CodeBytes => limits.code_bytes = value.try_into().ok()?,
        Limit::FunctionBytes => limits.function_bytes = value.try_into().ok()?,
        Limit::Nesting => limits.nesting = value.try_into().ok()?,
        Limit::Locals => limits.locals = value.try_into().ok()?,
        Limit::Operands => limits.operands = value.try_into().ok()?,
        Limit::ConstantOperators => limits.constant_operators = value.try_into().ok()?,
        Limit::FunctionWork => limits.function_work = value.try_into().ok()?,
        Limit::ModuleWork => limits.module_work = value,
        Limit::ImageFrames => limits.image_frames = value,
        Limit::Instances => limits.instances = value.try_into().ok()?,
        Limit::StoreEntries => limits.store_entries = value.try_into().ok()?,
        Limit::Memories => limits.memories = value.try_into().ok()?,
        Limit::MemoryBytes => limits.memory_bytes = value,
        Limit::Tables => limits.tables = value.try_into().ok()?,
        Limit::TableElements => limits.table_elements = value.try_into().ok()?,
        Limit::StoreTableElements => limits.store_table_elements = value.try_into().ok()?,
        Limit::HeapBytes => limits.heap_bytes = value.try_into().ok()?,
        Limit::AddressBytes => limits.address_bytes = Some(value),
        Limit::ResidentFrames => limits.resident_frames = Some(value),
        Limit::Fuel => limits.fuel = Some(value),
        Limit::CallDepth => limits.call_depth = value.try_into().ok()?,
        Limit::StackBytes => limits.stack_bytes = value.try_into().ok()?,
        Limit::ReentryDepth => limits.reentry_depth = value.try_into().ok()?,
    }
    Some(())
}
