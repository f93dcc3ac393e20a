//! Bad modules and impossible requests are refused by name, and everything is released.

use crate::support::{engine, engine_with, module};
use palimpsest_engine::{
    BackingError, Config, Engine, Fixed, InstantiateError, Limits, Linker, Memory, MemoryError, MemoryType,
    Module, ModuleError, Store,
};
use std::{boxed::Box, mem::MaybeUninit};

fn load(bytes: &[u8]) -> ModuleError {
    Module::new(&engine(), bytes).unwrap_err()
}

fn link(wat: &str) -> InstantiateError {
    let (engine, backing) = engine_with(Config::default());
    let module = module(&engine, wat);
    let free = backing.free_bytes();
    let mut store = Store::new(&engine, ());
    let error = Linker::new().instantiate(&mut store, &module).unwrap_err();
    assert_eq!(backing.free_bytes(), free, "regions are still reserved");
    error
}

#[test]
fn no_bytes_text_and_truncation_are_different_errors() {
    assert!(matches!(load(b""), ModuleError::Empty));
    assert!(matches!(load(b"(module)"), ModuleError::NotWasm { found } if *found == *b"(mod"));
    assert!(matches!(load(b"\0as"), ModuleError::Truncated { bytes: 3, .. }));
    // A header, a memory section of 5 bytes, and a data section. Only a cut at the end of one of
    // them leaves a whole module.
    let whole = wat::parse_str("(module (memory 1) (data (i32.const 0) \"some bytes\"))").unwrap();
    let engine = engine();
    let truncated =
        |end: &usize| matches!(Module::new(&engine, &whole[..*end]), Err(ModuleError::Truncated { .. }));
    let not_truncated: Vec<_> = (1..whole.len()).filter(|end| !truncated(end)).collect();
    assert_eq!(not_truncated, [8, 13]);
}

#[test]
fn an_invalid_body_is_named_with_its_offset() {
    let wasm = wat::parse_str("(module (func (result i32) (i64.const 1)))").unwrap();
    assert!(matches!(load(&wasm), ModuleError::Invalid { offset: 0x1a, .. }), "{}", load(&wasm));
}

#[test]
fn unknown_imports_are_named() {
    let error = link(r#"(module (import "env" "missing" (func)) (memory 1))"#);
    assert_eq!(error.to_string(), "unknown import `env` `missing`; define it in the linker");
}

#[test]
fn all_unknown_imports_are_named_at_once_and_escaped() {
    let error = link(
        r#"(module (import "env" "a" (func)) (import "palimpsest" "clear_pages" (func (param i32 i32) (result i32)))
            (import "e\1bnv" "b" (memory 1)) (import "env" "c" (global i32)))"#,
    );
    let names = "`env` `a`, `e\\u{1b}nv` `b`, `env` `c`";
    assert_eq!(error.to_string(), format!("3 unknown imports: {names}; define them in the linker"));
}

#[test]
fn a_long_list_of_unknown_imports_and_a_long_name_are_cut() {
    let imports = format!(r#"(import "env" "{}" (func))"#, "x".repeat(100)).repeat(40);
    let error = link(&format!("(module {imports})")).to_string();
    assert!(error.starts_with(&format!("40 unknown imports: `env` `{}...`, ", "x".repeat(80))), "{error}");
    assert!(error.ends_with("` and 8 more; define them in the linker"), "{error}");
}

#[test]
fn imports_of_the_wrong_type_are_found_before_a_memory_is_made() {
    let (engine, backing) = engine_with(Config::default());
    let module = module(&engine, r#"(module (import "env" "f" (func (param i32))) (memory 1))"#);
    let free = backing.free_bytes();
    let mut linker = Linker::new();
    linker.func_wrap("env", "f", |_: i64| {}).unwrap();
    let mut store = Store::new(&engine, ());
    let error = linker.instantiate(&mut store, &module).unwrap_err();
    assert!(matches!(error, InstantiateError::ImportType { .. }), "{error}");
    assert_eq!(backing.free_bytes(), free);
}

#[test]
fn a_memory_larger_than_the_backing_is_refused() {
    let error = link("(module (memory 1) (memory 4096))");
    let InstantiateError::Memory { index: 1, cause: MemoryError::Backing(cause) } = error else {
        panic!("{error}");
    };
    let available = crate::support::SLICE_BYTES as u64;
    assert_eq!(cause, BackingError::TooLarge { requested: 4096 << 16, available });
}

#[test]
fn limits_are_named_with_value_and_request() {
    let mut limits = Limits::default();
    limits.memory_bytes = 2 << 16;
    limits.module_bytes = 64;
    limits.table_elements = 8;
    let (engine, _) = engine_with(Config::default().limits(limits));
    let error = Module::new(&engine, b"\0asm").unwrap_err();
    assert!(matches!(error, ModuleError::Truncated { .. }), "{error}");
    let refused = |wat: &str| {
        let module = module(&engine, wat);
        Linker::new().instantiate(Store::new(&engine, ()), &module).unwrap_err().to_string()
    };
    assert_eq!(
        refused("(module (memory 3))"),
        "memory 0: the initial size is 196608 bytes; the limit `memory_bytes` is 131072"
    );
    assert_eq!(
        refused("(module (table 9 funcref))"),
        "table 0 starts with 9 elements; the limit `table_elements` is 8"
    );
    let error = Module::new(&engine, &[&b"\0asm"[..], &[0; 61]].concat()).unwrap_err();
    assert_eq!(error.to_string(), "the module has 65 bytes; the limit `module_bytes` is 64");
}

#[test]
fn dropping_a_store_releases_everything() {
    let (engine, backing) = engine_with(Config::default());
    let free = backing.free_bytes();
    let module = module(&engine, "(module (memory 1 2) (memory 3))");
    for _ in 0..100 {
        let mut store = Store::new(&engine, ());
        Linker::new().instantiate(&mut store, &module).unwrap();
        assert!(backing.free_bytes() < free);
        drop(store);
        assert_eq!(backing.free_bytes(), free);
    }
}

#[test]
fn a_reused_block_reads_zero() {
    let bytes = Box::leak(vec![MaybeUninit::new(0xFF); 1 << 20].into_boxed_slice());
    let engine = Engine::new(Config::default(), Fixed::new(bytes)).unwrap();
    let module = module(&engine, r#"(module (memory (export "m") 2 3))"#);
    for _ in 0..2 {
        let mut store = Store::new(&engine, ());
        let instance = Linker::new().instantiate(&mut store, &module).unwrap();
        let memory = instance.get_memory(&store, "m").unwrap();
        memory.grow(&mut store, 1).unwrap();
        assert!(memory.data(&store).iter().all(|byte| *byte == 0));
        memory.data_mut(&mut store).fill(0xEE);
    }
}

#[test]
fn a_slice_of_any_length_and_alignment_is_a_backing() {
    for (start, len) in (0..8).flat_map(|start| (0..40).map(move |len| (start, len))) {
        let bytes = Box::leak(vec![MaybeUninit::uninit(); start + len].into_boxed_slice());
        let backing = Fixed::new(&mut bytes[start..]);
        assert!(backing.free_bytes() <= len as u64);
        let engine = Engine::new(Config::default(), backing).unwrap();
        let memory = Memory::new(&mut Store::new(&engine, ()), MemoryType::new(1, None));
        assert!(matches!(memory, Err(MemoryError::Backing(_))), "{start} {len}");
    }
}
