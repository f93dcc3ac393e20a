//! The first calls of all functions of a guest, with a heap that has nothing left but the reserve.
//!
//! wasmi translates a function at its first call, where an allocation that fails ends the process.
//! So a case here fails by an abort if the engine sets aside less than the translation takes. This
//! is a separate binary because its global allocator is a [`HeapBudget`] over a heap whose size it
//! sets.

#![expect(clippy::unwrap_used, reason = "a test ends where its expectation fails")]

use palimpsest_counting::{CountingHeap, OneTest, Turn};
use palimpsest_engine::{
    Config, Engine, Fixed, Fuel, HeapBudget, Limits, Linker, Module, ModuleError, OutOfHeap, Store,
};
use std::mem::MaybeUninit;

static HEAP: HeapBudget<CountingHeap> = HeapBudget::new(CountingHeap::new());

// SAFETY: the budget and the counting heap pass everything to the system's allocator.
#[global_allocator]
static OF_TESTS: OneTest<HeapBudget<CountingHeap>> = unsafe { OneTest::new(&HEAP) };

/// Instructions that take much heap when they are translated, each kind in its own way.
struct Code {
    name: &'static str,
    before: Vec<u8>,
    repeated: Vec<u8>,
    after: Vec<u8>,
}

const NOP: u8 = 0x01;
const DROP: u8 = 0x1a;
const BLOCK: u8 = 0x02;
const END: u8 = 0x0b;
const VOID: u8 = 0x40;
const I64: u8 = 0x7e;
/// `local.get` of the local of type `i32`, which is 0.
const CONDITION: [u8; 2] = [0x20, 1];
/// An immediate of 64 bits.
const LONG: [u8; 10] = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0];
/// `v128.const`.
const VECTOR: [u8; 18] = [0xfd, 0x0c, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
/// The index of the type with ten parameters and ten results.
const TEN: u8 = 1;
/// The index of a function that does nothing.
const NOTHING: u8 = 0;

fn codes() -> Vec<Code> {
    let code = |name, before: &[u8], repeated: &[u8], after: &[u8]| Code {
        name,
        before: before.into(),
        repeated: repeated.into(),
        after: after.into(),
    };
    let branch = [&CONDITION[..], &[0x0d, 0]].concat();
    let ten = [0x42, 1].repeat(10);
    // A table that leads to two labels in turn. If all lead to one, wasmi makes a branch of it.
    let table =
        [&[BLOCK, VOID, BLOCK, VOID][..], &CONDITION, &[0x0e, 100], &[0, 1].repeat(50), &[0, END, END]]
            .concat();
    vec![
        code("calls", &[], &[0x10, NOTHING], &[]),
        code("if else", &[], &[&CONDITION[..], &[0x04, VOID, 0x05, END]].concat(), &[]),
        code("loops", &[], &[0x03, VOID, END], &[]),
        code("branches", &[], &branch, &[]),
        code("branches with a result", &[BLOCK, I64, 0x42, 1], &branch, &[END, DROP]),
        code(
            "branches with ten results",
            &[&ten[..], &[BLOCK, TEN]].concat(),
            &branch,
            &[&[END][..], &[DROP; 10]].concat(),
        ),
        code("branch tables", &[], &table, &[]),
        code("constants", &[], &[0x42, 1, 0x24, 0], &[]),
        code("globals", &[], &[0x23, 0, 0x24, 0], &[]),
        code("unary operations", &[0x20, 0], &[0x79], &[DROP]),
        code("unary operations on floats", &[0x44, 0, 0, 0, 0, 0, 0, 0, 0], &[0x9a], &[DROP]),
        code("vector operations", &[0x41, 0, 0xfd, 15], &[0xfd, 77], &[DROP]),
        code("fills", &[], &[0x41, 0, 0x41, 0, 0x41, 0, 0xfc, 11, 0], &[]),
        code("growth", &[], &[0x41, 0, 0x40, 0, DROP], &[]),
        code("results on the stack", &[BLOCK, VOID], &[0x20, 0, 0x79], &[0x0c, 0, END]),
        code("locals before blocks", &[BLOCK, VOID], &[0x20, 0, BLOCK, VOID, END], &[0x0c, 0, END]),
        code("locals before writes", &[BLOCK, VOID], &[0x20, 0, 0x42, 1, 0x21, 0], &[0x0c, 0, END]),
        code("writes", &[], &[0x42, 1, 0x21, 0], &[]),
        code("additions of long constants", &[0x20, 0], &[&[0x42][..], &LONG, &[0x7c]].concat(), &[DROP]),
        code("comparisons", &[], &[&[0x20, 0, 0x42][..], &LONG, &[0x51, 0x0d, 0]].concat(), &[]),
        code("tests for zero", &[], &[0x20, 0, 0x50, DROP], &[]),
        code("selects", &[], &[&[0x20, 0, 0x42][..], &LONG, &CONDITION, &[0x1b, DROP]].concat(), &[]),
        code("far loads", &[], &[0x20, 1, 0x29, 3, 0x80, 0x80, 4, DROP], &[]),
        code("near loads", &[0x20, 1], &[0x28, 0, 0], &[DROP]),
        code("far stores", &[], &[&[0x20, 1, 0x42][..], &LONG, &[0x37, 0, 0x80, 0x80, 4]].concat(), &[]),
        code("near stores", &[], &[0x20, 1, 0x20, 0, 0x37, 0, 0], &[]),
        code(
            "if with a result",
            &[],
            &[&CONDITION[..], &[0x04, I64, 0x42, 1, 0x05, 0x42, 2, END, DROP]].concat(),
            &[],
        ),
        // Not dense, because the operands that a function moves are limited.
        code("blocks with ten parameters", &ten, &[&[BLOCK, TEN, END][..], &[NOP; 24]].concat(), &[DROP; 10]),
        code("vectors of constants", &[], &[&VECTOR[..], &VECTOR, &[0xfd, 0x6e, DROP]].concat(), &[]),
        code("vectors of locals", &[0x41, 0, 0xfd, 15], &[0x41, 0, 0xfd, 15, 0xfd, 0x6e], &[DROP]),
        code("shuffles", &VECTOR, &[&[0x41, 0, 0xfd, 15, 0xfd, 0x0d][..], &[7; 16]].concat(), &[DROP]),
        code(
            "selects of bits",
            &[0x41, 0, 0xfd, 15],
            &[&VECTOR[..], &VECTOR, &[0xfd, 0x52]].concat(),
            &[DROP],
        ),
        code(
            "loads of lanes",
            &[0x41, 0, 0xfd, 15, 0x21, 2],
            &[0x20, 1, 0x20, 2, 0xfd, 0x54, 0, 0, 0, DROP],
            &[],
        ),
        code("wide additions", &[], &[0x20, 0, 0x42, 1, 0x42, 2, 0x42, 3, 0xfc, 19, DROP, DROP], &[]),
        code("copies", &[], &[0x41, 0, 0x41, 0, 0x41, 0, 0xfc, 10, 0, 0], &[]),
        code("calls above results", &[BLOCK, VOID], &[0x20, 0, 0x79, 0x10, NOTHING], &[0x0c, 0, END]),
        code("nothing", &[], &[], &[]),
    ]
}

fn number(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    bytes.push(value.to_le_bytes()[0]);
    bytes
}

fn counted(bytes: &[u8]) -> Vec<u8> {
    [&number(bytes.len())[..], bytes].concat()
}

fn section(id: u8, items: &[Vec<u8>]) -> Vec<u8> {
    let contents = [&number(items.len())[..], &items.concat()].concat();
    [&[id][..], &counted(&contents)].concat()
}

/// Encodes a module with `functions` functions of about `bytes` each, and `run`, which calls all.
fn module(code: &Code, functions: usize, bytes: usize) -> Vec<u8> {
    // Three locals. The code is skipped when it runs.
    let fixed = 7 + 9 + code.before.len() + code.after.len();
    let repeats = bytes.saturating_sub(fixed) / code.repeated.len().max(1);
    let body = if code.repeated.is_empty() {
        vec![0, END]
    } else {
        [
            &[3, 1, I64, 1, 0x7f, 1, 0x7b][..],
            &[BLOCK, VOID, 0x20, 1, 0x45, 0x0d, 0],
            &code.before,
            &code.repeated.repeat(repeats),
            &code.after,
            &[END, END],
        ]
        .concat()
    };
    let calls: Vec<u8> = (0..functions).flat_map(|index| [vec![0x10], number(index + 2)].concat()).collect();
    let run = [&[0][..], &calls, &[END]].concat();
    let ten = [&[0x60, 10][..], &[I64; 10], &[10], &[I64; 10]].concat();
    let mut bodies = vec![counted(&[0, END]), counted(&run)];
    bodies.extend((0..functions).map(|_| counted(&body)));
    [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, &[vec![0x60, 0, 0], ten]),
        section(3, &vec![vec![0]; functions + 2]),
        section(5, &[vec![1, 1, 2]]),
        section(6, &[vec![I64, 1, 0x42, 0, END]]),
        section(7, &[[&counted(b"run")[..], &[0, 1]].concat()]),
        section(10, &bodies),
    ]
    .concat()
}

fn engine(fuel: Fuel) -> Engine {
    let backing = Box::leak(vec![MaybeUninit::uninit(); 4 << 16].into_boxed_slice());
    let mut limits = Limits::default();
    // Almost all of the reserve is for the code.
    (limits.stack_bytes, limits.call_depth) = (8_000, 100);
    let config = Config::default().limits(limits).heap(&HEAP).fuel(fuel);
    Engine::new(config, Fixed::new(backing)).unwrap()
}

/// Loads and instantiates `wasm`, leaves nothing of the heap but the reserve, and calls `run`.
/// Returns the error.
fn run_without_heap(fuel: Fuel, wasm: &[u8]) -> Option<OutOfHeap> {
    let engine = engine(fuel);
    let module = Module::new(&engine, wasm).unwrap();
    let mut store = Store::new(&engine, ());
    _ = store.set_fuel(u64::MAX);
    let instance = Linker::new().instantiate(&mut store, &module).unwrap();
    let run = instance.get_typed_func::<(), ()>(&store, "run").unwrap();
    HEAP.inner().limit_to(0);
    let returned = run.call(&mut store, ());
    HEAP.inner().lift_limit();
    let error = returned.err().map(|error| *error.downcast_ref::<OutOfHeap>().unwrap());
    drop((store, module, engine));
    assert!(HEAP.has_reserve());
    error
}

#[test]
fn the_first_calls_of_all_functions_fit_the_reserve() {
    let _turn = Turn::wait();
    for code in codes() {
        // The first translations fill buffers that double. Their worst lengths differ by kind.
        for (functions, bytes) in [(5_000, 0), (400, 100), (3, 6_200), (3, 9_150), (2, 9_410), (1, 40_000)] {
            for fuel in [Fuel::Unmetered, Fuel::Metered] {
                println!("{}: {functions} functions of {bytes} bytes, {fuel:?}", code.name);
                let error = run_without_heap(fuel, &module(&code, functions, bytes));
                assert!(matches!(error, Some(OutOfHeap::Exhausted { .. })), "{error:?}");
            }
        }
    }
}

#[test]
fn each_kind_of_code_takes_at_most_what_is_counted_for_it() {
    /// Copies of the module. For each of them the same is set aside, and then rounded up by an
    /// eighth at most.
    const COPIES: usize = 16;
    /// What the buffers of the translation and the stack take.
    const BUFFERS: usize = 40_000;
    let _turn = Turn::wait();
    for code in codes() {
        for fuel in [Fuel::Unmetered, Fuel::Metered] {
            let wasm = module(&code, 120, 300);
            let engine = engine(fuel);
            let modules: Vec<_> = (0..COPIES).map(|_| Module::new(&engine, &wasm).unwrap()).collect();
            let counted = HEAP.reserve_bytes() / COPIES;
            let mut store = Store::new(&engine, ());
            _ = store.set_fuel(u64::MAX);
            let instance = Linker::new().instantiate(&mut store, &modules[0]).unwrap();
            let run = instance.get_typed_func::<(), ()>(&store, "run").unwrap();
            let (growth, returned) = HEAP.inner().measure(|| run.call(&mut store, ()));
            returned.unwrap();
            // wasmi frees the original of a body when it has translated it.
            let taken = growth.left + wasm.len();
            println!("{}, {fuel:?}: {taken} bytes of {counted}", code.name);
            assert!(taken <= counted + BUFFERS, "{}, {fuel:?}: {taken} bytes of {counted}", code.name);
        }
    }
}

#[test]
fn a_module_is_refused_if_the_heap_has_no_room_for_its_translation() {
    let _turn = Turn::wait();
    let calls = &codes()[0];
    let wasm = module(calls, 10, 10_000);
    let load = |free_bytes| {
        let engine = engine(Fuel::Unmetered);
        HEAP.inner().limit_to(free_bytes);
        let loaded = Module::new(&engine, &wasm).map(drop);
        HEAP.inner().lift_limit();
        loaded
    };
    // 100 KB of code need 12 times as much, and 72 times one function.
    assert!(matches!(load(1 << 20), Err(ModuleError::OutOfHeap)));
    assert!(load(4 << 20).is_ok());
    assert!(HEAP.has_reserve());
}
