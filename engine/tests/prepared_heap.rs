//! The heap that loading a prepared module takes, and what is set aside for it.
//!
//! This is a separate binary because its global allocator is a [`HeapBudget`] over a heap that
//! counts, and whose size a test can set.

#![expect(clippy::unwrap_used, reason = "a test ends where its expectation fails")]

use palimpsest_counting::{CountingHeap, Growth, OneTest, Turn};
use palimpsest_engine::{
    Config, Engine, Fixed, HeapBudget, Limits, Linker, Module, ModuleError, OutOfHeap, Store,
};
use std::mem::MaybeUninit;

static HEAP: HeapBudget<CountingHeap> = HeapBudget::new(CountingHeap::new());

// SAFETY: the budget and the counting heap pass everything to the system's allocator.
#[global_allocator]
static OF_TESTS: OneTest<HeapBudget<CountingHeap>> = unsafe { OneTest::new(&HEAP) };

/// Bytes of the data segment of the guest.
const DATA_BYTES: usize = 200_000;
/// Functions of the guest, besides the one that calls them all.
const FUNCTIONS: usize = 400;

/// Returns a guest with a data segment, with functions that take heap to translate, with names, and
/// with the function `run`, which calls all of them.
fn guest() -> Vec<u8> {
    let body = "(block (result i64) (br_if 0 (i64.const 1) (local.get 0))) drop ".repeat(20);
    let functions: String =
        (0..FUNCTIONS).map(|index| format!("(func $function_{index} (param i32) {body})")).collect();
    let calls: String =
        (0..FUNCTIONS).map(|index| format!("(call $function_{index} (i32.const 0))")).collect();
    let text = format!(
        r#"(module (memory (export "m") 4) (data (i32.const 16) "{}") {functions}
            (func (export "run") {calls}))"#,
        "d".repeat(DATA_BYTES)
    );
    wat::parse_str(text).unwrap()
}

fn engine(config: Config) -> Engine {
    let backing = Box::leak(vec![MaybeUninit::uninit(); 4 << 16].into_boxed_slice());
    let mut limits = Limits::default();
    // Almost all of the reserve is for the code.
    (limits.stack_bytes, limits.call_depth) = (8_000, 100);
    Engine::new(config.limits(limits), Fixed::new(backing)).unwrap()
}

fn load_prepared(engine: &Engine, file: &'static [u8]) -> Result<Module, ModuleError> {
    // SAFETY: the tests pass what `prepare` has returned.
    unsafe { Module::from_prepared(engine, file) }
}

/// Returns the bytes that `load` keeps, and those that it takes at its peak.
fn measured(load: impl FnOnce(&Engine) -> Result<Module, ModuleError>) -> (usize, usize) {
    let engine = engine(Config::default());
    let (Growth { left, peak }, module) = HEAP.inner().measure(|| load(&engine).unwrap());
    drop(module);
    (left, peak)
}

#[test]
fn loading_takes_neither_the_data_nor_a_copy_of_the_code() {
    let _turn = Turn::wait();
    let wasm = guest();
    let file: &'static [u8] = Module::prepare(&Config::default(), &wasm).unwrap().leak();
    let (kept, peak) = measured(|engine| Module::new(engine, &wasm));
    let (prepared_kept, prepared_peak) = measured(|engine| load_prepared(engine, file));
    println!(
        "{} bytes of Wasm, {} prepared; kept {kept} and {prepared_kept}, at the peak {peak} and {prepared_peak}",
        wasm.len(),
        file.len()
    );
    assert!(prepared_kept + DATA_BYTES <= kept);
    assert!(prepared_peak <= prepared_kept + prepared_kept / 5);
    assert!(prepared_peak + 2 * DATA_BYTES <= peak);
}

#[test]
fn an_instance_takes_its_data_out_of_the_file() {
    let _turn = Turn::wait();
    let file: &'static [u8] = Module::prepare(&Config::default(), &guest()).unwrap().leak();
    let engine = engine(Config::default());
    let module = load_prepared(&engine, file).unwrap();
    let mut store = Store::new(&engine, ());
    let instantiate = || Linker::new().instantiate(&mut store, &module).unwrap();
    let (growth, instance) = HEAP.inner().measure(instantiate);
    assert!(growth.peak < DATA_BYTES / 2, "{growth:?}");
    let memory = instance.get_memory(&store, "m").unwrap();
    assert!(memory.data(&store)[16..16 + DATA_BYTES].iter().all(|byte| *byte == b'd'));
}

/// Loads the guest, leaves nothing of the heap but the reserve, and calls all functions for the
/// first time. The process aborts if too little was set aside.
#[test]
fn the_first_calls_of_a_prepared_guest_fit_the_reserve() {
    let _turn = Turn::wait();
    let file: &'static [u8] = Module::prepare(&Config::default(), &guest()).unwrap().leak();
    let engine = engine(Config::default().heap(&HEAP));
    let module = load_prepared(&engine, file).unwrap();
    let mut store = Store::new(&engine, ());
    let instance = Linker::new().instantiate(&mut store, &module).unwrap();
    let run = instance.get_typed_func::<(), ()>(&store, "run").unwrap();
    HEAP.inner().limit_to(0);
    let returned = run.call(&mut store, ());
    HEAP.inner().lift_limit();
    let error = *returned.unwrap_err().downcast_ref::<OutOfHeap>().unwrap();
    assert!(matches!(error, OutOfHeap::Exhausted { .. }), "{error}");
    drop((store, module, engine));
    assert!(HEAP.has_reserve());
}

#[test]
fn a_prepared_guest_is_refused_if_the_heap_has_no_room_for_its_translation() {
    let _turn = Turn::wait();
    let file: &'static [u8] = Module::prepare(&Config::default(), &guest()).unwrap().leak();
    let load = |free_bytes| {
        let engine = engine(Config::default().heap(&HEAP));
        HEAP.inner().limit_to(free_bytes);
        let loaded = load_prepared(&engine, file).map(drop);
        HEAP.inner().lift_limit();
        loaded
    };
    assert!(matches!(load(256 << 10), Err(ModuleError::OutOfHeap)));
    assert!(load(8 << 20).is_ok());
    assert!(HEAP.has_reserve());
}
