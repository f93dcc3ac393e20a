//! Guests at all their limits at once, within the heap that their limits are computed for.
//!
//! This is a separate binary because its allocator counts. A guest is loaded and instantiated. It
//! grows its tables, calls functions of every kind for the first time, and fills one stack from
//! inside of another. All of it stays alive until the end.

#![expect(clippy::unwrap_used, reason = "a test ends where its expectation fails")]

use palimpsest_counting::CountingHeap;
use palimpsest_engine::{
    AsContextMut, Caller, Config, Engine, Extern, Fixed, Fuel, Limits, Linker, Memory, Module, Store,
};
use std::{boxed::Box, mem::MaybeUninit};
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, DataSection, ElementSection, Elements, EntityType, ExportKind,
    ExportSection, Function, FunctionSection, GlobalSection, GlobalType, ImportSection, Instruction,
    MemorySection, MemoryType, RefType, TableSection, TableType, TypeSection, ValType,
};

#[global_allocator]
static HEAP: CountingHeap = CountingHeap::new();

/// Instructions that fill the functions.
struct Code {
    name: &'static str,
    instructions: Vec<Instruction<'static>>,
    /// The operands that they move, as [`Limits::function_work`] counts them.
    work: u32,
}

/// Returns instructions that are expensive to translate, each in its own way. The first two take
/// the most heap.
fn codes() -> Vec<Code> {
    use Instruction as I;
    let result = BlockType::Result(ValType::I64);
    let null = I::RefNull(wasm_encoder::HeapType::FUNC);
    let mut wide = vec![I::Block(BlockType::FunctionType(WIDE_TYPE))];
    wide.extend([const { I::I64Const(1) }; 32]);
    (0..5).for_each(|_| wide.extend([I::LocalGet(1), I::BrIf(0)]));
    wide.push(I::End);
    wide.extend([const { I::Drop }; 32]);
    let carried = vec![I::Block(result), I::I64Const(1), I::LocalGet(1), I::BrIf(0), I::End, I::Drop];
    let float = vec![I::LocalGet(0), I::F64ReinterpretI64, I::F64Neg, I::F64Sqrt, I::F64Neg, I::Drop];
    let bits = vec![I::LocalGet(0), I::I64Clz, I::I64Clz, I::I64Clz, I::I64Clz, I::LocalSet(0)];
    let fill = [I::LocalGet(1), I::LocalGet(1), I::LocalGet(1), I::MemoryFill(0)];
    // Few enough for guards.
    let mut spaced_fills = fill.to_vec();
    (0..40).for_each(|_| spaced_fills.extend([I::GlobalGet(0), I::GlobalSet(0)]));
    let codes = [
        ("calls", 0, vec![I::Call(0)]),
        ("ifs", 0, vec![I::LocalGet(1), I::If(BlockType::Empty), I::Else, I::End]),
        ("branches", 0, vec![I::LocalGet(1), I::BrIf(0)]),
        ("wide branches", 256, wide),
        ("carried results", 4, carried),
        ("results", 3, vec![I::Block(result), I::GlobalGet(0), I::End, I::Drop]),
        ("loops", 0, vec![I::Loop(BlockType::Empty), I::End]),
        ("globals", 0, vec![I::GlobalGet(0), I::GlobalSet(0)]),
        ("constants", 0, vec![I::I64Const(1), I::GlobalSet(0)]),
        ("floats", 0, float),
        ("bits", 0, bits),
        ("tests", 0, vec![I::LocalGet(0), I::I64Eqz, I::Drop]),
        ("sizes", 0, vec![I::TableSize(0), I::Drop]),
        ("fills", 42, fill.into()),
        ("spaced fills", 42, spaced_fills),
        ("grows", 0, vec![null, I::I32Const(0), I::TableGrow(0), I::Drop]),
    ];
    codes.map(|(name, work, instructions)| Code { name, instructions, work }).into()
}

/// Section entries that fill the module.
#[derive(Clone, Copy, Debug)]
enum Entry {
    Type,
    DistinctType,
    WideType,
    Function,
    Export,
    LongExport,
    Global,
    Element,
    PassiveElement,
    Items,
    Data,
    PassiveData,
    Memory,
}

const ENTRIES: [Entry; 13] = [
    Entry::Type,
    Entry::DistinctType,
    Entry::WideType,
    Entry::Function,
    Entry::Export,
    Entry::LongExport,
    Entry::Global,
    Entry::Element,
    Entry::PassiveElement,
    Entry::Items,
    Entry::Data,
    Entry::PassiveData,
    Entry::Memory,
];

/// The functions that every guest has: the import `again`, `run`, `deep`, and `grow`.
const AGAIN: u32 = 0;
const RUN: u32 = 1;
const DEEP: u32 = 2;
const GROW: u32 = 3;
const FIRST_FILLED: u32 = 4;

/// The type of blocks with 32 results.
const WIDE_TYPE: u32 = 2;

/// Encodes a guest that is at the limits, with functions full of `code` and sections full of
/// `entry`.
fn guest(limits: &Limits, code: &Code, entry: Entry) -> Vec<u8> {
    // The entries of the parts that every guest has.
    let fixed = 3 + 1 + 3 + 1 + 1 + 1 + 3 + 1;
    let mut left = limits.module_entries - fixed;
    let per_function = limits.function_bytes - 8;
    let functions = u32::try_from((limits.code_bytes - 300) / (per_function + 8)).unwrap();
    let (body, rounds) = filled(per_function, limits.function_work, code);
    let module_work = u32::try_from(limits.module_work).unwrap() - 100;
    let functions = functions.min(left / 2).min(module_work / (rounds * code.work + 2));
    left -= functions;
    let extra = |kind: Entry| {
        let is_asked = core::mem::discriminant(&kind) == core::mem::discriminant(&entry);
        // The code that applies active segments has up to 16 bytes for each.
        let is_applied = matches!(kind, Entry::Element | Entry::Data);
        let applied =
            if is_applied { u32::try_from(limits.function_bytes / 16 - 1).unwrap() } else { u32::MAX };
        if is_asked { left.min(limits.section_entries - fixed - functions).min(applied) } else { 0 }
    };
    // Bytes of header sections for each of the extra entries.
    let per_entry = limits.header_bytes * 3 / 4 / left as usize;

    let mut types = TypeSection::new();
    types.ty().function([], []);
    types.ty().function([ValType::I32], []);
    types.ty().function([], [ValType::I64; 32]);
    for number in 0..extra(Entry::Type) {
        types.ty().function([ValType::I32], (number % 2 == 0).then_some(ValType::I64));
    }
    for number in 0..extra(Entry::DistinctType) {
        types
            .ty()
            .function((0..8).map(|bit| if number >> bit & 1 == 0 { ValType::I32 } else { ValType::I64 }), []);
    }
    for number in 0..extra(Entry::WideType) {
        let wide = [ValType::I32, ValType::I64][number as usize % 2];
        let params = (per_entry * 10).min(1000);
        let is_within = (number as usize + 1) * params < limits.header_bytes * 3 / 4;
        types
            .ty()
            .function(core::iter::repeat_n(wide, if is_within { params.saturating_sub(4) } else { 0 }), []);
    }
    let mut imports = ImportSection::new();
    imports.import("env", "again", EntityType::Function(0));
    let empty_functions = extra(Entry::Function);
    let mut declared = FunctionSection::new();
    declared.function(0).function(1).function(0);
    (0..functions + empty_functions).for_each(|_| _ = declared.function(0));
    let mut tables = TableSection::new();
    tables.table(TableType {
        element_type: RefType::FUNCREF,
        table64: false,
        minimum: 1,
        maximum: None,
        shared: false,
    });
    let mut memories = MemorySection::new();
    let memory =
        MemoryType { minimum: 0, maximum: None, memory64: false, shared: false, page_size_log2: None };
    let memory_count = extra(Entry::Memory).min(u32::try_from(limits.memories).unwrap() - 1);
    (0..=memory_count).for_each(|_| _ = memories.memory(memory));
    let mut globals = GlobalSection::new();
    let i64_global = GlobalType { val_type: ValType::I64, mutable: true, shared: false };
    (0..=extra(Entry::Global)).for_each(|_| _ = globals.global(i64_global, &ConstExpr::i64_const(0)));
    let mut exports = ExportSection::new();
    for (name, index) in [("run", RUN), ("deep", DEEP), ("grow", GROW)] {
        exports.export(name, ExportKind::Func, index);
    }
    for number in 0..extra(Entry::Export) {
        exports.export(&number.to_string(), ExportKind::Func, RUN);
    }
    for number in 0..extra(Entry::LongExport) {
        exports.export(&format!("{number:0width$}", width = per_entry - 5), ExportKind::Func, RUN);
    }
    let mut elements = ElementSection::new();
    let zero = ConstExpr::i32_const(0);
    for _ in 0..extra(Entry::Element) {
        elements.active(None, &zero, Elements::Functions([RUN][..].into()));
    }
    for _ in 0..extra(Entry::PassiveElement) {
        elements.passive(Elements::Functions([RUN][..].into()));
    }
    if matches!(entry, Entry::Items) {
        elements.passive(Elements::Functions(vec![RUN; limits.element_items as usize].into()));
    }
    let mut data = DataSection::new();
    (0..extra(Entry::Data)).for_each(|_| _ = data.active(0, &zero, []));
    (0..extra(Entry::PassiveData)).for_each(|_| _ = data.passive([]));

    let mut bodies = CodeSection::new();
    bodies.function(&run(functions)).function(&deep()).function(&grow());
    (0..functions).for_each(|_| _ = bodies.function(&body));
    let mut empty = Function::new([]);
    empty.instruction(&Instruction::End);
    (0..empty_functions).for_each(|_| _ = bodies.function(&empty));

    let mut module = wasm_encoder::Module::new();
    module.section(&types).section(&imports).section(&declared).section(&tables).section(&memories);
    module.section(&globals).section(&exports).section(&elements).section(&bodies).section(&data);
    let mut wasm = module.finish();
    // The rest of the module's bytes are in one passive segment.
    let rest = limits.module_bytes.saturating_sub(wasm.len() + 16);
    if data.is_empty() {
        let mut data = DataSection::new();
        data.passive(core::iter::repeat_n(7, rest));
        let mut module = wasm_encoder::Module::new();
        module.section(&types).section(&imports).section(&declared).section(&tables).section(&memories);
        module.section(&globals).section(&exports).section(&elements).section(&bodies).section(&data);
        wasm = module.finish();
    }
    wasm
}

/// Calls every filled function.
fn run(functions: u32) -> Function {
    let mut body = Function::new([]);
    for index in 0..functions.min(60) {
        body.instruction(&Instruction::Call(FIRST_FILLED + index));
    }
    body.instruction(&Instruction::End);
    body
}

/// Calls itself, its argument times, and `again` at the end.
fn deep() -> Function {
    use Instruction as I;
    let mut body = Function::new([(1, ValType::I64)]);
    for instruction in [
        I::LocalGet(0),
        I::I32Eqz,
        I::If(BlockType::Empty),
        I::Call(AGAIN),
        I::Else,
        I::LocalGet(0),
        I::I32Const(1),
        I::I32Sub,
        I::Call(DEEP),
        I::End,
        I::End,
    ] {
        body.instruction(&instruction);
    }
    body
}

/// Grows the table by one element until that fails.
fn grow() -> Function {
    use Instruction as I;
    let mut body = Function::new([]);
    for instruction in [
        I::Loop(BlockType::Empty),
        I::RefNull(wasm_encoder::HeapType::FUNC),
        I::I32Const(1),
        I::TableGrow(0),
        I::I32Const(-1),
        I::I32Ne,
        I::BrIf(0),
        I::End,
        I::End,
    ] {
        body.instruction(&instruction);
    }
    body
}

/// Fills a function of up to `bytes` with `code`, and returns how often it contains it. Most of it
/// is skipped when it runs.
fn filled(bytes: usize, work: u32, code: &Code) -> (Function, u32) {
    use Instruction as I;
    let mut body = Function::new([(1, ValType::I64), (1, ValType::I32)]);
    for instruction in [I::Block(BlockType::Empty), I::LocalGet(0), I::I64Eqz, I::BrIf(0)] {
        body.instruction(&instruction);
    }
    let mut rounds = 0;
    loop {
        let before = body.byte_len();
        for instruction in &code.instructions {
            body.instruction(instruction);
        }
        rounds += 1;
        let round = body.byte_len() - before;
        if body.byte_len() + round + 2 > bytes || (rounds + 1) * code.work + 2 > work {
            break;
        }
    }
    body.instruction(&I::End).instruction(&I::End);
    (body, rounds)
}

/// Runs the guest, keeps everything alive, and returns the peak of the heap.
fn peak_of(limits: Limits, fuel: Fuel, wasm: &[u8]) -> usize {
    let backing = Box::leak(vec![MaybeUninit::uninit(); 1 << 20].into_boxed_slice());
    let (growth, ()) = HEAP.measure(|| {
        let engine = Engine::new(Config::default().limits(limits).fuel(fuel), Fixed::new(backing)).unwrap();
        let module = Module::new(&engine, wasm).unwrap();
        let mut linker = Linker::new();
        let overflow = |mut caller: Caller<'_, u32>| {
            *caller.data_mut() += 1;
            let deep = caller.get_export("deep").and_then(Extern::into_func).unwrap();
            let arguments = [palimpsest_engine::Val::I32(i32::MAX)];
            assert!(deep.call(caller.as_context_mut(), &arguments, &mut []).is_err());
        };
        linker.func_wrap("env", "again", overflow).unwrap();
        let mut store = Store::new(&engine, 0);
        _ = store.set_fuel(u64::MAX);
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let grow = instance.get_typed_func::<(), ()>(&store, "grow").unwrap();
        grow.call(&mut store, ()).unwrap();
        let run = instance.get_typed_func::<(), ()>(&store, "run").unwrap();
        run.call(&mut store, ()).unwrap();
        let deep = instance.get_typed_func::<u32, ()>(&store, "deep").unwrap();
        // As deep as fits into the outer stack.
        let mut depth = u32::try_from(limits.call_depth).unwrap();
        while deep.call(&mut store, depth).is_err() {
            depth = depth * 7 / 8;
        }
        assert!(*store.data() > 0, "the inner stack was filled");
    });
    growth.peak
}

fn check(bytes: usize, cases: impl IntoIterator<Item = (Code, Entry)>) {
    let limits = Limits::for_heap(bytes);
    let mut worst = 0;
    for (code, entry) in cases {
        let (body, _) = filled(limits.function_bytes - 8, limits.function_work, &code);
        if body.byte_len() + 8 > limits.function_bytes {
            println!("{}: once is more than a function may have", code.name);
            continue;
        }
        let wasm = guest(&limits, &code, entry);
        for fuel in [Fuel::Unmetered, Fuel::Metered] {
            let peak = peak_of(limits, fuel, &wasm);
            println!("{}, {entry:?}, {fuel:?}: {peak} of {bytes} bytes, {} %", code.name, peak * 100 / bytes);
            worst = worst.max(peak);
        }
    }
    assert!(worst <= bytes, "a guest took {worst} bytes of {bytes}");
}

fn all_cases() -> impl Iterator<Item = (Code, Entry)> {
    let with_functions = codes().into_iter().map(|code| (code, Entry::Function));
    let worst = || codes().into_iter().take(2);
    let entries = ENTRIES.into_iter().flat_map(move |entry| worst().map(move |code| (code, entry)));
    with_functions.chain(entries)
}

#[test]
fn a_guest_at_all_limits_fits_32_kib() {
    check(32 << 10, all_cases());
}

#[test]
fn a_guest_at_all_limits_fits_64_kib() {
    check(64 << 10, all_cases());
}

#[test]
fn a_guest_at_all_limits_fits_1_mib() {
    check(1 << 20, all_cases());
}

#[test]
fn a_guest_at_all_limits_fits_32_mib() {
    check(32 << 20, codes().into_iter().zip([Entry::Function, Entry::Element, Entry::DistinctType]));
}

#[test]
fn a_backing_on_the_heap_takes_nothing_without_a_memory() {
    let live = |backing: &Fixed| {
        let engine = Engine::new(Config::default(), backing.clone()).unwrap();
        let mut stores: Vec<_> = (0..3).map(|_| Store::new(&engine, ())).collect();
        for store in &mut stores {
            Memory::new(store, palimpsest_engine::MemoryType::new(1, Some(2))).unwrap();
        }
    };
    // The first engine of a program sets up what all of them share.
    live(&Fixed::on_heap(1 << 16));
    let backing = Fixed::on_heap(1 << 16);
    let (growth, ()) = HEAP.measure(|| live(&backing));
    assert!(growth.peak > 3 << 16, "the memories are on the heap");
    assert_eq!(growth.left, 0);
}
