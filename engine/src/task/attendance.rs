//! Tests of what a store reports to its arena on several CPUs: when a CPU begins to use the
//! memories, when it stops, and when it may release frames.
//!
//! The arena is that of a [`Fixed`](crate::Fixed) backing, and records each report. The paging
//! crate's tests check what follows from a report. `cargo xtask mutants` removes the reports one at
//! a time, and these tests must notice.

#[cfg(test)]
mod tests {
    use alloc::{boxed::Box, sync::Arc, vec::Vec};
    use core::{
        mem::{MaybeUninit, take},
        sync::atomic::{AtomicBool, AtomicU8, Ordering},
    };
    use spin::Mutex;
    use std::vec;

    use crate::{
        backing::{
            Arena, Backing, BackingError, DataImage, Fixed, ImageCharge, ImagePart, Presence,
            Presence::{Enter, Leave, Look, Migrate, Yield},
            Provider, Reservation, SharedRegion, Shares, Standing, WANTED,
        },
        budget::{HeapMeter, Ledger},
        config::{Commit, Config, Fuel, Limits},
        engine::Engine,
        link::Linker,
        module::{MemoryType, Module},
        store::{
            Caller, Extern, Instance, Memory, MemoryAccessError, OutOfHeap, Pause, ReentryTooDeep, Store,
        },
        task::{Poll, Task},
    };
    use wasmi::{Error, FuncType, Val};

    /// The reports of all stores, and the flags with which their arenas request frames of them.
    #[derive(Clone, Debug, Default)]
    struct Log {
        reports: Arc<Mutex<Vec<Presence>>>,
        flags: Arc<Mutex<Vec<Arc<AtomicU8>>>>,
    }

    impl Log {
        /// Returns the reports since the last call.
        fn take(&self) -> Vec<Presence> {
            take(&mut *self.reports.lock())
        }

        fn len(&self) -> usize {
            self.reports.lock().len()
        }

        /// Requests frames of all stores, as an account does when another CPU runs short of them.
        fn request(&self) {
            for flags in &*self.flags.lock() {
                flags.fetch_or(WANTED, Ordering::Release);
            }
        }
    }

    /// A backing whose arenas record what is reported to them.
    #[derive(Debug)]
    struct Watched {
        inner: Fixed,
        log: Log,
    }

    impl From<Watched> for Backing {
        fn from(watched: Watched) -> Self {
            Self::new(watched)
        }
    }

    // SAFETY: its arenas are those of `Fixed`, which keep the contract.
    #[allow(unsafe_code, reason = "the contract is argued above")]
    unsafe impl Provider for Watched {
        fn open(&self, cap_frames: u64, commit: Commit, flags: &Arc<AtomicU8>) -> Box<dyn Arena> {
            self.log.flags.lock().push(Arc::clone(flags));
            let inner = self.inner.open(cap_frames, commit, flags);
            Box::new(WatchedArena { inner, log: self.log.clone() })
        }

        fn shares(&self) -> Shares {
            self.inner.shares()
        }

        fn has_many_cpus(&self) -> bool {
            true
        }

        fn image(&self, parts: &[ImagePart<'_>], charge: ImageCharge) -> Option<Arc<dyn DataImage>> {
            self.inner.image(parts, charge)
        }
    }

    #[derive(Debug)]
    struct WatchedArena {
        inner: Box<dyn Arena>,
        log: Log,
    }

    // SAFETY: its regions are those of `inner`, which keeps the contract.
    #[allow(unsafe_code, reason = "the contract is argued above")]
    unsafe impl Arena for WatchedArena {
        fn reserve(&self, size: Reservation) -> Result<SharedRegion, BackingError> {
            self.inner.reserve(size)
        }

        fn standing(&self) -> Standing {
            self.inner.standing()
        }

        fn again(&self) -> Box<dyn Arena> {
            Box::new(Self { inner: self.inner.again(), log: self.log.clone() })
        }

        fn has_many_cpus(&self) -> bool {
            true
        }

        fn attend(&self, presence: Presence) {
            self.log.reports.lock().push(presence);
        }
    }

    fn engine(config: Config) -> (Engine, Log) {
        let bytes = Box::leak(vec![MaybeUninit::uninit(); 4 << 20].into_boxed_slice());
        let log = Log::default();
        let engine = Engine::new(config, Watched { inner: Fixed::new(bytes), log: log.clone() });
        (engine.expect("a test build is flat"), log)
    }

    fn load(engine: &Engine, text: &str) -> Module {
        let wasm = wat::parse_str(text).expect("the text is a module");
        Module::new(engine, &wasm).expect("the module is valid")
    }

    /// An instance whose exports are called by name.
    struct Guest {
        store: Store<()>,
        instance: Instance,
        log: Log,
    }

    impl Guest {
        /// Instantiates a module over a log, and forgets what that reports.
        fn new(linker: &Linker<()>, (engine, log): (Engine, Log), text: &str) -> Self {
            let mut store = Store::new(&engine, ());
            let instance = linker.instantiate(&mut store, &load(&engine, text)).expect("it links");
            log.take();
            Self { store, instance, log }
        }

        fn call(&mut self, name: &str) -> Result<(), Error> {
            self.instance.get_typed_func::<(), ()>(&self.store, name)?.call(&mut self.store, ())
        }
    }

    fn memory(caller: &Caller<'_, ()>) -> Memory {
        caller.get_export("memory").and_then(Extern::into_memory).expect("the guest exports it")
    }

    #[test]
    fn a_store_reports_uses_outside_of_calls() {
        type Use = fn(Memory, &mut Store<()>);
        let uses: [(Use, &[Presence]); 12] = [
            (|memory, store| assert_eq!(memory.data(&*store)[0], 0), &[Look]),
            (|memory, store| memory.read(store, 0, &mut [0]).expect("it is inside"), &[Look]),
            // What borrows the bytes may use them until the next call.
            (|memory, store| memory.data_mut(store)[0] = 1, &[Enter]),
            (|memory, store| memory.data_and_store_mut(store).0[0] = 2, &[Enter]),
            (|memory, store| memory.write(store, 0, &[3]).expect("it is inside"), &[Enter, Leave]),
            (
                |memory, store| {
                    let _: MemoryAccessError = memory.write(store, 9 << 16, &[3]).expect_err("it is outside");
                },
                &[Enter, Leave],
            ),
            (
                |memory, store| {
                    let _ = memory.clear_pages(store, 0, 1).expect("it is inside");
                },
                &[Enter, Leave],
            ),
            (|memory, store| assert_eq!(memory.grow(store, 1), Ok(2)), &[Enter, Leave]),
            (|memory, store| memory.mark(store), &[Enter, Leave]),
            (|memory, store| memory.each_written(store, |_| {}), &[Enter, Leave]),
            (|memory, store| memory.each_accessed_since_mark(store, |_| {}), &[Enter, Leave]),
            (
                |_, store| {
                    Memory::new(store, MemoryType::new(1, Some(1))).expect("there is room");
                },
                &[Enter, Leave],
            ),
        ];
        let mut guest =
            Guest::new(&Linker::new(), engine(Config::default()), r#"(module (memory (export "memory") 2))"#);
        let memory = guest.instance.get_memory(&guest.store, "memory").expect("the guest exports it");
        for (number, (make_use, reports)) in uses.into_iter().enumerate() {
            make_use(memory, &mut guest.store);
            assert_eq!(guest.log.take(), reports, "use {number}");
        }
    }

    #[cfg(feature = "snapshots")]
    #[test]
    fn a_snapshot_reports_the_use_of_each_memory() {
        let text = r#"(module (memory (export "memory") 2) (func (export "run")))"#;
        let mut guest = Guest::new(&Linker::new(), engine(Config::default().snapshots(true)), text);
        let snapshot = guest.store.snapshot(guest.instance);
        assert!(snapshot.is_ok());
        let reports = guest.log.take();
        assert_eq!(reports.iter().filter(|&&report| report == Enter).count(), 1, "{reports:?}");
        assert_eq!(reports.last(), Some(&Leave));
    }

    #[test]
    fn a_store_is_entered_by_its_outermost_call_alone() {
        const TEXT: &str = r#"(module (import "host" "use" (func $use))
            (import "palimpsest" "discard" (func $discard (param i32 i32) (result i32)))
            (memory (export "memory") 2)
            (func (export "nested") (i32.store8 (i32.const 1) (i32.const 1)))
            (func (export "run")
                (call $use)
                (drop (call $discard (i32.const 0) (i32.const 65536)))
                (drop (memory.grow (i32.const 1)))))"#;
        let (engine, log) = engine(Config::default());
        let mut linker = Linker::new();
        let inside = log.clone();
        let uses = move |mut caller: Caller<'_, ()>| {
            assert_eq!(*inside.reports.lock(), [Enter]);
            let memory = memory(&caller);
            memory.write(&mut caller, 0, &[7]).expect("it is inside");
            assert_eq!(memory.data(&caller)[0], 7);
            assert_eq!(memory.data_mut(&mut caller)[0], 7);
            let _ = memory.clear_pages(&mut caller, 0, 1).expect("it is inside");
            memory.grow(&mut caller, 1).expect("there is room");
            let nested = caller.get_export("nested").and_then(Extern::into_func).expect("it is exported");
            nested.call(&mut caller, &[], &mut []).expect("it returns");
            assert_eq!(inside.len(), 1);
        };
        linker.func_wrap("host", "use", uses).expect("the name is free");
        let mut guest = Guest::new(&linker, (engine, log), TEXT);
        guest.call("run").expect("the guest returns");
        assert_eq!(guest.log.take(), [Enter, Leave]);
        guest.call("run").expect("the guest returns");
        assert_eq!(guest.log.take(), [Enter, Leave]);
    }

    #[test]
    fn instantiating_enters_the_store() {
        let (engine, log) = engine(Config::default());
        let module = load(&engine, "(module (memory 1))");
        let mut store = Store::new(&engine, ());
        Linker::new().instantiate(&mut store, &module).expect("it links");
        assert_eq!(log.take(), [Enter, Leave]);
    }

    #[test]
    fn a_call_that_fails_leaves_the_store() {
        let text = r#"(module (func (export "run") unreachable))"#;
        let mut guest = Guest::new(&Linker::new(), engine(Config::default()), text);
        guest.call("run").expect_err("the guest traps");
        assert_eq!(guest.log.take(), [Enter, Leave]);
        let limits = Limits { reentry_depth: 0, ..Limits::default() };
        let mut guest = Guest::new(&Linker::new(), engine(Config::default().limits(limits)), text);
        let refused = guest.call("run").expect_err("no call is allowed");
        assert!(refused.downcast_ref::<ReentryTooDeep>().is_some());
        assert_eq!(guest.log.take(), []);
    }

    /// A heap budget whose reserve may be in use.
    #[derive(Debug)]
    struct Reserve {
        meter: HeapMeter,
        is_used: AtomicBool,
    }

    impl Ledger for Reserve {
        fn meter(&self) -> &HeapMeter {
            &self.meter
        }

        fn has_reserve(&self) -> bool {
            !self.is_used.load(Ordering::Relaxed)
        }

        fn claim(&self, _bytes: usize) -> Option<usize> {
            Some(0)
        }

        fn release_claim(&self, _class: usize) {}
    }

    #[test]
    fn a_call_without_a_reserve_of_heap_leaves_the_store_and_the_engine() {
        static HEAP: Reserve = Reserve { meter: HeapMeter::new(), is_used: AtomicBool::new(false) };
        let config = Config { heap: Some(&HEAP), ..Config::default() };
        let mut guest = Guest::new(&Linker::new(), engine(config), r#"(module (func (export "run")))"#);
        HEAP.is_used.store(true, Ordering::Relaxed);
        let refused = guest.call("run").expect_err("the reserve is in use");
        assert!(matches!(refused.downcast_ref(), Some(OutOfHeap::NoReserve)), "{refused}");
        assert_eq!(guest.log.take(), [Enter, Leave]);
        assert!(!guest.store.engine().is_in_use());
    }

    #[test]
    fn each_slice_of_a_task_enters_the_store_and_leaves_it() {
        let (engine, log) = engine(Config::default().fuel(Fuel::Metered));
        let mut linker = Linker::new();
        linker
            .func_wrap("host", "yield", || Err::<(), _>(Error::host(Pause::now(&[]))))
            .expect("the name is free");
        let text = r#"(module (import "host" "yield" (func $yield)) (memory 1)
            (func (export "run") (call $yield) (loop $again (br $again))))"#;
        let store = Store::new(&engine, ());
        let task = Task::instantiate(store, &linker, &load(&engine, text), "run", &[]);
        let mut task = task.expect("it links");
        log.take();
        for _ in 0..3 {
            assert!(matches!(task.run(1_000), Poll::Runnable));
            assert_eq!(log.take(), [Enter, Leave]);
        }
        drop(task.kill());
        assert_eq!(log.take(), []);
    }

    #[test]
    fn a_migration_is_reported() {
        let (engine, log) = engine(Config::default());
        let migration = Store::new(&engine, ()).migration();
        migration.clone().arrive();
        migration.arrive();
        assert_eq!(log.take(), [Migrate, Migrate]);
    }

    /// Each function requests frames of the store and then reaches a boundary, at which the store
    /// must release some. A guest without a boundary releases them when it returns.
    const BOUNDARIES: &str = r#"(module
        (import "host" "request" (func $request))
        (import "host" "typed" (func $typed))
        (import "host" "untyped" (func $untyped))
        (import "palimpsest" "discard" (func $discard (param i32 i32) (result i32)))
        (import "env" "__wbindgen_memory_discard" (func $discard_void (param i32 i32)))
        (import "palimpsest" "snapshot_ready" (func $snapshot_ready))
        (memory (export "memory") 4 8)
        (table $table 1 8 funcref)
        (func (export "none") (call $request))
        (func (export "typed") (call $request) (call $typed))
        (func (export "untyped") (call $request) (call $untyped))
        (func (export "discard") (call $request) (drop (call $discard (i32.const 0) (i32.const 65536))))
        (func (export "discard_void") (call $request) (call $discard_void (i32.const 0) (i32.const 65536)))
        (func (export "snapshot_ready") (call $request) (call $snapshot_ready))
        (func (export "memory_grow") (call $request) (drop (memory.grow (i32.const 1))))
        (func (export "table_grow") (call $request) (drop (table.grow $table (ref.null func) (i32.const 1))))
        (func (export "fill") (call $request)
            (memory.fill (i32.const 0) (i32.const 7) (i32.const 200000))))"#;

    fn boundaries() -> Guest {
        let (engine, log) = engine(Config::default().fuel(Fuel::Metered));
        let mut linker = Linker::new();
        let asking = log.clone();
        linker.func_wrap("host", "request", move || asking.request()).expect("the name is free");
        linker.func_wrap("host", "typed", || {}).expect("the name is free");
        let untyped = |_: Caller<'_, ()>, _: &[Val], _: &mut [Val]| Ok(());
        linker.func_new("host", "untyped", FuncType::new([], []), untyped).expect("the name is free");
        let mut guest = Guest::new(&linker, (engine, log), BOUNDARIES);
        guest.store.set_fuel(1 << 40).expect("the engine counts fuel");
        guest
    }

    #[test]
    fn frames_are_released_at_the_next_boundary() {
        let mut guest = boundaries();
        let names = [
            "typed",
            "untyped",
            "discard",
            "discard_void",
            "snapshot_ready",
            "memory_grow",
            "table_grow",
            "fill",
        ];
        for name in names {
            guest.call(name).expect("the guest returns");
            assert_eq!(guest.log.take(), [Enter, Yield, Leave], "{name}");
        }
        guest.call("none").expect("the guest returns");
        assert_eq!(guest.log.take(), [Enter, Leave, Yield]);
    }

    #[test]
    fn frames_are_released_before_a_call_and_once_for_each_request() {
        let mut guest = boundaries();
        guest.log.request();
        guest.call("typed").expect("the guest returns");
        assert_eq!(guest.log.take(), [Yield, Enter, Yield, Leave]);
        guest.call("typed").expect("the guest returns");
        assert_eq!(guest.log.take(), [Enter, Yield, Leave]);
    }
}
