//! Each limit can be reached exactly, and what is one past it is refused by the engine's own error
//! when the module is loaded or the instance is made.

use crate::support::{engine_with, instance, load_prepared, module};
use palimpsest_engine::{
    Config, Engine, InstantiateError, Limits, Linker, Memory, MemoryType, Module, ModuleError, Store,
    StoreOptions, TrapCode, WasmPageSize,
};

/// A limit, a module that reaches it, and the value that it has then.
struct Exact {
    name: &'static str,
    value: u32,
    set: fn(&mut Limits, u32),
    /// Takes as much as `value` allows.
    text: &'static str,
    /// The number of instances to make.
    instances: usize,
}

const EXACT: &[Exact] = &[
    exact("module_bytes", 8, |limits, value| limits.module_bytes = value as usize, "(module)"),
    exact("header_bytes", 6, |limits, value| limits.header_bytes = value as usize, "(module (func))"),
    exact(
        "section_entries",
        2,
        |limits, value| limits.section_entries = value,
        "(module (global i32 (i32.const 0)) (global i32 (i32.const 0)))",
    ),
    // A type, a function and a global.
    exact(
        "module_entries",
        3,
        |limits, value| limits.module_entries = value,
        "(module (func) (global i32 (i32.const 0)))",
    ),
    // Each body has a length, no locals, and an `end`.
    exact(
        "code_bytes",
        8,
        |limits, value| limits.code_bytes = value as usize,
        "(module (func) (func nop nop))",
    ),
    exact(
        "element_items",
        3,
        |limits, value| limits.element_items = value,
        "(module (table 3 funcref) (func $f) (elem (i32.const 0) $f $f $f))",
    ),
    exact(
        "function_bytes",
        4,
        |limits, value| limits.function_bytes = value as usize,
        "(module (func nop nop))",
    ),
    exact("nesting", 3, |limits, value| limits.nesting = value, "(module (func (block (loop))))"),
    exact("locals", 3, |limits, value| limits.locals = value, "(module (func (param i32) (local i64 f32)))"),
    exact(
        "operands",
        2,
        |limits, value| limits.operands = value,
        "(module (func i32.const 0 i64.const 0 drop drop))",
    ),
    exact(
        "constant_operators",
        3,
        |limits, value| limits.constant_operators = value,
        "(module (global i32 (i32.add (i32.const 1) (i32.const 2))))",
    ),
    // 2 for the parameters, and 2 for the call.
    exact(
        "function_work",
        4,
        |limits, value| limits.function_work = value,
        "(module (func $f (param i32 i32) (call $f (local.get 0) (local.get 1))))",
    ),
    exact(
        "module_work",
        5,
        |limits, value| limits.module_work = value.into(),
        "(module (func (param i32 i32)) (func (param i32 i32 i32)))",
    ),
    Exact {
        instances: 2,
        ..exact("instances", 2, |limits, value| limits.instances = value as usize, "(module)")
    },
    Exact {
        instances: 2,
        ..exact(
            "store_entries",
            4,
            |limits, value| limits.store_entries = value as usize,
            "(module (memory 1) (memory 1))",
        )
    },
    exact("memories", 2, |limits, value| limits.memories = value as usize, "(module (memory 1) (memory 1))"),
    exact("memory_bytes", 2 << 16, |limits, value| limits.memory_bytes = value.into(), "(module (memory 2))"),
    exact(
        "tables",
        2,
        |limits, value| limits.tables = value as usize,
        "(module (table 1 funcref) (table 1 externref) (memory 1) (func (drop (memory.grow (i32.const 1)))))",
    ),
    exact(
        "table_elements",
        5,
        |limits, value| limits.table_elements = value as usize,
        "(module (table 5 funcref))",
    ),
    exact(
        "store_table_elements",
        5,
        |limits, value| limits.store_table_elements = value as usize,
        "(module (table 2 funcref) (table 3 funcref))",
    ),
    exact(
        "address_bytes",
        2 << 16,
        |limits, value| limits.address_bytes = Some(value.into()),
        "(module (memory 1 1) (memory 1 1))",
    ),
    exact(
        "resident_frames",
        16,
        |limits, value| limits.resident_frames = Some(value.into()),
        "(module (memory 1 1))",
    ),
];

/// Limits of a running guest, which end it in a trap, and that of images, which do without. Other
/// tests cover them.
const AT_RUN_TIME: [&str; 6] =
    ["image_frames", "heap_bytes", "fuel", "call_depth", "stack_bytes", "reentry_depth"];

const fn exact(name: &'static str, value: u32, set: fn(&mut Limits, u32), text: &'static str) -> Exact {
    Exact { name, value, set, text, instances: 1 }
}

impl Exact {
    /// Loads the module, which may have been prepared with the default limits, and makes the
    /// instances in a store with the limit at `value`.
    fn run(&self, value: u32, is_prepared: bool) -> Result<(), String> {
        let mut limits = Limits::default();
        (self.set)(&mut limits, value);
        let (engine, _) = engine_with(Config::default().limits(limits));
        let wasm = wat::parse_str(self.text).unwrap();
        let module = if is_prepared {
            load_prepared(&engine, &Module::prepare(&Config::default(), &wasm).unwrap())
        } else {
            Module::new(&engine, &wasm)
        };
        let module = module.map_err(|error| error.to_string())?;
        let mut store = Store::new(&engine, ());
        for _ in 0..self.instances {
            Linker::new().instantiate(&mut store, &module).map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

#[test]
fn each_limit_is_reached_exactly_and_one_past_it_is_refused_by_its_name() {
    for (limit, is_prepared) in EXACT.iter().flat_map(|limit| [(limit, false), (limit, true)]) {
        assert_eq!(limit.run(limit.value, is_prepared), Ok(()), "{}", limit.name);
        let error = limit.run(limit.value - 1, is_prepared).err().unwrap_or_default();
        assert!(error.contains(&format!("limit `{}`", limit.name)), "{}: {error}", limit.name);
        assert!(error.contains(&(limit.value - 1).to_string()), "{}: {error}", limit.name);
    }
}

#[test]
fn every_limit_has_a_test() {
    let fields = format!("{:?}", Limits::default());
    let fields = fields.trim_start_matches("Limits { ").trim_end_matches(" }").split(", ");
    let tested: Vec<_> = EXACT.iter().map(|limit| limit.name).chain(AT_RUN_TIME).collect();
    for field in fields {
        let name = field.split(':').next().unwrap();
        assert!(tested.contains(&name), "{name}");
    }
}

/// Writes a module with `count` tables that grows a memory and its last table.
fn many_tables(count: usize) -> String {
    let tables: String = (0..count).map(|index| format!("(table $t{index} 1 funcref)")).collect();
    format!(
        r#"(module (memory 1) {tables}
            (func (export "run") (result i32)
                (i32.add (memory.grow (i32.const 1)) (table.grow $t{} (ref.null func) (i32.const 1)))))"#,
        count - 1
    )
}

#[test]
fn a_module_with_a_hundred_tables_runs_and_one_with_more_is_refused() {
    for count in [99, 100] {
        let (mut store, instance) = instance(&many_tables(count));
        let run = instance.get_typed_func::<(), i32>(&store, "run").unwrap();
        assert_eq!(run.call(&mut store, ()).unwrap(), 2);
    }
    let (engine, _) = engine_with(Config::default());
    let error = Module::new(&engine, &wat::parse_str(many_tables(101)).unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "the module has 101 tables; the limit `tables` is 100");
}

#[test]
fn imported_memories_and_tables_count_once_in_the_store() {
    let mut limits = Limits::default();
    limits.memories = 1;
    limits.tables = 1;
    let (engine, _) = engine_with(Config::default().limits(limits));
    let exporter = module(&engine, r#"(module (memory (export "m") 1) (table (export "t") 1 funcref))"#);
    let importer =
        module(&engine, r#"(module (import "e" "m" (memory 1)) (import "e" "t" (table 1 funcref)))"#);
    let mut store = Store::new(&engine, ());
    let mut linker = Linker::new();
    let exported = linker.instantiate(&mut store, &exporter).unwrap();
    for name in ["m", "t"] {
        linker.define("e", name, exported.get_export(&store, name).unwrap()).unwrap();
    }
    for _ in 0..3 {
        linker.instantiate(&mut store, &importer).unwrap();
    }
    let error = linker.instantiate(&mut store, &exporter).unwrap_err();
    assert!(matches!(error, InstantiateError::TooManyTables { tables: 1, left: 0, limit: 1 }), "{error}");
    let error = Memory::new(&mut store, MemoryType::new(0, None)).unwrap_err();
    assert_eq!(error.to_string(), "the store already has 1 memories, which is the limit `memories`");
}

#[test]
fn a_module_with_sixty_four_memories_runs() {
    let memories: String = (0..64).map(|index| format!("(memory $m{index} 0 1)")).collect();
    let (mut store, instance) = instance(&format!(
        r#"(module {memories} (func (export "run") (result i32)
            (drop (memory.grow $m63 (i32.const 1)))
            (i32.store $m63 (i32.const 8) (i32.const 7))
            (i32.load $m63 (i32.const 8))))"#
    ));
    let run = instance.get_typed_func::<(), i32>(&store, "run").unwrap();
    assert_eq!(run.call(&mut store, ()).unwrap(), 7);
}

#[test]
fn a_function_with_as_many_locals_and_operands_as_the_limits_allow_runs() {
    let locals = "v128 ".repeat(10_000);
    let push = "(v128.const i64x2 1 2)".repeat(1 << 14);
    let pop = "drop ".repeat((1 << 14) - 1);
    let text = format!(
        r#"(module (func (export "run") (result i64) (local {locals})
            {push} {pop} i64x2.extract_lane 1))"#
    );
    let mut limits = Limits::default();
    limits.stack_bytes = 1 << 20;
    let (engine, _) = engine_with(Config::default().limits(limits));
    let module = module(&engine, &text);
    let mut store = Store::new(&engine, ());
    let instance = Linker::new().instantiate(&mut store, &module).unwrap();
    assert_eq!(instance.get_typed_func::<(), i64>(&store, "run").unwrap().call(&mut store, ()).unwrap(), 2);
}

#[test]
fn locals_and_operands_cannot_be_raised_beyond_what_the_interpreter_has() {
    let mut limits = Limits::default();
    limits.locals = u32::MAX;
    limits.operands = u32::MAX;
    let (engine, _) = engine_with(Config::default().limits(limits));
    let error = |text: String| Module::new(&engine, &wat::parse_str(text).unwrap()).unwrap_err();
    let locals = error(format!("(module (func (local {})))", "i32 ".repeat(10_001)));
    assert!(matches!(locals, ModuleError::Limit { limit: "locals", value: 10_000, .. }), "{locals}");
    let operands = error(format!("(module (func {} unreachable))", "(i32.const 0)".repeat((1 << 14) + 1)));
    assert!(matches!(operands, ModuleError::Limit { limit: "operands", value: 16_384, .. }), "{operands}");
}

#[test]
fn a_memory_whose_maximum_is_the_whole_64_bit_range_grows_or_is_refused() {
    for maximum in [1_u64 << 48, (1 << 48) - 1, 1 << 47] {
        let (mut store, instance) = instance(&format!(
            r#"(module (memory (export "m") i64 1 {maximum})
                (func (export "grow") (param i64) (result i64) (memory.grow (local.get 0))))"#
        ));
        let grow = instance.get_typed_func::<i64, i64>(&store, "grow").unwrap();
        assert_eq!(grow.call(&mut store, 1).unwrap(), 1);
        assert_eq!(grow.call(&mut store, 1 << 47).unwrap(), -1);
        assert_eq!(grow.call(&mut store, -1).unwrap(), -1);
        let memory = instance.get_memory(&store, "m").unwrap();
        assert_eq!((memory.size(&store), memory.ty(&store).maximum()), (2, Some(maximum)));
    }
}

#[test]
fn a_memory_type_at_the_end_of_the_64_bit_range_is_refused_by_its_size() {
    let (engine, _) = engine_with(Config::default());
    let mut store = Store::new(&engine, ());
    let error = Memory::new(&mut store, MemoryType::new64(1 << 48, Some(1 << 48))).unwrap_err();
    assert!(error.to_string().contains("limit `memory_bytes`"), "{error}");
    let one_byte = MemoryType::new64(1, Some(u64::MAX)).with_page_size(WasmPageSize::BYTE);
    let memory = Memory::new(&mut store, one_byte).unwrap();
    assert_eq!(memory.grow(&mut store, 3).unwrap(), 1);
    assert_eq!(memory.size(&store), 4);
}

/// Calls `down`, which nests `calls` calls, in an engine with this limit.
fn nests(engine: &Engine, calls: u32) -> bool {
    const TEXT: &str = r#"(module (func $down (export "down") (param i32)
        (if (i32.gt_u (local.get 0) (i32.const 1))
            (then (call $down (i32.sub (local.get 0) (i32.const 1)))))))"#;
    let module = module(engine, TEXT);
    let mut store = Store::new(engine, ());
    let instance = Linker::new().instantiate(&mut store, &module).unwrap();
    let down = instance.get_typed_func::<u32, ()>(&store, "down").unwrap();
    match down.call(&mut store, calls) {
        Ok(()) => true,
        Err(error) => {
            assert_eq!(error.as_trap_code(), Some(TrapCode::StackOverflow));
            false
        }
    }
}

#[test]
fn calls_nest_to_exactly_the_limit_of_their_depth() {
    for depth in [1, 10, 500] {
        let mut limits = Limits::default();
        limits.call_depth = depth;
        let (engine, _) = engine_with(Config::default().limits(limits));
        let calls = u32::try_from(depth).unwrap();
        assert!(nests(&engine, calls), "{depth}");
        assert!(!nests(&engine, calls + 1), "{depth}");
    }
}

/// Returns the bytes that the memories of `text` have reserved, in a store with 1 MiB of addresses.
fn reserved(text: &str) -> Result<Vec<u64>, String> {
    let mut limits = Limits::default();
    limits.address_bytes = Some(1 << 20);
    let (engine, _) = engine_with(Config::default().limits(limits));
    let module = module(&engine, text);
    let mut store = Store::new(&engine, ());
    let mut reserved = Vec::new();
    Linker::new().instantiate(&mut store, &module).map_err(|error| error.to_string())?;
    for memory in store.memories().collect::<Vec<_>>() {
        while memory.grow(&mut store, 1).is_ok() {}
        reserved.push(memory.size_bytes(&store));
    }
    Ok(reserved)
}

#[test]
fn memories_without_a_maximum_leave_addresses_for_the_next_ones() {
    assert_eq!(
        reserved("(module (memory i64 0) (memory 1) (memory i64 0))").unwrap(),
        [8, 4, 2].map(|kib| kib << 16)
    );
    // A maximum that is above the share counts as none.
    let maximum = "(module (memory i64 1 0x1000000000000) (memory 1 32) (memory 0 2))";
    assert_eq!(reserved(maximum).unwrap(), [8 << 16, 4 << 16, 2 << 16]);
    // One that is left is reserved.
    assert_eq!(reserved("(module (memory 1 16))").unwrap(), [16 << 16]);
    assert_eq!(reserved("(module (memory 0 8) (memory 0 8) (memory 0))").unwrap(), [8 << 16, 8 << 16, 0]);
    // An initial size always is, if it is left.
    assert_eq!(reserved("(module (memory 9) (memory 0))").unwrap(), [9 << 16, 0]);
    assert_eq!(
        reserved("(module (memory 9) (memory 1))").unwrap_err(),
        "memory 1: the initial size is 65536 bytes, and the store has 0 bytes of addresses left; the limit \
         `address_bytes` is 1048576"
    );
}

#[test]
fn many_64_bit_memories_leave_the_backing_to_other_stores() {
    let (engine, _) = engine_with(Config::default());
    let mut limits = Limits::default();
    limits.address_bytes = Some(4 << 20);
    let text: String = (0..20).map(|_| "(memory i64 0)").collect();
    let module = module(&engine, &format!("(module {text})"));
    let options = StoreOptions { limits: Some(limits), ..StoreOptions::default() };
    let mut stores: Vec<_> = (0..3).map(|_| Store::with_options(&engine, (), options)).collect();
    for store in &mut stores {
        Linker::new().instantiate(&mut *store, &module).unwrap();
        // A memory that reserves nothing takes a page.
        assert!(store.report().reserved_bytes <= (4 << 20) + 20 * 4096);
    }
}
