//! A spliced module behaves like the guest's original: indices, sections, start function,
//! instructions that grow.

use crate::support::{engine, instance, module};
use palimpsest_engine::{
    Engine, Error, Extern, Global, InstantiateError, Linker, Memory, MemoryType, Module, Mutability, Store,
    TypedFunc, Val, WasmResults,
};

fn call<R: WasmResults>(
    store: &mut Store<()>,
    instance: palimpsest_engine::Instance,
    name: &str,
) -> Result<R, Error> {
    let func: TypedFunc<(), R> = instance.get_typed_func(&*store, name)?;
    func.call(store, ())
}

#[test]
fn memory_indices_stay_when_memories_become_imports() {
    let engine = engine();
    let module = module(
        &engine,
        r#"(module
            (import "env" "shared" (memory 1 1))
            (memory $a 1) (memory $b 2)
            (data (memory $a) (i32.const 0) "a") (data (memory $b) (i32.const 0) "b")
            (func (export "read") (result i32 i32 i32)
                (i32.load8_u 0 (i32.const 0)) (i32.load8_u $a (i32.const 0)) (i32.load8_u $b (i32.const 0)))
            (export "b" (memory $b)))"#,
    );
    let mut store = Store::new(&engine, ());
    let shared = Memory::new(&mut store, MemoryType::new(1, Some(1))).unwrap();
    shared.write(&mut store, 0, b"s").unwrap();
    let mut linker = Linker::new();
    linker.define("env", "shared", shared).unwrap();
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let read = call::<(i32, i32, i32)>(&mut store, instance, "read").unwrap();
    assert_eq!(read, (i32::from(b's'), i32::from(b'a'), i32::from(b'b')));
    assert_eq!(instance.get_memory(&store, "b").unwrap().size(&store), 2);
}

#[test]
fn a_defined_memory_stands_beside_imports_of_every_kind() {
    let engine = engine();
    let module = module(
        &engine,
        r#"(module
            (import "env" "offset" (global $offset i32))
            (import "env" "shared" (memory 1))
            (import "env" "host" (func $host (result i32)))
            (memory $own 1)
            (data (memory $own) (global.get $offset) "x")
            (func (export "run") (result i32 i32) (call $host) (i32.load8_u $own (global.get $offset))))"#,
    );
    let mut store = Store::new(&engine, ());
    let shared = Memory::new(&mut store, MemoryType::new(1, None)).unwrap();
    let offset = Global::new(&mut store, Val::I32(7), Mutability::Const);
    let mut linker = Linker::new();
    linker.func_wrap("env", "host", || 3_i32).unwrap();
    linker.define("env", "shared", shared).unwrap().define("env", "offset", offset).unwrap();
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let run = call::<(i32, i32)>(&mut store, instance, "run").unwrap();
    assert_eq!(run, (3, i32::from(b'x')));
}

#[test]
fn memory_grow_in_every_position_of_a_body_answers_as_the_instruction_does() {
    let (mut store, instance) = instance(
        r#"(module
            (memory 1 5)
            (global $seen (mut i32) (i32.const 0))
            (func (export "run") (result i32 i32 i32 i32)
                (local i32 i64 f64)
                (memory.grow (i32.const 1))
                (block (result i32) (loop (result i32) (memory.grow (memory.grow (i32.const 0)))))
                (if (result i32) (i32.const 1) (then (memory.grow (i32.const 9))) (else (i32.const 7)))
                (memory.size)))"#,
    );
    let run = call::<(i32, i32, i32, i32)>(&mut store, instance, "run").unwrap();
    assert_eq!(run, (1, 2, -1, 4));
}

#[test]
fn a_64_bit_memory_grows_with_64_bit_operands() {
    let (mut store, instance) = instance(
        r#"(module (memory i64 1 3)
            (func (export "run") (result i64 i64 i64)
                (memory.grow (i64.const 2)) (memory.grow (i64.const -1)) (memory.size)))"#,
    );
    assert_eq!(call::<(i64, i64, i64)>(&mut store, instance, "run").unwrap(), (1, -1, 3));
}

#[test]
fn grown_tables_keep_their_elements_and_reference_types() {
    let (mut store, instance) = instance(
        r#"(module
            (type $t (func (result i32)))
            (table $f 1 4 funcref) (table $e 0 2 externref) (table $wide i64 0 3 funcref)
            (elem (table $f) (i32.const 0) func $one)
            (elem declare func $two)
            (func $one (result i32) (i32.const 1)) (func $two (result i32) (i32.const 2))
            (func (export "run") (result i32 i32 i64 i32 i32)
                (table.grow $f (ref.func $two) (i32.const 2))
                (table.grow $e (ref.null extern) (i32.const 3))
                (table.grow $wide (ref.null func) (i64.const 3))
                (call_indirect $f (type $t) (i32.const 0))
                (call_indirect $f (type $t) (i32.const 2))))"#,
    );
    let run = call::<(i32, i32, i64, i32, i32)>(&mut store, instance, "run").unwrap();
    assert_eq!(run, (1, -1, 0, 1, 2));
}

#[test]
fn the_host_table_is_not_the_guests() {
    let wat = r#"(module (memory 1) (table 1 funcref)
        (func (export "run") (drop (memory.grow (i32.const 0))) (call_indirect 1 (type 0) (i32.const 0)))
        (type (func)))"#;
    let error = Module::new(&engine(), &wat::parse_str(wat).unwrap()).unwrap_err();
    assert!(error.to_string().starts_with("invalid module: unknown table"), "{error}");
}

#[test]
fn the_start_function_runs_after_the_host_table_is_filled() {
    let (store, instance) = instance(
        r#"(module (memory (export "m") 1 2) (start $go)
            (func $go (i32.store (i32.const 0) (memory.grow (i32.const 1)))))"#,
    );
    let memory = instance.get_memory(&store, "m").unwrap();
    assert_eq!((memory.size(&store), memory.data(&store)[0]), (2, 1));
}

#[test]
fn a_start_function_that_traps_is_named() {
    let engine = engine();
    let module = module(&engine, "(module (start $go) (func $go unreachable))");
    let error = Linker::new().instantiate(Store::new(&engine, ()), &module).unwrap_err();
    assert!(matches!(error, InstantiateError::Start(_)), "{error}");
}

#[test]
fn reserved_exports_are_not_shown() {
    let (store, instance) = instance(
        r#"(module (memory 1) (table 1 funcref) (start $go) (func $go)
            (func (export "run") (result i32)
                (memory.grow (i32.const 0)) (table.grow 0 (ref.null func) (i32.const 1)) (i32.add)))"#,
    );
    let names: Vec<_> = instance.exports(&store).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["run"]);
    assert!(instance.get_export(&store, "\0palimpsest.host-table").is_none());
}

#[test]
fn reserved_names_of_a_guest_are_refused() {
    let wasm = wat::parse_str(r#"(module (func (export "\00palimpsest.start")))"#).unwrap();
    let error = Module::new(&engine(), &wasm).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"the name "\0palimpsest.start" is reserved; rename the import or export"#
    );
}

#[test]
fn instances_share_memories_and_growth_is_seen_by_both() {
    let engine = engine();
    let mut store = Store::new(&engine, ());
    let owner = module(
        &engine,
        r#"(module (memory (export "m") 1 4) (func (export "size") (result i32) memory.size)
            (func (export "grow") (result i32) (memory.grow (i32.const 1))))"#,
    );
    let user = module(
        &engine,
        r#"(module (import "o" "m" (memory 1)) (func (export "size") (result i32) memory.size)
            (func (export "grow") (result i32) (memory.grow (i32.const 2))))"#,
    );
    let mut linker = Linker::new();
    let owner = linker.instantiate(&mut store, &owner).unwrap();
    linker.instance(&store, "o", owner).unwrap();
    let user = linker.instantiate(&mut store, &user).unwrap();
    assert_eq!(call::<i32>(&mut store, user, "grow").unwrap(), 1);
    assert_eq!(call::<i32>(&mut store, owner, "size").unwrap(), 3);
    assert_eq!(call::<i32>(&mut store, owner, "grow").unwrap(), 3);
    assert_eq!(call::<i32>(&mut store, user, "size").unwrap(), 4);
}

#[test]
fn a_module_of_another_engine_is_refused() {
    let (one, other): (Engine, Engine) = (engine(), engine());
    let error = Linker::new().instantiate(Store::new(&one, ()), &module(&other, "(module)")).unwrap_err();
    assert!(matches!(error, InstantiateError::OtherEngine), "{error}");
}

#[test]
fn an_export_is_found_by_its_kind() {
    let (store, instance) =
        instance(r#"(module (table (export "t") 1 funcref) (global (export "g") i32 (i32.const 1)))"#);
    assert!(matches!(instance.get_export(&store, "t"), Some(Extern::Table(_))));
    assert!(instance.get_global(&store, "g").is_some());
    assert!(instance.get_func(&store, "g").is_none());
}

#[test]
fn functions_of_an_instance_whose_segments_failed_work() {
    let engine = engine();
    let owner = module(
        &engine,
        r#"(module (type $t (func (result i32))) (table (export "t") 2 funcref)
            (func (export "call") (param i32) (result i32) (call_indirect (type $t) (local.get 0))))"#,
    );
    let failing = module(
        &engine,
        r#"(module (import "o" "t" (table 2 funcref)) (memory 1 4) (global $g (mut i32) (i32.const 7))
            (func $f (result i32)
                (global.set $g (i32.add (global.get $g) (memory.grow (i32.const 1))))
                (i32.store (i32.const 70000) (global.get $g))
                (i32.load (i32.const 70000)))
            (elem (i32.const 0) func $f) (elem (i32.const 9) func $f))"#,
    );
    let mut store = Store::new(&engine, ());
    let mut linker = Linker::new();
    let owner = linker.instantiate(&mut store, &owner).unwrap();
    linker.instance(&store, "o", owner).unwrap();
    assert!(matches!(linker.instantiate(&mut store, &failing), Err(InstantiateError::Segment(_))));
    // The first segment was applied (Wasm core specification, "Instantiation"), and its function
    // can be called.
    let call = owner.get_typed_func::<i32, i32>(&store, "call").unwrap();
    assert_eq!(call.call(&mut store, 0).unwrap(), 8);
    assert_eq!(call.call(&mut store, 0).unwrap(), 10);
}

#[test]
fn active_segments_of_every_form_are_applied_in_order() {
    let (mut store, instance) = instance(
        r#"(module (type $t (func (result i32)))
            (table $a 8 funcref) (table $b i64 4 funcref) (table $e 2 externref)
            (func $one (result i32) (i32.const 1)) (func $two (result i32) (i32.const 2))
            (elem (i32.const 0) $one $two)
            (elem (table $a) (offset (i32.const 2)) func $two)
            (elem (table $b) (i64.const 3) funcref (ref.func $one))
            (elem (table $a) (i32.add (i32.const 1) (i32.const 2)) funcref (ref.func $one) (ref.null func))
            (elem (table $e) (i32.const 0) externref (ref.null extern))
            (elem $passive func $two) (elem declare func $two)
            (memory 1) (memory $wide i64 1)
            (data (i32.const 0) "abc") (data (memory $wide) (i64.const 8) "xyz")
            (data $kept "kept") (data (i32.const 1) "B")
            (func (export "run") (result i32 i32 i32 i32 i32 i32)
                (memory.init $kept (i32.const 16) (i32.const 0) (i32.const 4))
                (table.init $a $passive (i32.const 7) (i32.const 0) (i32.const 1))
                (call_indirect $a (type $t) (i32.const 2))
                (call_indirect $a (type $t) (i32.const 3))
                (call_indirect $a (type $t) (i32.const 7))
                (call_indirect $b (type $t) (i64.const 3))
                (i32.load (i32.const 0))
                (i32.load8_u $wide (i64.const 10))))"#,
    );
    let run = call::<(i32, i32, i32, i32, i32, i32)>(&mut store, instance, "run").unwrap();
    assert_eq!(run, (2, 1, 2, 1, i32::from_le_bytes(*b"aBc\0"), i32::from(b'z')));
}

#[test]
fn applying_segments_costs_the_guest_no_fuel() {
    let (engine, _) = crate::support::engine_with(
        palimpsest_engine::Config::default().fuel(palimpsest_engine::Fuel::Metered),
    );
    let module = module(&engine, r#"(module (memory 1) (data (i32.const 0) "abc"))"#);
    let mut store = Store::new(&engine, ());
    Linker::new().instantiate(&mut store, &module).unwrap();
    assert_eq!(store.get_fuel().unwrap(), 0);
}

#[test]
fn a_select_tests_the_local_that_was_compared_with_zero() {
    for condition in [
        "i32.eqz",
        "i32.const 0 i32.eq",
        "nop i32.eqz nop",
        "i32.const 0 i32.ne i32.eqz",
        "i32.eqz i64.extend_i32_u i32.wrap_i64",
        "i32.eqz i64.extend_i32_s i32.wrap_i64",
        "i32.eqz i32.extend8_s",
        "i32.eqz f32.reinterpret_i32 i32.reinterpret_f32",
        "i32.eqz i32.const 0 i32.add",
        "i32.eqz i32.const 0 i32.sub",
        "i32.eqz i32.const 0 i32.xor",
        "i32.eqz i32.const -1 i32.and",
        "i32.eqz i32.const 1 i32.mul",
        "i32.eqz i32.const 0 i32.shl",
        "i32.eqz i32.const 1 i32.div_u",
        "i32.eqz i32.const 1 i32.const 2 i32.add drop",
        "i32.eqz v128.const i64x2 0 0 drop",
        "i32.eqz ref.null func drop",
        "i32.eqz block end",
        "i32.eqz i32.const 1 if end",
        "block (param i32) (result i32) i32.eqz end",
        "loop (param i32) (result i32) i32.eqz end",
        "block (param i32) (result i32) i32.eqz br 0 end",
        "i32.const 1 if (param i32) (result i32) i32.eqz else unreachable end",
        "i32.eqz local.tee 1",
        "i32.eqz local.set 1 local.get 1",
        "i32.eqz i32.const 5 local.set 1",
        "i32.eqz i32.const 1 i32.const 2 i32.const 3 select drop",
        "i32.eqz ref.null func ref.is_null drop",
        "i32.eqz ref.null func ref.is_null i32.and",
    ] {
        // The accumulator has a value that would select the other operand.
        let (mut store, instance) = instance(&format!(
            r#"(module (memory 1) (func $same (param i32) (result i32) local.get 0)
                (func (export "run") (param i32) (result i32) (local i32)
                    (i32.add (i32.eqz (local.get 0)) (i32.const 0)) drop
                    i32.const 1 local.get 0 local.get 0 {condition} select)
                (func (export "called") (param i32) (result i32) (local i32)
                    (call $same (i32.eqz (local.get 0))) drop
                    i32.const 1 local.get 0 local.get 0 {condition} select))"#
        ));
        for name in ["run", "called"] {
            let run = instance.get_typed_func::<i32, i32>(&store, name).unwrap();
            for (argument, expected) in [(2, 2), (0, 1)] {
                assert_eq!(run.call(&mut store, argument).unwrap(), expected, "{condition} {name}");
            }
        }
    }
}

#[test]
fn a_select_tests_the_reference_that_was_compared_with_null() {
    for last in ["select", "select (result i32)", "nop select"] {
        let (mut store, instance) = instance(&format!(
            r#"(module (func $f) (elem declare func $f)
                (func (export "run") (param i32) (result i32) (local funcref)
                    local.get 0 if ref.func $f local.set 1 end
                    (i32.add (i32.eqz (local.get 0)) (i32.const 0)) drop
                    i32.const 1 local.get 0 local.get 1 ref.is_null {last}))"#
        ));
        let run = instance.get_typed_func::<i32, i32>(&store, "run").unwrap();
        for (argument, expected) in [(2, 2), (0, 1)] {
            assert_eq!(run.call(&mut store, argument).unwrap(), expected, "{last}");
        }
    }
}

/// wasmi panics while it translates each of these stores, unless the splice changes it.
#[test]
fn a_local_is_stored_at_its_own_address_in_any_memory_and_at_any_offset() {
    let add = "(i32.add (local.get 0) (i32.const 8))";
    for operands in [
        format!("{add} local.set 0 local.get 0 local.get 0"),
        format!("{add} local.tee 0 local.get 0"),
        format!("{add} local.tee 0 local.get 0 nop i32.const 1 drop"),
        format!("{add} local.tee 0 (i32.store (i32.const 0) (i32.const 5)) local.get 0"),
        format!("{add} local.tee 0 (drop (f32.load (i32.const 0))) local.get 0"),
        format!("{add} local.set 0 local.get 0 (select (local.get 0) (local.get 0) (local.get 1))"),
        format!("{add} local.tee 0 local.get 0 local.set 1 local.get 1 local.get 0 drop"),
    ] {
        for (store, load) in [
            ("i32.store offset=65536", "(i32.load (i32.const 65544))"),
            ("i32.store8 offset=70000", "(i32.load8_u (i32.const 70008))"),
            ("i32.store16 1", "(i32.load16_u 1 (i32.const 8))"),
        ] {
            let (mut store_of, instance) = instance(&format!(
                r#"(module (memory 2) (memory 1)
                    (func (export "run") (result i32) (local i32 i32) {operands} {store} {load}))"#
            ));
            assert_eq!(call::<i32>(&mut store_of, instance, "run").unwrap(), 8, "{operands} {store}");
        }
    }
}

/// The number of locals, 68, is the opcode of `f64.const`, which takes 8 bytes. The declarations of
/// locals must not be taken for instructions that hide others.
#[test]
fn a_local_is_stored_at_its_own_address_in_a_function_with_any_number_of_locals() {
    for locals in [65, 66, 67, 68] {
        for nops in 0..10 {
            let (locals, nops) = ("i32 ".repeat(locals), "nop ".repeat(nops));
            let (mut store, instance) = instance(&format!(
                r#"(module (memory 2)
                    (func (export "run") (result i32) (local {locals})
                        {nops} (i32.add (local.get 0) (i32.const 8)) local.tee 0 local.get 0
                        i32.store offset=65536 (i32.load (i32.const 65544))))"#
            ));
            assert_eq!(call::<i32>(&mut store, instance, "run").unwrap(), 8);
        }
    }
}

#[test]
fn a_64_bit_local_is_stored_at_its_own_address() {
    let (mut store, instance) = instance(
        r#"(module (memory i64 2)
            (func (export "run") (result i64) (local i64)
                (local.tee 0 (i64.add (local.get 0) (i64.const 8))) local.get 0 i64.store offset=65536
                (i64.load (i64.const 65544))))"#,
    );
    assert_eq!(call::<i64>(&mut store, instance, "run").unwrap(), 8);
}

/// wasmi leaves a pending local out of what it copies before a block for each parameter of the
/// block. Each variant returns the 5 that was pushed before.
#[test]
fn a_local_that_is_pushed_before_a_block_keeps_its_value_on_each_path() {
    let written = "local.set 0";
    for (blocks, arms) in [
        // A block and an `if` with parameters. The local is written on the path that is not taken.
        ("i64.const 3 block (param i64) (result i32)", 1),
        ("i64.const 3 loop (param i64) (result i32)", 1),
        (
            "i64.const 3 i64.const 4 block (param i64 i64) (result i64 i32) drop i32.const 0 end drop drop
          i64.const 3 block (param i64) (result i32)",
            1,
        ),
        ("i64.const 3 i64.const 4 block (param i64 i64) (result i32) drop", 1),
        ("i64.const 3 block (param i64) (result i32) block (param i64) (result i64) end", 1),
        ("i64.const 3 block (param i64) (result i32)", 2),
    ] {
        let (then, other) = match arms {
            1 => (format!("drop i32.const 7 {written} i32.const 7"), "drop i32.const 0".to_owned()),
            _ => ("drop i32.const 0".to_owned(), format!("drop i32.const 7 {written} i32.const 0")),
        };
        let (mut store, instance) = instance(&format!(
            r#"(module (func (export "run") (param i32) (result i32) (local i32)
                local.get 0 {blocks}
                    local.get 1 if (param i64) (result i32) {then} else {other} end
                end
                drop))"#
        ));
        let run = instance.get_typed_func::<i32, i32>(&store, "run").unwrap();
        assert_eq!(run.call(&mut store, 5).unwrap(), 5, "{blocks} {arms}");
    }
}

/// Without the repair wasmi takes the number in the stale slot for a function.
#[test]
fn a_reference_that_is_pushed_before_a_block_is_the_one_that_was_pushed() {
    let (mut store, instance) = instance(
        r#"(module
            (type $t (func (result i32)))
            (table 1 funcref)
            (func $a (result i32) i32.const 77)
            (elem declare func $a)
            (func (export "run") (result i32) (local funcref i32)
                ref.func $a local.set 0
                local.get 0 i64.const 4
                block (param i64) (result i32)
                    local.get 1
                    if (param i64) (result i32)
                        drop ref.null func local.set 0 i32.const 7
                    else
                        drop i32.const 0
                    end
                end
                drop local.set 0
                i32.const 0 local.get 0 table.set 0
                (call_indirect (type $t) (i32.const 0))))"#,
    );
    assert_eq!(call::<i32>(&mut store, instance, "run").unwrap(), 77);
}
