//! Limits on what all tables, instances and calls of a store take together.

use crate::support::{engine_with, module};
use palimpsest_engine::{
    Config, Engine, InstantiateError, Limits, Linker, Module, Nullable, Ref, Store, TrapCode,
};

/// Creates an engine whose stores may have `elements` in their tables.
fn engine_with_elements(elements: usize) -> Engine {
    let mut limits = Limits::default();
    limits.store_table_elements = elements;
    engine_with(Config::default().limits(limits)).0
}

/// Three tables. `grow` adds to the one with this index, and returns the old size or -1.
const THREE_TABLES: &str = r#"(module
    (memory 1)
    (table $a 10 funcref) (table $b 0 20 funcref) (table $c 0 externref)
    (func (export "memory") (result i32) (memory.grow (i32.const 1)))
    (func (export "grow") (param i32 i32) (result i32)
        (if (i32.eqz (local.get 0))
            (then (return (table.grow $a (ref.null func) (local.get 1)))))
        (if (i32.eq (local.get 0) (i32.const 1))
            (then (return (table.grow $b (ref.null func) (local.get 1)))))
        (table.grow $c (ref.null extern) (local.get 1))))"#;

#[test]
fn tables_grow_to_exactly_their_common_limit() {
    let engine = engine_with_elements(100);
    let module = module(&engine, THREE_TABLES);
    let mut store = Store::new(&engine, ());
    let instance = Linker::new().instantiate(&mut store, &module).unwrap();
    let grow = instance.get_typed_func::<(u32, u32), i32>(&store, "grow").unwrap();
    let mut grow = |table, delta| grow.call(&mut store, (table, delta)).unwrap();
    assert_eq!(grow(0, 91), -1);
    assert_eq!(grow(2, 60), 0);
    assert_eq!(grow(1, 31), -1);
    // Beyond the maximum of the table's own type. The elements that it requested stay available.
    assert_eq!(grow(1, 21), -1);
    assert_eq!(grow(1, 20), 0);
    assert_eq!(grow(0, 11), -1);
    assert_eq!(grow(0, 10), 10);
    assert_eq!((grow(0, 1), grow(2, 1)), (-1, -1));
    assert_eq!((grow(0, 0), grow(1, 0), grow(2, 0)), (20, 20, 60));
}

#[test]
fn instances_share_the_limit_of_their_tables() {
    let engine = engine_with_elements(64);
    let [sixteen, one] = ["(module (table 6 funcref) (table 10 externref))", "(module (table 1 funcref))"]
        .map(|wat| module(&engine, wat));
    let mut store = Store::new(&engine, ());
    for _ in 0..4 {
        Linker::new().instantiate(&mut store, &sixteen).unwrap();
    }
    let error = Linker::new().instantiate(&mut store, &one).unwrap_err();
    assert!(matches!(error, InstantiateError::TablesTooLarge { elements: 1, left: 0, limit: 64 }), "{error}");
    assert_eq!(
        error.to_string(),
        "the tables start with 1 elements, and the store has room for 0; the limit `store_table_elements` is 64"
    );
    // Another store has its own share.
    Linker::new().instantiate(Store::new(&engine, ()), &one).unwrap();
}

#[test]
fn tables_that_the_host_grows_count() {
    let engine = engine_with_elements(8);
    let module = module(&engine, r#"(module (table (export "t") 4 externref))"#);
    let mut store = Store::new(&engine, ());
    let instance = Linker::new().instantiate(&mut store, &module).unwrap();
    let table = instance.get_table(&store, "t").unwrap();
    let null = || Ref::Extern(Nullable::Null);
    assert!(table.grow(&mut store, 5, null()).is_err());
    assert_eq!(table.grow(&mut store, 4, null()).unwrap(), 4);
    assert!(table.grow(&mut store, 1, null()).is_err());
}

#[test]
fn instances_share_the_limit_of_their_section_entries() {
    let mut limits = Limits::default();
    limits.store_entries = 12;
    let (engine, _) = engine_with(Config::default().limits(limits));
    // A type, a function, an export, and a global.
    let module = module(&engine, r#"(module (global i32 (i32.const 0)) (func (export "f")))"#);
    let mut store = Store::new(&engine, ());
    for _ in 0..3 {
        Linker::new().instantiate(&mut store, &module).unwrap();
    }
    let error = Linker::new().instantiate(&mut store, &module).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the module has 4 entries in its sections, and the store has room for 0; the limit `store_entries` is 12"
    );
}

#[test]
fn entries_of_all_sections_share_a_limit() {
    let mut limits = Limits::default();
    limits.section_entries = 3;
    limits.module_entries = 7;
    let (engine, _) = engine_with(Config::default().limits(limits));
    let globals =
        |count| format!("(module (func) (func) (func) {})", "(global i32 (i32.const 0))".repeat(count));
    let load = |text: String| Module::new(&engine, &wat::parse_str(text).unwrap());
    load(globals(3)).unwrap();
    let seven_and_memory = globals(3).replace("(func) (func)", "(memory 1) (func) (func)");
    assert_eq!(
        load(seven_and_memory).unwrap_err().to_string(),
        "the module has 8 entries in its sections; the limit `module_entries` is 7"
    );
}

#[test]
fn function_bodies_share_a_limit_of_bytes() {
    let mut limits = Limits::default();
    limits.code_bytes = 18;
    let (engine, _) = engine_with(Config::default().limits(limits));
    // Each body has a length, no locals, and an `end`.
    let load = |nops: usize| {
        let text = format!("(module (func) (func) (func {}))", "nop ".repeat(nops));
        Module::new(&engine, &wat::parse_str(text).unwrap())
    };
    load(9).unwrap();
    assert_eq!(
        load(10).unwrap_err().to_string(),
        "the module has 19 bytes of function bodies; the limit `code_bytes` is 18"
    );
}

#[test]
fn deep_calls_with_large_frames_end_at_the_bytes_of_the_stack() {
    // Each call of `down` has a thousand locals, which are 8,000 bytes.
    let locals = "i64 ".repeat(1_000);
    let text = format!(
        r#"(module (func $down (export "down") (param i32) (result i32) (local {locals})
            (if (result i32) (i32.eqz (local.get 0))
                (then (i32.const 7))
                (else (call $down (i32.sub (local.get 0) (i32.const 1)))))))"#
    );
    for (stack_bytes, calls) in [(1 << 20, 120), (1 << 16, 5), (100, 0)] {
        let mut limits = Limits::default();
        limits.stack_bytes = stack_bytes;
        let (engine, _) = engine_with(Config::default().limits(limits));
        let module = module(&engine, &text);
        let mut store = Store::new(&engine, ());
        let instance = Linker::new().instantiate(&mut store, &module).unwrap();
        let down = instance.get_typed_func::<u32, u32>(&store, "down").unwrap();
        if calls > 0 {
            assert_eq!(down.call(&mut store, calls).unwrap(), 7);
        }
        let error = down.call(&mut store, calls + 12).unwrap_err();
        assert_eq!(error.as_trap_code(), Some(TrapCode::StackOverflow), "{stack_bytes}");
    }
}
