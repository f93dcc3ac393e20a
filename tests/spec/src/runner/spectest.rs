//! The module `spectest`, which every test may import.
//!
//! Its contents are those of the reference interpreter ("Spectest host module" in the interpreter's
//! manual). Its functions print nothing.

use palimpsest_engine::{
    DuplicateDefinition, Error, F32, F64, Global, Linker, Memory, MemoryError, MemoryType, Mutability,
    Nullable, Ref, RefType, Store, Table, TableType, Val,
};
use thiserror::Error;

const MODULE: &str = "spectest";

/// Why the module cannot be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SpectestError {
    /// Its memory is not made.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// One of its tables is not made.
    #[error(transparent)]
    Table(#[from] Error),
    /// Two of its definitions have one name.
    #[error(transparent)]
    Name(#[from] DuplicateDefinition),
}

/// Defines the module in `linker`, for instances in `store`.
pub(super) fn define(linker: &mut Linker<()>, store: &mut Store<()>) -> Result<(), SpectestError> {
    linker
        .func_wrap(MODULE, "print", || {})?
        .func_wrap(MODULE, "print_i32", |_: i32| {})?
        .func_wrap(MODULE, "print_i64", |_: i64| {})?
        .func_wrap(MODULE, "print_f32", |_: F32| {})?
        .func_wrap(MODULE, "print_f64", |_: F64| {})?
        .func_wrap(MODULE, "print_i32_f32", |_: i32, _: F32| {})?
        .func_wrap(MODULE, "print_f64_f64", |_: F64, _: F64| {})?;
    let globals = [
        ("global_i32", Val::I32(666)),
        ("global_i64", Val::I64(666)),
        ("global_f32", Val::from(666.6_f32)),
        ("global_f64", Val::from(666.6_f64)),
    ];
    for (name, value) in globals {
        linker.define(MODULE, name, Global::new(&mut *store, value, Mutability::Const))?;
    }
    let tables = [
        ("table", TableType::new(RefType::Func, 10, Some(20))),
        ("table64", TableType::new64(RefType::Func, 10, Some(20))),
    ];
    for (name, ty) in tables {
        linker.define(MODULE, name, Table::new(&mut *store, ty, Ref::Func(Nullable::Null))?)?;
    }
    let memory = Memory::new(&mut *store, MemoryType::new(1, Some(2)))?;
    linker.define(MODULE, "memory", memory)?;
    Ok(())
}
