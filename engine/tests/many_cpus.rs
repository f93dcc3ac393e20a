//! Stores of one engine on several CPUs at the same time, and the kernel heap that they share.
//!
//! A thread plays the part of a CPU. This is a separate binary because its global allocator is a
//! [`HeapBudget`] over a heap with a limit for all threads together.

#![expect(clippy::unwrap_used, reason = "a test ends where its expectation fails")]

use palimpsest_counting::lift_at_panics;
use palimpsest_engine::{
    Caller, Config, Engine, EntryError, Error, Fixed, HeapBudget, HeapMeter, HeapMeters, Instance, Limits,
    Linker, Module, OutOfHeap, Store,
};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    array,
    boxed::Box,
    cell::Cell,
    mem::MaybeUninit,
    ptr::null_mut,
    sync::{
        Arc, Barrier, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicIsize, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
    thread,
};

/// The CPUs that call guests.
const CPUS: usize = 4;

thread_local! {
    /// The number of the CPU that the thread is. The threads of the test harness are CPU 0.
    static CPU: Cell<usize> = const { Cell::new(0) };
}

fn this_cpu() -> usize {
    CPU.get()
}

/// Runs `work` on all CPUs at the same time, with their numbers. Returns their results.
fn on_all_cpus<R: Send>(work: impl Fn(usize) -> R + Sync) -> [R; CPUS] {
    let start = Barrier::new(CPUS);
    thread::scope(|scope| {
        let cpus = array::from_fn::<_, CPUS, _>(|cpu| {
            let (start, work) = (&start, &work);
            scope.spawn(move || {
                CPU.set(cpu);
                start.wait();
                work(cpu)
            })
        });
        cpus.map(|cpu| cpu.join().unwrap())
    })
}

/// The system's allocator with a limit for all threads together.
struct Limited {
    used: AtomicIsize,
    capacity: AtomicIsize,
}

impl Limited {
    const fn new(capacity: isize) -> Self {
        Self { used: AtomicIsize::new(0), capacity: AtomicIsize::new(capacity) }
    }

    /// Lets the heap grow by `bytes` from here on. Then allocations fail.
    fn limit_to(&self, bytes: usize) {
        self.capacity.store(self.used.load(SeqCst).saturating_add_unsigned(bytes), SeqCst);
    }

    fn take(&self, bytes: usize) -> bool {
        let capacity = self.capacity.load(SeqCst);
        let grown = |used: isize| Some(used + bytes.cast_signed()).filter(|&used| used <= capacity);
        self.used.fetch_update(SeqCst, SeqCst, grown).is_ok()
    }
}

// SAFETY: every call is passed to the system's allocator unchanged, or fails.
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !self.take(layout.size()) {
            return null_mut();
        }
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.dealloc(block, layout) };
        self.used.fetch_sub(layout.size().cast_signed(), SeqCst);
    }
}

/// A meter for each CPU.
struct CpuMeters([HeapMeter; CPUS]);

impl CpuMeters {
    const fn new() -> Self {
        Self([const { HeapMeter::new() }; CPUS])
    }
}

// SAFETY: neither the number nor an element of the array allocates or panics.
unsafe impl HeapMeters for CpuMeters {
    fn current(&self) -> &HeapMeter {
        &self.0[CPU.get() % CPUS]
    }

    fn stores_at_once(&self) -> usize {
        CPUS
    }
}

#[global_allocator]
static HEAP: HeapBudget<Limited, CpuMeters> =
    HeapBudget::with_meters(Limited::new(isize::MAX), CpuMeters::new());

/// The heap during a test, without a limit again at the end. One test at a time has it, because the
/// threads of others would be charged to its CPUs.
struct TestHeap(#[expect(dead_code, reason = "it is locked")] MutexGuard<'static, ()>);

impl TestHeap {
    fn new() -> Self {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        lift_at_panics(lift);
        HEAP.set_reserve(1 << 20).unwrap();
        Self(guard)
    }
}

impl Drop for TestHeap {
    fn drop(&mut self) {
        lift();
    }
}

/// Removes the limit of the heap.
fn lift() {
    HEAP.inner().capacity.store(isize::MAX, SeqCst);
}

/// Creates an engine that all CPUs use.
fn engine() -> Engine {
    let bytes = Box::leak(vec![MaybeUninit::uninit(); 16 << 20].into_boxed_slice());
    let config = Config::default().limits(Limits::default()).heap(&HEAP);
    Engine::new(config, Fixed::new(bytes).on_cpus(this_cpu)).unwrap()
}

/// Blocks of the kernel heap that a host function keeps for its guest.
type Blocks = Vec<Vec<u8>>;

/// Keeps blocks of 1,000 bytes, whose number is its argument, and returns the sum of the bytes that
/// it has stored in its memory and read back.
const KEEPER: &str = r#"(module (import "env" "keep" (func $keep (param i32)))
    (memory 2)
    (func (export "run") (param i32) (result i32) (local $sum i32) (local $at i32)
        (loop $again
            (if (local.get 0) (then
                (call $keep (i32.const 1000))
                (i32.store8 (local.get $at) (local.get 0))
                (local.set $sum (i32.add (local.get $sum) (i32.load8_u (local.get $at))))
                (local.set $at (i32.add (local.get $at) (i32.const 97)))
                (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
                (br $again))))
        (local.get $sum)))"#;

fn load(engine: &Engine, wat: &str) -> Module {
    Module::new(engine, &wat::parse_str(wat).unwrap()).unwrap()
}

fn keep(mut caller: Caller<'_, Blocks>, bytes: u32) {
    caller.data_mut().push(vec![7; bytes as usize]);
}

/// Instantiates `module` in a new store, with [`keep`] as its import.
fn start(engine: &Engine, module: &Module) -> (Store<Blocks>, Instance) {
    let mut linker = Linker::new();
    linker.func_wrap("env", "keep", keep).unwrap();
    let mut store = Store::new(engine, Blocks::new());
    let instance = linker.instantiate(&mut store, module).unwrap();
    (store, instance)
}

fn run(store: &mut Store<Blocks>, instance: Instance, blocks: u32) -> Result<u32, Error> {
    instance.get_typed_func::<u32, u32>(&*store, "run")?.call(store, blocks)
}

/// What `run` of [`KEEPER`] returns.
fn sum(blocks: u32) -> u32 {
    (1..=blocks).map(|block| block % 256).sum()
}

#[test]
fn cpus_load_and_call_in_one_engine_and_each_store_is_charged_for_its_own() {
    const ROUNDS: u32 = 50;
    let _heap = TestHeap::new();
    let engine = engine();
    let module = load(&engine, KEEPER);
    let stores = on_all_cpus(|cpu| {
        let (mut store, instance) = start(&engine, &module);
        let blocks = 4 * u32::try_from(cpu).unwrap() + 1;
        for _ in 0..ROUNDS {
            assert_eq!(run(&mut store, instance, blocks).unwrap(), sum(blocks));
            drop(start(&engine, &load(&engine, KEEPER)));
        }
        (store, instance)
    });
    let stores = Mutex::new(stores.map(Some));
    // Each store continues on another CPU.
    let moved = on_all_cpus(|cpu| {
        let (mut store, instance) = stores.lock().unwrap()[(cpu + 1) % CPUS].take().unwrap();
        for _ in 0..ROUNDS {
            assert_eq!(run(&mut store, instance, 1).unwrap(), sum(1));
        }
        store
    });
    for (cpu, store) in moved.iter().enumerate() {
        let blocks = ROUNDS as usize * (4 * ((cpu + 1) % CPUS) + 2);
        assert_eq!(store.data().len(), blocks);
        let bytes = store.report().heap_bytes;
        let expected = blocks * 1_000;
        assert!((expected..expected + 40_000).contains(&bytes), "CPU {cpu}: {bytes} bytes, not {expected}");
    }
}

#[test]
fn a_function_that_cpus_call_first_at_the_same_time_is_translated_for_all() {
    let _heap = TestHeap::new();
    let functions: String = (0..40)
        .map(|index| {
            let body = "(i32.add (local.get 0) (i32.const 1)) (local.set 0)".repeat(20 * index);
            format!("(func (export \"f{index}\") (param i32) (result i32) {body} (local.get 0))")
        })
        .collect();
    let text = format!("(module {functions})");
    for _ in 0..20 {
        let engine = engine();
        let module = load(&engine, &text);
        on_all_cpus(|_| {
            let (mut store, instance) = start(&engine, &module);
            for index in 0..40 {
                let name = format!("f{index}");
                let function = instance.get_typed_func::<u32, u32>(&store, &name).unwrap();
                assert_eq!(function.call(&mut store, 5).unwrap(), 5 + 20 * index);
            }
        });
    }
}

#[test]
fn a_second_call_of_one_cpu_is_refused_and_one_of_another_cpu_is_not() {
    let _heap = TestHeap::new();
    let engine = engine();
    let other = Arc::new(Mutex::new(start(&engine, &load(&engine, KEEPER))));
    let mut linker = Linker::<()>::new();
    let shared = engine.clone();
    linker
        .func_wrap("env", "meet", move || {
            let call_on = |cpu| {
                let other = Arc::clone(&other);
                let call = move || {
                    CPU.set(cpu);
                    let (store, instance) = &mut *other.lock().unwrap();
                    run(store, *instance, 1)
                };
                thread::spawn(call).join().unwrap()
            };
            assert!(shared.is_in_use());
            assert_eq!(call_on(1).unwrap(), sum(1));
            let refused = call_on(0).unwrap_err();
            assert_eq!(refused.downcast_ref(), Some(&EntryError::InUse));
        })
        .unwrap();
    let text = r#"(module (import "env" "meet" (func $meet)) (func (export "run") (call $meet)))"#;
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &load(&engine, text)).unwrap();
    instance.get_typed_func::<(), ()>(&store, "run").unwrap().call(&mut store, ()).unwrap();
    assert!(!engine.is_in_use());
}

#[test]
fn stores_that_allocate_while_the_reserve_is_in_use_are_lost() {
    /// Allocates twice, with a boundary after each.
    const TEXT: &str = r#"(module (import "env" "keep" (func $keep (param i32)))
        (func (export "run") (param i32) (result i32)
            (call $keep (i32.const 100000)) (call $keep (i32.const 100000)) (i32.const 1)))"#;
    let _heap = TestHeap::new();
    let engine = engine();
    let module = load(&engine, TEXT);
    static MET: Barrier = Barrier::new(CPUS);
    let mut linker = Linker::new();
    linker
        .func_wrap("env", "keep", |mut caller: Caller<'_, Blocks>, bytes: u32| {
            // All guests run before the first of them allocates, and until all have.
            let is_first = caller.data().is_empty();
            if is_first {
                MET.wait();
            }
            caller.data_mut().push(vec![7; bytes as usize]);
            if is_first {
                MET.wait();
            }
        })
        .unwrap();
    let stores = Mutex::new(array::from_fn::<_, CPUS, _>(|_| {
        let mut store = Store::new(&engine, Blocks::new());
        let instance = linker.instantiate(&mut store, &module).unwrap();
        Some((store, instance))
    }));
    assert!(HEAP.has_reserve());
    let reserve_bytes = HEAP.reserve_bytes();
    // The stack of each guest may grow and move.
    let stacks = CPUS * 2 * Limits::default().stack_bytes;
    assert!(reserve_bytes > (1 << 20) + stacks, "{reserve_bytes} bytes");
    HEAP.inner().limit_to(50_000);
    let stores = on_all_cpus(|cpu| {
        let (mut store, instance) = stores.lock().unwrap()[cpu].take().unwrap();
        let error = run(&mut store, instance, 0).unwrap_err();
        let error = *error.downcast_ref::<OutOfHeap>().expect("the error is `OutOfHeap`");
        assert!(matches!(error, OutOfHeap::Exhausted { .. }), "CPU {cpu}: {error}");
        assert_eq!(store.data().len(), 1, "CPU {cpu}");
        store
    });
    assert!(!HEAP.has_reserve());
    drop(stores);
    assert!(HEAP.has_reserve());
    assert_eq!(HEAP.reserve_bytes(), reserve_bytes);
}

#[test]
fn an_allocation_that_fits_into_heap_and_reserve_never_fails() {
    const BLOCK: usize = 4 << 10;
    const ROUNDS: usize = if cfg!(miri) { 200 } else { 200_000 };
    static SMALL: HeapBudget<Limited, CpuMeters> =
        HeapBudget::with_meters(Limited::new((CPUS * BLOCK).cast_signed()), CpuMeters::new());
    static DRAWN: AtomicUsize = AtomicUsize::new(0);
    // All CPUs together need all of the heap, half of which is set aside.
    SMALL.set_reserve(CPUS * BLOCK / 2).unwrap();
    let layout = Layout::from_size_align(BLOCK, 16).unwrap();
    on_all_cpus(|_| {
        for round in 0..ROUNDS {
            // SAFETY: the size is not 0.
            let block = unsafe { SMALL.alloc(layout) };
            assert!(!block.is_null(), "round {round}");
            DRAWN.fetch_add(usize::from(!SMALL.has_reserve()), Relaxed);
            // SAFETY: the block was allocated with this layout.
            unsafe { SMALL.dealloc(block, layout) };
        }
    });
    assert!(DRAWN.load(Relaxed) > 0, "the reserve was needed");
    assert!(SMALL.has_reserve());
    assert_eq!(SMALL.reserve_bytes(), CPUS * BLOCK / 2);
}
