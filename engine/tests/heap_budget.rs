//! The kernel heap as a resource: limits for each store, and a reserve.
//!
//! This is a separate binary because the global allocator of its tests is a [`HeapBudget`], over a
//! heap whose size each test sets.

#![expect(clippy::unwrap_used, reason = "a test ends where its expectation fails")]

use palimpsest_counting::{CountingHeap, OneTest, Turn};
use palimpsest_engine::{
    AsContextMut, Caller, Config, Engine, Error, Extern, Fixed, Fuel, HeapBudget, Instance, Limits, Linker,
    Lost, Module, ModuleError, OutOfHeap, Poll, Store, Task, TrapCode, Val,
};
use std::{boxed::Box, mem::MaybeUninit};

static HEAP: HeapBudget<CountingHeap> = HeapBudget::new(CountingHeap::new());

// SAFETY: the budget and the counting heap pass everything to the system's allocator.
#[global_allocator]
static OF_TESTS: OneTest<HeapBudget<CountingHeap>> = unsafe { OneTest::new(&HEAP) };

/// Bytes of the reserve.
const RESERVE: usize = 1 << 20;

/// The heap during a test: with a reserve, and unlimited again at the end.
struct TestHeap(#[expect(dead_code, reason = "it ends with the test")] Turn);

impl TestHeap {
    fn new() -> Self {
        let turn = Turn::wait();
        HEAP.set_reserve(RESERVE).unwrap();
        Self(turn)
    }

    /// Leaves only `bytes` free, besides the reserve.
    fn leave(&self, bytes: usize) {
        HEAP.inner().limit_to(bytes);
    }
}

impl Drop for TestHeap {
    fn drop(&mut self) {
        HEAP.inner().lift_limit();
    }
}

/// Blocks of the kernel heap that a host function keeps for its guest.
type Blocks = Vec<Vec<u8>>;

fn engine_with(change: impl FnOnce(&mut Limits)) -> Engine {
    let bytes = Box::leak(vec![MaybeUninit::uninit(); 1 << 20].into_boxed_slice());
    let mut limits = Limits::default();
    change(&mut limits);
    let config = Config::default().limits(limits).heap(&HEAP);
    Engine::new(config, Fixed::new(bytes)).unwrap()
}

/// Creates a store with one instance. Its imports are `env.keep`, which keeps a block of so many
/// bytes, and `env.nothing`.
fn start(engine: &Engine, wat: &str) -> (Store<Blocks>, Instance) {
    let module = Module::new(engine, &wat::parse_str(wat).unwrap()).unwrap();
    let mut linker = Linker::new();
    let keep = |mut caller: Caller<'_, Blocks>, bytes: u32| caller.data_mut().push(vec![7; bytes as usize]);
    linker.func_wrap("env", "keep", keep).unwrap();
    linker.func_wrap("env", "nothing", || {}).unwrap();
    let mut store = Store::new(engine, Blocks::new());
    let instance = linker.instantiate(&mut store, &module).unwrap();
    (store, instance)
}

fn call(store: &mut Store<Blocks>, instance: Instance, argument: u32) -> Result<u32, Error> {
    instance.get_typed_func::<u32, u32>(&*store, "run")?.call(store, argument)
}

fn out_of_heap(result: Result<u32, Error>) -> OutOfHeap {
    *result.unwrap_err().downcast_ref::<OutOfHeap>().expect("the error is `OutOfHeap`")
}

/// Keeps blocks of 1,000 bytes, whose number is its argument, and returns 1.
const KEEPER: &str = r#"(module (import "env" "keep" (func $keep (param i32)))
    (func (export "run") (param i32) (result i32)
        (loop $again
            (if (local.get 0) (then
                (call $keep (i32.const 1000))
                (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
                (br $again))))
        (i32.const 1)))"#;

#[test]
fn a_guest_above_its_limit_is_lost_and_its_neighbour_runs() {
    let _heap = TestHeap::new();
    let engine = engine_with(|limits| limits.heap_bytes = 100_000);
    let (mut neighbour, neighbours) = start(&engine, KEEPER);
    let (mut store, instance) = start(&engine, KEEPER);
    assert_eq!(call(&mut store, instance, 50).unwrap(), 1);
    let bytes = store.report().heap_bytes;
    assert!((50_000..60_000).contains(&bytes), "{bytes}");
    // Ends at the host call after the one that exceeds the limit, and stays lost.
    let error = out_of_heap(call(&mut store, instance, 100_000));
    assert!(matches!(error, OutOfHeap::AboveLimit { limit: 100_000, .. }), "{error}");
    assert!((90..105).contains(&store.data().len()), "{}", store.data().len());
    assert_eq!(out_of_heap(call(&mut store, instance, 0)), error);
    assert_eq!(store.report().lost, Some(Lost::OutOfHeap(error)));
    assert_eq!(call(&mut neighbour, neighbours, 50).unwrap(), 1);
    assert_eq!(neighbour.report().lost, None);
}

#[test]
fn a_limit_is_exceeded_by_the_return_of_a_call_without_host_calls() {
    let _heap = TestHeap::new();
    let engine = engine_with(|limits| {
        limits.heap_bytes = 100_000;
        limits.stack_bytes = 1 << 20;
    });
    // Recursion with frames of 8,000 bytes.
    let locals = "i64 ".repeat(1_000);
    let (mut store, instance) = start(
        &engine,
        &format!(
            r#"(module (func $run (export "run") (param i32) (result i32) (local {locals})
                (if (result i32) (local.get 0)
                    (then (call $run (i32.sub (local.get 0) (i32.const 1))))
                    (else (i32.const 1)))))"#
        ),
    );
    assert_eq!(call(&mut store, instance, 3).unwrap(), 1);
    let error = out_of_heap(call(&mut store, instance, 60));
    assert!(matches!(error, OutOfHeap::AboveLimit { limit: 100_000, .. }), "{error}");
}

/// Writes a module with 98 tables. `run` grows all of them by its argument, calls the host, and
/// returns the sum of the results.
fn many_tables() -> String {
    let tables: String = (0..98).map(|_| "(table 0 funcref)").collect();
    let grows: String = (0..98)
        .map(|index| format!("(local.set $sum (i32.add (local.get $sum) (table.grow {index} (ref.null func) (local.get 0))))"))
        .collect();
    format!(
        r#"(module (import "env" "nothing" (func $nothing)) {tables}
            (func (export "run") (param i32) (result i32) (local $sum i32)
                {grows} (call $nothing) (local.get $sum)))"#
    )
}

#[test]
fn tables_do_not_fill_the_heap() {
    let heap = TestHeap::new();
    // Without a limit on their elements, so that the heap is what bounds them.
    let unlimited = |limits: &mut Limits| limits.store_table_elements = usize::MAX;
    let engine = engine_with(unlimited);
    let (mut neighbour, neighbours) = start(&engine, KEEPER);
    let (mut store, instance) = start(&engine, &many_tables());
    assert_eq!(call(&mut store, instance, 1).unwrap(), 0);
    let error = out_of_heap(call(&mut store, instance, 131_071));
    assert!(matches!(error, OutOfHeap::AboveLimit { limit: 16_777_216, .. }), "{error}");
    assert!(HEAP.has_reserve());
    assert_eq!(call(&mut neighbour, neighbours, 1).unwrap(), 1);

    // A heap that has less than the limit.
    let (mut store, instance) = start(&engine, &many_tables());
    heap.leave(4 << 20);
    let error = out_of_heap(call(&mut store, instance, 131_071));
    assert!(matches!(error, OutOfHeap::Exhausted { .. }), "{error}");
    drop(store);
    assert!(HEAP.has_reserve());
    assert_eq!(call(&mut neighbour, neighbours, 1).unwrap(), 1);

    // With the default limit, growth is refused.
    let engine = engine_with(|_| {});
    let (mut store, instance) = start(&engine, &many_tables());
    // Two tables grow. The others return -1.
    assert_eq!(call(&mut store, instance, 131_072).unwrap().cast_signed(), -96);
    assert_eq!(store.report().lost, None);
}

#[test]
fn a_heap_that_is_exhausted_serves_from_the_reserve_until_the_store_is_dropped() {
    let heap = TestHeap::new();
    let engine = engine_with(|_| {});
    let (mut neighbour, neighbours) = start(&engine, KEEPER);
    let (mut store, instance) = start(&engine, KEEPER);
    heap.leave(500_000);
    let error = out_of_heap(call(&mut store, instance, 1_000_000));
    assert!(matches!(error, OutOfHeap::Exhausted { taken_bytes: 450_000.. }), "{error}");
    assert!(store.data().len() < 510, "it ends at the next host call: {}", store.data().len());
    assert!(!HEAP.has_reserve());
    // The kernel may allocate, and no guest runs.
    drop(vec![0_u8; 1 << 18]);
    assert_eq!(out_of_heap(call(&mut neighbour, neighbours, 1)), OutOfHeap::NoReserve);
    assert_eq!(neighbour.report().lost, None);
    drop(store);
    assert!(HEAP.has_reserve());
    assert_eq!(call(&mut neighbour, neighbours, 1).unwrap(), 1);
}

#[test]
fn the_kernel_may_use_the_reserve_and_no_store_is_blamed() {
    let heap = TestHeap::new();
    let engine = engine_with(|_| {});
    let (mut store, instance) = start(&engine, KEEPER);
    heap.leave(100_000);
    let kernel = vec![0_u8; 150_000];
    assert!(!HEAP.has_reserve());
    assert_eq!(out_of_heap(call(&mut store, instance, 1)), OutOfHeap::NoReserve);
    drop(kernel);
    assert!(HEAP.has_reserve());
    assert_eq!(call(&mut store, instance, 0).unwrap(), 1);
    assert_eq!(store.report().lost, None);
}

#[test]
fn calls_that_fail_leave_nothing_in_the_account() {
    let _heap = TestHeap::new();
    let engine = engine_with(|_| {});
    let (mut store, instance) =
        start(&engine, r#"(module (func (export "run") (param i32) (result i32) (unreachable)))"#);
    assert!(call(&mut store, instance, 0).is_err());
    let before = store.report().heap_bytes;
    for _ in 0..1_000 {
        let error = call(&mut store, instance, 0).unwrap_err();
        assert_eq!(error.as_trap_code(), Some(TrapCode::UnreachableCodeReached));
    }
    assert_eq!(store.report().heap_bytes, before);
}

#[test]
fn nested_calls_are_charged_once() {
    let _heap = TestHeap::new();
    let engine = engine_with(|_| {});
    let text = r#"(module (import "env" "again" (func $again (param i32) (result i32)))
        (import "env" "keep" (func $keep (param i32)))
        (func (export "run") (param i32) (result i32)
            (call $keep (i32.const 10000))
            (if (result i32) (local.get 0) (then (call $again (local.get 0))) (else (i32.const 1)))))"#;
    let module = Module::new(&engine, &wat::parse_str(text).unwrap()).unwrap();
    let mut linker = Linker::new();
    linker
        .func_wrap("env", "keep", |mut caller: Caller<'_, Blocks>, bytes: u32| {
            caller.data_mut().push(vec![7; bytes as usize]);
        })
        .unwrap();
    linker
        .func_wrap("env", "again", |mut caller: Caller<'_, Blocks>, left: u32| -> Result<u32, Error> {
            let run = caller.get_export("run").and_then(Extern::into_func).unwrap();
            let mut results = [Val::I32(0)];
            run.call(caller.as_context_mut(), &[Val::I32(left.cast_signed() - 1)], &mut results)?;
            Ok(1)
        })
        .unwrap();
    let mut store = Store::new(&engine, Blocks::with_capacity(100));
    let instance = linker.instantiate(&mut store, &module).unwrap();
    call(&mut store, instance, 5).unwrap();
    let before = store.report().heap_bytes;
    call(&mut store, instance, 5).unwrap();
    assert_eq!(store.report().heap_bytes - before, 60_000);
}

#[test]
fn what_is_allocated_for_the_kernel_is_not_charged() {
    let _heap = TestHeap::new();
    let engine = engine_with(|limits| limits.heap_bytes = 100_000);
    let module = Module::new(
        &engine,
        &wat::parse_str(
            r#"(module (import "env" "log" (func $log))
                (func (export "run") (param i32) (result i32) (call $log) (call $log) (i32.const 1)))"#,
        )
        .unwrap(),
    )
    .unwrap();
    let mut linker = Linker::new();
    linker
        .func_wrap("env", "log", |mut caller: Caller<'_, Blocks>| {
            let block = HEAP.unattributed(|| vec![7; 200_000]);
            caller.data_mut().push(block);
        })
        .unwrap();
    let mut store = Store::new(&engine, Blocks::with_capacity(8));
    let instance = linker.instantiate(&mut store, &module).unwrap();
    assert_eq!(call(&mut store, instance, 0).unwrap(), 1);
    assert!(store.report().heap_bytes < 20_000);
}

#[test]
fn a_module_that_takes_more_than_the_limit_is_refused() {
    let heap = TestHeap::new();
    let wasm = wat::parse_str(format!("(module (memory 1) (data \"{}\"))", "a".repeat(100_000))).unwrap();
    let engine = engine_with(|limits| limits.heap_bytes = 50_000);
    let error = Module::new(&engine, &wasm).unwrap_err();
    assert!(matches!(error, ModuleError::Limit { limit: "heap_bytes", value: 50_000, .. }), "{error}");
    let engine = engine_with(|_| {});
    heap.leave(50_000);
    let error = Module::new(&engine, &wasm).unwrap_err();
    assert!(matches!(error, ModuleError::OutOfHeap), "{error}");
    assert!(HEAP.has_reserve());
}

#[test]
fn a_task_above_its_limit_fails_at_the_end_of_its_slice() {
    let _heap = TestHeap::new();
    let bytes = Box::leak(vec![MaybeUninit::uninit(); 1 << 20].into_boxed_slice());
    let mut limits = Limits::default();
    limits.heap_bytes = 100_000;
    let config = Config::default().limits(limits).heap(&HEAP).fuel(Fuel::Metered);
    let engine = Engine::new(config, Fixed::new(bytes)).unwrap();
    let (store, instance) = start(&engine, KEEPER);
    let run = instance.get_func(&store, "run").unwrap();
    let mut task = Task::new(store, run, &[Val::I32(1_000_000)]).unwrap();
    let error = loop {
        match task.run(1_000) {
            Poll::Runnable => {}
            Poll::Failed(error) => break error,
            other @ (Poll::Waiting { .. } | Poll::Returned(_)) => panic!("{other:?}"),
        }
    };
    assert!(matches!(error.downcast_ref(), Some(OutOfHeap::AboveLimit { .. })), "{error}");
    assert!(task.store().data().len() < 105);
}

#[test]
fn many_instances_are_lost_before_they_fill_the_heap() {
    let _heap = TestHeap::new();
    let engine = engine_with(|limits| {
        limits.heap_bytes = 200_000;
        limits.instances = 10_000;
        limits.store_entries = usize::MAX;
    });
    let globals = "(global (mut i64) (i64.const 0))".repeat(100);
    let segments = "(elem func $f)".repeat(50);
    let module =
        Module::new(&engine, &wat::parse_str(format!("(module {globals} (func $f) {segments})")).unwrap())
            .unwrap();
    let mut store = Store::new(&engine, Blocks::new());
    let refused = (0..1_000).find_map(|_| Linker::new().instantiate(&mut store, &module).err()).unwrap();
    let palimpsest_engine::InstantiateError::OutOfHeap(error) = refused else { panic!("{refused}") };
    assert!(matches!(error, OutOfHeap::AboveLimit { taken_bytes: ..300_000, limit: 200_000 }), "{error}");
}
