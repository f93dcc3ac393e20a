//! Fills the host table of an instance with the functions that replace `memory.grow`,
//! `memory.discard` and `table.grow`, and with the one that divided instructions call.
//!
//! A guest reaches them only through the `call_indirect`s of the splice, because the table's index
//! is one past the last that the guest's own code can contain.

use alloc::sync::Arc;
use wasmi::{
    AsContextMut, Caller, Error, Extern, Func, FuncType, Instance, Nullable, Ref, RefType, StoreContextMut,
    Table, Val, ValType,
};

use super::guest_imports;
use crate::{
    module::{self, HostOp, IndexType, Module},
    store::{MemoryRecord, Pause, StoreState, charge, grow},
};

/// The elements of a table that growth writes for one unit of fuel, as wasmi's own instructions do:
/// 64 bytes.
const ELEMENTS_PER_UNIT: u64 = 16;

/// The progress of a growth that was charged before its guest was suspended.
const PAID: u64 = 1;

/// Puts a function into each slot that `module` uses. `memories` are those of the instance, by
/// index.
///
/// # Errors
///
/// Fails if wasmi refuses to set an element.
pub(super) fn fill<T: 'static>(
    ctx: &mut StoreContextMut<'_, StoreState<T>>,
    module: &Module,
    instance: Instance,
    memories: &[Arc<MemoryRecord>],
) -> Result<(), Error> {
    for (op, slot) in module.slots() {
        let func = match *op {
            HostOp::MemoryGrow(memory) => memory_grow(&mut *ctx, Arc::clone(&memories[memory as usize])),
            HostOp::MemoryDiscard(memory) => {
                guest_imports::discard(&mut *ctx, Arc::clone(&memories[memory as usize]))
            }
            HostOp::TableGrow(index) => {
                let table = reserved_table(ctx, instance, &module::table_name(index));
                table_grow(&mut *ctx, table)
            }
            HostOp::AfterPiece => after_piece(&mut *ctx),
        };
        let host_table = reserved_table(ctx, instance, module::HOST_TABLE);
        host_table.set(&mut *ctx, u64::from(*slot), Ref::Func(Nullable::Val(func)))?;
    }
    Ok(())
}

fn reserved_table<T: 'static>(
    ctx: &StoreContextMut<'_, StoreState<T>>,
    instance: Instance,
    name: &str,
) -> Table {
    instance
        .get_export(ctx, name)
        .and_then(Extern::into_table)
        .expect("the splice exports it under this name")
}

/// Allocates the function that a divided instruction calls after each piece. It fails if the store
/// is lost, so that the rest of the pieces is not written.
fn after_piece<T: 'static>(ctx: impl AsContextMut<Data = StoreState<T>>) -> Func {
    Func::wrap(ctx, |caller: Caller<'_, StoreState<T>>| caller.data().refuse_lost())
}

/// Allocates the function for `memory.grow`. It returns the old size, or -1.
fn memory_grow<T: 'static>(ctx: impl AsContextMut<Data = StoreState<T>>, record: Arc<MemoryRecord>) -> Func {
    match record.ty().index() {
        IndexType::I32 => Func::wrap(ctx, move |caller: Caller<'_, StoreState<T>>, delta: u32| {
            caller.data().refuse_lost()?;
            let size = record.size_bytes(&caller);
            let old = grow(caller, &record, size, delta.into());
            Ok::<_, Error>(old.ok().and_then(|old| u32::try_from(old).ok()).unwrap_or(u32::MAX))
        }),
        IndexType::I64 => Func::wrap(ctx, move |caller: Caller<'_, StoreState<T>>, delta: u64| {
            caller.data().refuse_lost()?;
            let size = record.size_bytes(&caller);
            Ok::<_, Error>(grow(caller, &record, size, delta).unwrap_or(u64::MAX))
        }),
    }
}

/// Allocates the function for `table.grow`. It returns the old size, or -1.
///
/// The guest is charged before the table grows, unless the limits refuse the growth. In a task it
/// is suspended until it has paid, and the task calls the function again.
fn table_grow<T: 'static>(ctx: impl AsContextMut<Data = StoreState<T>>, table: Table) -> Func {
    let ty = table.ty(&ctx);
    let element = match ty.element() {
        RefType::Func => ValType::FuncRef,
        RefType::Extern => ValType::ExternRef,
    };
    let index = if ty.is_64() { ValType::I64 } else { ValType::I32 };
    let maximum = ty.maximum();
    Func::new(ctx, FuncType::new([element, index], [index]), move |mut caller, params, results| {
        caller.data().refuse_lost()?;
        let (init, delta) = match params {
            [Val::FuncRef(init), Val::I32(delta)] => (Ref::Func(*init), u64::from(delta.cast_unsigned())),
            [Val::FuncRef(init), Val::I64(delta)] => (Ref::Func(*init), delta.cast_unsigned()),
            [Val::ExternRef(init), Val::I32(delta)] => (Ref::Extern(*init), u64::from(delta.cast_unsigned())),
            [Val::ExternRef(init), Val::I64(delta)] => (Ref::Extern(*init), delta.cast_unsigned()),
            _ => unreachable!("wasmi checks the parameters against the function's type"),
        };
        let is_paid = core::mem::take(&mut caller.data_mut().progress) == PAID;
        if !is_paid && caller.data().limiter.allows_growth(table.size(&caller), maximum, delta) {
            charge(&mut caller, delta.div_ceil(ELEMENTS_PER_UNIT));
            let state = caller.data();
            if state.owed > 0 && state.can_pause() {
                return Err(Error::host(Pause::again(params, PAID)));
            }
        }
        let grown = table.grow(&mut caller, delta, init).ok();
        // The guest must not run on with what is left of the reserve, which covers its first calls.
        caller.data().refuse_lost()?;
        results[0] = size_or_minus_one(index, grown);
        Ok(())
    })
}

fn size_or_minus_one(index: ValType, size: Option<u64>) -> Val {
    if index == ValType::I64 {
        return Val::I64(size.map_or(-1, u64::cast_signed));
    }
    Val::I32(size.and_then(|size| u32::try_from(size).ok()).map_or(-1, u32::cast_signed))
}
