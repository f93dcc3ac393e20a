//! Modules that try to exhaust a loader. Each is refused by name or loads, within the heap of a
//! small kernel.
//!
//! This is a separate binary because its allocator counts: the peak of the heap while a module is
//! loaded, instantiated and dropped, and what is still allocated afterwards.

#![expect(clippy::unwrap_used, reason = "a test ends where its expectation fails")]

use palimpsest_counting::{CountingHeap, Growth};
use palimpsest_engine::{Config, Engine, Fixed, InstantiateError, Linker, Module, ModuleError, Store, wasmi};
use std::{
    boxed::Box,
    mem::MaybeUninit,
    sync::{Mutex, MutexGuard, PoisonError},
};
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, DataSection, ElementSection, Elements, EntityType, ExportKind,
    ExportSection, Function, FunctionSection, ImportSection, MemorySection, RefType, TableSection, TableType,
    TypeSection, ValType,
};

/// The heap of the demonstration kernel with 256 MiB of memory, in bytes.
const BUDGET: usize = 32 << 20;

#[global_allocator]
static HEAP: CountingHeap = CountingHeap::new();

/// Locked by each test, because all share the counter and build their modules on the same heap.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Loads, instantiates and drops `wasm`, returns the outcome, and checks the heap.
fn explode(wasm: &[u8]) -> Result<(), String> {
    let bytes = Box::leak(vec![MaybeUninit::uninit(); 1 << 20].into_boxed_slice());
    let (Growth { peak, left }, outcome) = HEAP.measure(|| {
        let engine = Engine::new(Config::default(), Fixed::new(bytes)).unwrap();
        run(&engine, wasm)
    });
    assert!(peak < BUDGET, "the heap grew by {peak} bytes: {outcome:?}");
    // The test harness itself allocates a few hundred bytes during a test.
    assert!(left < 4096, "{left} bytes are still allocated: {outcome:?}");
    outcome
}

fn run(engine: &Engine, wasm: &[u8]) -> Result<(), String> {
    let module = Module::new(engine, wasm).map_err(|error: ModuleError| error.to_string())?;
    let mut store = Store::new(engine, ());
    let instance = Linker::new()
        .instantiate(&mut store, &module)
        .map_err(|error: InstantiateError| error.to_string())?;
    let Some(func) = instance.get_func(&store, "run") else { return Ok(()) };
    func.call(&mut store, &[], &mut []).map_err(|error| error.to_string())
}

fn refused(wasm: &[u8], message: &str) {
    assert_eq!(explode(wasm), Err(message.into()));
}

/// Returns the peak of the heap while an engine is created, in bytes.
fn peak_of_an_engine() -> usize {
    let bytes = Box::leak(vec![MaybeUninit::uninit(); 4096].into_boxed_slice());
    let fixed = Fixed::new(bytes);
    peak_of(|| Engine::new(Config::default(), fixed).unwrap())
}

#[test]
fn the_self_check_runs_for_the_first_engine_of_a_program_only() {
    let _alone = alone();
    peak_of_an_engine();
    let second = peak_of_an_engine();
    // An engine takes 800 bytes, and the check 16 KiB more.
    assert!(second < 4096, "{second}");
}

/// Encodes a module with one function `run`, without parameters and results.
fn with_body(body: &Function) -> Vec<u8> {
    let mut module = wasm_encoder::Module::new();
    let mut types = TypeSection::new();
    types.ty().function([], []);
    let mut functions = FunctionSection::new();
    functions.function(0);
    let mut exports = ExportSection::new();
    exports.export("run", ExportKind::Func, 0);
    let mut code = CodeSection::new();
    code.function(body);
    module.section(&types).section(&functions).section(&exports).section(&code);
    module.finish()
}

fn nested(depth: u32) -> Vec<u8> {
    let mut body = Function::new([]);
    let mut code = body.instructions();
    for _ in 0..depth {
        code.block(BlockType::Empty);
    }
    for _ in 0..=depth {
        code.end();
    }
    with_body(&body)
}

#[test]
fn deep_nesting() {
    let _alone = alone();
    // The function body itself counts as a block.
    refused(&nested(150_000), "the module has 150001 blocks inside each other; the limit `nesting` is 4096");
    assert_eq!(explode(&nested(4_095)), Ok(()));
}

#[test]
fn a_function_body_without_end() {
    let _alone = alone();
    let mut body = Function::new([]);
    let mut code = body.instructions();
    for _ in 0..200_000 {
        code.i32_const(0).drop();
    }
    code.end();
    refused(
        &with_body(&body),
        "the module has 600002 bytes in one function; the limit `function_bytes` is 524288",
    );
}

#[test]
fn the_largest_function_body_is_translated_within_the_budget() {
    let _alone = alone();
    let mut body = Function::new([(1, ValType::I32)]);
    let mut code = body.instructions();
    for _ in 0..65_000 {
        code.local_get(0).i32_const(1).i32_add().local_set(0).nop();
    }
    code.end();
    assert_eq!(explode(&with_body(&body)), Ok(()));
}

#[test]
fn a_million_locals() {
    let _alone = alone();
    let body = Function::new([(1_000_000, ValType::I64)]);
    refused(
        &with_body(&body),
        "the module has 1000000 parameters and locals in one function; the limit `locals` is 10000",
    );
}

#[test]
fn a_deep_operand_stack() {
    let _alone = alone();
    let mut body = Function::new([]);
    let mut code = body.instructions();
    for _ in 0..100_000 {
        code.i32_const(0);
    }
    code.unreachable().end();
    refused(
        &with_body(&body),
        "the module has 100000 operands on the stack of one function; the limit `operands` is 16384",
    );
}

#[test]
fn many_types_imports_functions_exports() {
    let _alone = alone();
    let mut types = TypeSection::new();
    for _ in 0..100_000 {
        types.ty().function([], []);
    }
    let module = |sections: &[&dyn Fn(&mut wasm_encoder::Module)]| {
        let mut module = wasm_encoder::Module::new();
        sections.iter().for_each(|section| section(&mut module));
        module.finish()
    };
    let too_many = |what: &str| format!("the module has 100000 {what}; the limit `section_entries` is 20000");
    refused(
        &module(&[&|m| {
            m.section(&types);
        }]),
        &too_many("types"),
    );

    let mut one = TypeSection::new();
    one.ty().function([], []);
    let mut imports = ImportSection::new();
    let mut functions = FunctionSection::new();
    let mut exports = ExportSection::new();
    for index in 0..100_000 {
        imports.import("", "", EntityType::Function(0));
        functions.function(0);
        exports.export(&index.to_string(), ExportKind::Func, 0);
    }
    refused(
        &module(&[
            &|m| {
                m.section(&one);
            },
            &|m| {
                m.section(&imports);
            },
        ]),
        &too_many("imports"),
    );
    refused(
        &module(&[
            &|m| {
                m.section(&one);
            },
            &|m| {
                m.section(&functions);
            },
        ]),
        &too_many("functions"),
    );
    refused(
        &module(&[&|m| {
            m.section(&exports);
        }]),
        &too_many("exports"),
    );
}

#[test]
fn many_segments_and_many_items() {
    let _alone = alone();
    let mut elements = ElementSection::new();
    let mut data = DataSection::new();
    for _ in 0..100_000 {
        elements.passive(Elements::Functions([].as_slice().into()));
        data.passive([]);
    }
    let mut module = wasm_encoder::Module::new();
    module.section(&elements);
    refused(&module.finish(), "the module has 100000 element segments; the limit `section_entries` is 20000");
    let mut module = wasm_encoder::Module::new();
    module.section(&data);
    refused(&module.finish(), "the module has 100000 data segments; the limit `section_entries` is 20000");

    let mut elements = ElementSection::new();
    let items = vec![ConstExpr::ref_null(wasm_encoder::HeapType::FUNC); 200_000];
    elements.passive(Elements::Expressions(RefType::FUNCREF, items.into()));
    let mut module = wasm_encoder::Module::new();
    module.section(&elements);
    refused(
        &module.finish(),
        "the module has 200000 references in element segments; the limit `element_items` is 131072",
    );
}

#[test]
fn large_types() {
    let _alone = alone();
    let mut types = TypeSection::new();
    for _ in 0..2_000 {
        types.ty().function(std::iter::repeat_n(ValType::I32, 1_000), [ValType::I32; 8]);
    }
    let mut module = wasm_encoder::Module::new();
    module.section(&types);
    let error = explode(&module.finish()).unwrap_err();
    assert!(
        error.ends_with("bytes of sections before its code; the limit `header_bytes` is 1048576"),
        "{error}"
    );
}

#[test]
fn as_many_functions_as_the_limits_allow() {
    let _alone = alone();
    let mut functions = FunctionSection::new();
    let mut exports = ExportSection::new();
    let mut code = CodeSection::new();
    let mut body = Function::new([]);
    body.instructions().end();
    for index in 0..20_000 {
        functions.function(20_000 - 1);
        exports.export(&format!("f{index}"), ExportKind::Func, index);
        code.function(&body);
    }
    let mut types = TypeSection::new();
    for _ in 0..19_999 {
        types.ty().function([ValType::I32; 3], [ValType::I64]);
    }
    types.ty().function([], []);
    let mut module = wasm_encoder::Module::new();
    module.section(&types).section(&functions).section(&exports).section(&code);
    assert_eq!(explode(&module.finish()), Ok(()));
}

#[test]
fn the_largest_table() {
    let _alone = alone();
    let mut tables = TableSection::new();
    let minimum = u64::from(u32::MAX);
    tables.table(TableType {
        element_type: RefType::FUNCREF,
        table64: false,
        minimum,
        maximum: None,
        shared: false,
    });
    let mut module = wasm_encoder::Module::new();
    module.section(&tables);
    refused(
        &module.finish(),
        "table 0 starts with 4294967295 elements; the limit `table_elements` is 131072",
    );
}

#[test]
fn many_memories() {
    let _alone = alone();
    let mut memories = MemorySection::new();
    for _ in 0..90 {
        memories.memory(wasm_encoder::MemoryType {
            minimum: 0,
            maximum: Some(0),
            memory64: false,
            shared: false,
            page_size_log2: None,
        });
    }
    let mut module = wasm_encoder::Module::new();
    module.section(&memories);
    refused(&module.finish(), "the module has 90 memories; the limit `memories` is 64");
}

#[test]
fn a_section_that_lies_about_its_length() {
    let _alone = alone();
    // A type section of 5 bytes that announces 2^32 - 1 types.
    let wasm = [b"\0asm\x01\0\0\0", [1, 5, 0xff, 0xff, 0xff, 0xff, 0x0f].as_slice()].concat();
    refused(&wasm, "the module has 4294967295 types; the limit `section_entries` is 20000");
}

/// The types of the bombs below: `run`'s, one with 1,000 results, one with 1,000 parameters, and
/// one that takes and returns an `i32`.
const RUN: u32 = 0;
const RESULTS: u32 = 1;
const PARAMS: u32 = 2;
const ONE: u32 = 3;

/// Encodes a module with the types above, a function `run` with `body`, and a second function that
/// has 1,000 parameters.
fn with_large_types(body: &Function) -> Vec<u8> {
    let thousand = || std::iter::repeat_n(ValType::I32, 1_000);
    let mut types = TypeSection::new();
    types.ty().function([], []);
    types.ty().function([], thousand());
    types.ty().function(thousand(), []);
    types.ty().function([ValType::I32], [ValType::I32]);
    let mut functions = FunctionSection::new();
    functions.function(RUN).function(PARAMS);
    let mut exports = ExportSection::new();
    exports.export("run", ExportKind::Func, 0);
    let mut empty = Function::new([]);
    empty.instructions().end();
    let mut code = CodeSection::new();
    code.function(body).function(&empty);
    let mut module = wasm_encoder::Module::new();
    module.section(&types).section(&functions).section(&exports).section(&code);
    module.finish()
}

/// Checks that loading `wasm` is refused by `limit` before the work is done.
///
/// An unoptimised build takes more than 20 seconds for the work of a bomb, and at most 2 seconds up
/// to the limit.
fn refused_at_once(wasm: &[u8], limit: &str) {
    let start = std::time::Instant::now();
    let error = explode(wasm).unwrap_err();
    let took = start.elapsed();
    assert!(error.contains(&format!("; the limit `{limit}` is ")), "{error}");
    assert!(took < std::time::Duration::from_secs(8), "{took:?}: {error}");
}

#[test]
fn a_branch_table_of_many_targets_that_carry_many_operands() {
    let _alone = alone();
    let mut body = Function::new([(1, ValType::I32)]);
    let mut code = body.instructions();
    code.block(BlockType::FunctionType(RESULTS));
    for _ in 0..1_000 {
        code.i32_const(0);
    }
    code.local_get(0).br_table(vec![0; 130_000], 0).end();
    for _ in 0..1_000 {
        code.drop();
    }
    code.end();
    refused_at_once(&with_large_types(&body), "function_work");
}

#[test]
fn many_calls_with_many_parameters() {
    let _alone = alone();
    let mut body = Function::new([]);
    let mut code = body.instructions();
    // What follows is valid, because code after `unreachable` may take any operands.
    code.unreachable();
    for _ in 0..260_000 {
        code.call(1);
    }
    code.end();
    refused_at_once(&with_large_types(&body), "function_work");
}

#[test]
fn many_branches_over_many_constants() {
    let _alone = alone();
    for conditional in [true, false] {
        let mut body = Function::new([(1, ValType::I32)]);
        let mut code = body.instructions();
        code.block(BlockType::FunctionType(RESULTS));
        for _ in 0..1_000 {
            code.i32_const(0);
        }
        for _ in 0..120_000 {
            if conditional {
                code.local_get(0).br_if(0);
            } else {
                code.br(0);
            }
        }
        code.end();
        for _ in 0..1_000 {
            code.drop();
        }
        code.end();
        refused_at_once(&with_large_types(&body), "function_work");
    }
}

#[test]
fn many_blocks_with_many_results() {
    let _alone = alone();
    let mut body = Function::new([]);
    let mut code = body.instructions();
    code.unreachable();
    for _ in 0..120_000 {
        code.block(BlockType::FunctionType(RESULTS)).unreachable().end();
    }
    code.end();
    refused_at_once(&with_large_types(&body), "function_work");
}

#[test]
fn many_returns_of_many_results() {
    let _alone = alone();
    let mut types = TypeSection::new();
    types.ty().function([], std::iter::repeat_n(ValType::I32, 1_000));
    let mut functions = FunctionSection::new();
    functions.function(0);
    let mut body = Function::new([]);
    let mut instructions = body.instructions();
    instructions.unreachable();
    for _ in 0..400_000 {
        instructions.return_();
    }
    instructions.end();
    let mut code = CodeSection::new();
    code.function(&body);
    let mut module = wasm_encoder::Module::new();
    module.section(&types).section(&functions).section(&code);
    refused_at_once(&module.finish(), "function_work");
}

#[test]
fn many_blocks_with_a_parameter_over_many_constants_and_one_local() {
    let _alone = alone();
    let mut body = Function::new([(1, ValType::I32)]);
    let mut code = body.instructions();
    code.local_get(0);
    for _ in 0..16_000 {
        code.i32_const(0);
    }
    for _ in 0..120_000 {
        code.block(BlockType::FunctionType(ONE)).end();
    }
    code.unreachable().end();
    refused_at_once(&with_large_types(&body), "function_work");
}

#[test]
fn many_functions_that_each_stay_below_the_work_limit() {
    let _alone = alone();
    let mut types = TypeSection::new();
    types.ty().function(std::iter::repeat_n(ValType::I32, 1_000), []);
    let mut functions = FunctionSection::new();
    let mut code = CodeSection::new();
    let mut body = Function::new([]);
    let mut instructions = body.instructions();
    instructions.unreachable();
    for _ in 0..120 {
        instructions.call(0);
    }
    instructions.end();
    for _ in 0..1_000 {
        functions.function(0);
        code.function(&body);
    }
    let mut module = wasm_encoder::Module::new();
    module.section(&types).section(&functions).section(&code);
    refused_at_once(&module.finish(), "module_work");
}

#[test]
fn a_deep_constant_expression() {
    let _alone = alone();
    // The interpreter evaluates and drops an expression recursively. This one would take 10 MB of
    // native stack.
    let mut init = ConstExpr::i32_const(1);
    for _ in 0..100_000 {
        init = init.with_i32_const(1).with_i32_add();
    }
    let mut globals = wasm_encoder::GlobalSection::new();
    let ty = wasm_encoder::GlobalType { val_type: ValType::I32, mutable: false, shared: false };
    globals.global(ty, &init);
    let mut module = wasm_encoder::Module::new();
    module.section(&globals);
    refused_at_once(&module.finish(), "constant_operators");
}

#[test]
fn many_segments_with_long_offsets() {
    let _alone = alone();
    let mut memories = MemorySection::new();
    memories.memory(wasm_encoder::MemoryType {
        minimum: 0,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    let mut offset = ConstExpr::i32_const(i32::MAX);
    for _ in 0..15 {
        offset = offset.with_i32_const(i32::MAX).with_i32_add();
    }
    let mut data = DataSection::new();
    for _ in 0..20_000 {
        data.active(0, &offset, []);
    }
    let mut module = wasm_encoder::Module::new();
    module.section(&memories).section(&data);
    refused(
        &module.finish(),
        "the module has 2486978 bytes of code that applies its segments; the limit `function_bytes` is 524288",
    );
}

#[test]
fn a_function_at_the_limits_of_bytes_and_of_work_is_translated_within_the_budget() {
    let _alone = alone();
    let mut types = TypeSection::new();
    types.ty().function([], []);
    types.ty().function([], std::iter::repeat_n(ValType::V128, 1_000));
    let mut body = Function::new([(1, ValType::I32)]);
    body.instructions().block(BlockType::FunctionType(1));
    for _ in 0..1_000 {
        body.instructions().v128_const(1);
    }
    // Each of these branches makes 1,000 copies of the largest kind.
    for _ in 0..128 {
        body.instructions().local_get(0).br_if(0);
    }
    body.instructions().end();
    for _ in 0..1_000 {
        body.instructions().drop();
    }
    while body.byte_len() < (512 << 10) - 10 {
        body.instructions().local_get(0).i32_eqz().i32_popcnt().i32_eqz().local_set(0);
    }
    body.instructions().end();
    let mut functions = FunctionSection::new();
    functions.function(0);
    let mut exports = ExportSection::new();
    exports.export("run", ExportKind::Func, 0);
    let mut code = CodeSection::new();
    code.function(&body);
    let mut module = wasm_encoder::Module::new();
    module.section(&types).section(&functions).section(&exports).section(&code);
    assert_eq!(explode(&module.finish()), Ok(()));
}

/// Encodes modules of about this size, with the section that most of it is in.
fn modules(bytes: usize) -> [(&'static str, Vec<u8>); 5] {
    let hex = "11".repeat(bytes).replace("11", "\\11");
    let grow = "(drop (memory.grow (i32.const 1)))";
    let body = format!(
        "(func (param i32) {grow} {})",
        "(drop (i32.add (local.get 0) (i32.const 70000)))".repeat(60)
    );
    let items = "$f ".repeat(bytes / 10);
    let module = |text: String| wat::parse_str(format!("(module (memory 16) {text})")).unwrap();
    let imported =
        format!(r#"(module (import "e" "g" (global i32)) (memory 16) (data (global.get 0) "{hex}"))"#);
    let imported = wat::parse_str(imported).unwrap();
    [
        ("code", module(body.repeat(bytes / 550))),
        ("passive data", module(format!("(data \"{hex}\")"))),
        ("active data", imported),
        ("image", module(format!("(data (i32.const 0) \"{hex}\")"))),
        ("elements", module(format!("(table 100000 funcref) (func $f) (elem (i32.const 0) {items})"))),
    ]
}

fn peak_of<R>(load: impl FnOnce() -> R) -> usize {
    HEAP.measure(|| drop(load())).0.peak
}

/// What a load may take of the heap for a module of any size.
const FIXED_BYTES: usize = 4 << 10;

/// Loads a module with wasmi alone, which validates it if it does so for the engine.
#[cfg(feature = "lazy-validation")]
fn plainly(engine: &wasmi::Engine, wasm: &[u8]) -> wasmi::Module {
    wasmi::Module::new(engine, wasm).unwrap()
}

#[cfg(not(feature = "lazy-validation"))]
fn plainly(engine: &wasmi::Engine, wasm: &[u8]) -> wasmi::Module {
    // SAFETY: the caller's modules are valid.
    unsafe { wasmi::Module::new_unchecked(engine, wasm) }.unwrap()
}

#[test]
fn a_load_copies_the_module_once_beyond_what_the_interpreter_needs() {
    let _alone = alone();
    let bytes = Box::leak(vec![MaybeUninit::uninit(); 1 << 20].into_boxed_slice());
    let backing = Fixed::new(bytes);
    for (name, wasm) in [20 << 10, 1 << 20].into_iter().flat_map(modules) {
        let mut config = wasmi::Config::default();
        config.compilation_mode(wasmi::CompilationMode::Lazy);
        let plain = wasmi::Engine::new(&config);
        let needed = peak_of(|| plainly(&plain, &wasm));
        let engine = Engine::new(Config::default(), backing.clone()).unwrap();
        let taken = peak_of(|| Module::new(&engine, &wasm).unwrap());
        let more = taken.saturating_sub(needed);
        println!("{name}: {taken} and {needed} bytes, {} % of {} more", more * 100 / wasm.len(), wasm.len());
        let allowed = wasm.len() / 10 * 12 + FIXED_BYTES;
        assert!(more <= allowed, "{name}: {more} bytes more for {}", wasm.len());
    }
}
