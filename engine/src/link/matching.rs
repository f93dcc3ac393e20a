//! Import matching: whether a definition has the type that a module declares (Wasm core
//! specification, "External Types" of matching).
//!
//! wasmi checks the same, but only after memories have been created.

use wasmi::{AsContext, ExternType, TableType};

use crate::{
    module::MemoryType,
    store::{Extern, Memory, MemoryRecord, StoreState},
};

/// Returns whether `item` can be imported as `expected`. For a memory, `memory` is the declared
/// type with its page size.
pub(super) fn matches<T: 'static>(
    ctx: impl AsContext<Data = StoreState<T>>,
    expected: &ExternType,
    memory: Option<MemoryType>,
    item: Extern,
) -> bool {
    let ctx = ctx.as_context();
    let state = ctx.data();
    match (expected, item) {
        (ExternType::Func(expected), Extern::Func(func)) => func.wasmi(state).ty(ctx) == *expected,
        (ExternType::Global(expected), Extern::Global(global)) => global.wasmi(state).ty(ctx) == *expected,
        (ExternType::Table(expected), Extern::Table(table)) => {
            let table = table.wasmi(state);
            table_matches(expected, &table.ty(ctx), table.size(ctx))
        }
        (ExternType::Memory(_), Extern::Memory(found)) => {
            memory.is_some_and(|expected| memory_matches(expected, found, ctx))
        }
        (
            ExternType::Func(_) | ExternType::Global(_) | ExternType::Table(_) | ExternType::Memory(_),
            Extern::Func(_) | Extern::Global(_) | Extern::Table(_) | Extern::Memory(_),
        ) => false,
    }
}

fn table_matches(expected: &TableType, found: &TableType, size: u64) -> bool {
    expected.is_64() == found.is_64()
        && expected.element() == found.element()
        && limits_match(expected.minimum(), expected.maximum(), size, found.maximum())
}

fn memory_matches<T: 'static>(
    expected: MemoryType,
    found: Memory,
    ctx: impl AsContext<Data = StoreState<T>>,
) -> bool {
    let record = MemoryRecord::of(found, &ctx);
    let ty = record.ty();
    expected.index() == ty.index()
        && expected.page_size() == ty.page_size()
        && limits_match(expected.minimum(), expected.maximum(), record.wasmi().size(&ctx), ty.maximum())
}

fn limits_match(minimum: u64, maximum: Option<u64>, size: u64, found_maximum: Option<u64>) -> bool {
    size >= minimum && maximum.is_none_or(|maximum| found_maximum.is_some_and(|found| found <= maximum))
}
