//! What belongs to one store does not reach another: items, suspended calls, and what the engine
//! counts.

use crate::support::{engine, engine_with, instance, module};
use palimpsest_engine::{
    AsContext, AsContextMut, Caller, Config, Engine, Extern, ExternRef, Fuel, Func, FuncType, Global,
    Instance, Limits, Linker, Memory, MemoryType, Module, Mutability, Pause, Poll, ReentryTooDeep, Ref,
    RefType, Store, StoreContext, StoreContextMut, Table, TableType, Task, TypedFunc, Val, ValType,
};
use std::{
    boxed::Box,
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook},
    sync::{Arc, Mutex, Once},
};

std::thread_local! {
    /// Whether a panic of this thread is expected, and so not printed.
    static EXPECTED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `action`, and returns whether it panicked.
fn panics<R>(action: impl FnOnce() -> R) -> bool {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let hook = take_hook();
        set_hook(Box::new(move |info| {
            if !EXPECTED.get() {
                hook(info);
            }
        }));
    });
    EXPECTED.set(true);
    let panicked = catch_unwind(AssertUnwindSafe(action)).is_err();
    EXPECTED.set(false);
    panicked
}

const COUNTER: &str = r#"(module
    (import "host" "sleep" (func $sleep))
    (memory (export "m") 1 4) (table (export "t") 1 funcref) (global (export "g") (mut i32) (i32.const 1))
    (func (export "nap") (result i32) (call $sleep) (i32.const 1))
    (func (export "count") (param i32) (result i32)
        (loop $next (br_if $next (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
        (i32.load8_u (i32.const 0))))"#;

/// A guest that sleeps and counts, in a store with fuel.
fn counter(engine: &Engine, module: &Module) -> (Store<()>, Instance) {
    let mut store = Store::new(engine, ());
    store.set_fuel(1_000_000).unwrap();
    let mut linker = Linker::new();
    linker
        .func_wrap("host", "sleep", || Err::<(), _>(palimpsest_engine::Error::host(Pause::until(7, &[]))))
        .unwrap();
    let instance = linker.instantiate(&mut store, module).unwrap();
    (store, instance)
}

fn metered_counter() -> (Engine, Module) {
    let (engine, _) = engine_with(Config::default().fuel(Fuel::Metered));
    let module = module(&engine, COUNTER);
    (engine, module)
}

#[test]
fn a_suspended_call_does_not_go_on_in_another_store() {
    let (engine, module) = metered_counter();
    for (name, argument) in [("count", Some(Val::I32(100_000))), ("nap", None)] {
        let (store, instance) = counter(&engine, &module);
        let func = instance.get_func(&store, name).unwrap();
        let mut task = Task::new(store, func, argument.as_slice()).unwrap();
        let suspended = task.run(1_000);
        match name {
            "nap" => assert!(matches!(suspended, Poll::Waiting { until_ns: 7 })),
            _ => assert!(matches!(suspended, Poll::Runnable)),
        }
        // The instances of the call are freed here.
        let (other, _) = counter(&engine, &module);
        drop(core::mem::replace(task.store_mut(), other));
        assert!(panics(|| task.run(1_000_000)), "{name}");
    }
}

#[test]
fn a_call_that_has_not_started_does_not_start_in_another_store() {
    let (engine, module) = metered_counter();
    let (store, instance) = counter(&engine, &module);
    let func = instance.get_func(&store, "nap").unwrap();
    let mut task = Task::new(store, func, &[]).unwrap();
    drop(core::mem::replace(task.store_mut(), counter(&engine, &module).0));
    assert!(panics(|| task.run(1_000)));
}

#[test]
fn items_of_a_dropped_store_are_refused_by_another_with_the_same_instances() {
    let (engine, module) = metered_counter();
    let (mut store, instance) = counter(&engine, &module);
    let func = instance.get_func(&store, "nap").unwrap();
    let count: TypedFunc<u32, u32> = instance.get_typed_func(&store, "count").unwrap();
    let memory = instance.get_memory(&store, "m").unwrap();
    let table = instance.get_table(&store, "t").unwrap();
    let global = instance.get_global(&store, "g").unwrap();
    let object = ExternRef::new(&mut store, 5_u8);
    drop(store);
    let (mut other, theirs) = counter(&engine, &module);
    let object_of_other = ExternRef::new(&mut other, 6_u8);
    assert_eq!(object_of_other.data(&other).downcast_ref(), Some(&6_u8));
    let their_table = theirs.get_table(&other, "t").unwrap();
    assert!(panics(|| count.call(&mut other, 1)));
    assert!(panics(|| func.call(&mut other, &[], &mut [Val::I32(0)])));
    assert!(panics(|| func.typed::<(), u32>(&other)));
    assert!(panics(|| func.ty(&other)));
    assert!(panics(|| Task::new(counter(&engine, &module).0, func, &[])));
    assert!(panics(|| memory.write(&mut other, 0, &[1])));
    assert!(panics(|| memory.grow(&mut other, 1)));
    assert!(panics(|| memory.clear_pages(&mut other, 0, 1)));
    assert!(panics(|| table.grow(&mut other, 1, Ref::null(RefType::Func))));
    assert!(panics(|| their_table.set(&mut other, 0, Ref::from(func))));
    assert!(panics(|| global.set(&mut other, Val::I32(1))));
    assert!(panics(|| object.data(&other).downcast_ref::<u8>().copied()));
    assert!(panics(|| instance.get_func(&other, "nap")));
    for item in [Extern::from(func), memory.into(), table.into(), global.into()] {
        let mut linker = Linker::new();
        linker.define("host", "sleep", item).unwrap();
        assert!(panics(|| linker.instantiate(&mut other, &module)), "{item:?}");
    }
    // The other store works as before.
    assert_eq!(their_table.size(&other), 1);
    let count = theirs.get_typed_func::<u32, u32>(&other, "count").unwrap();
    assert_eq!(count.call(&mut other, 10).unwrap(), 0);
}

#[test]
fn exchanging_the_data_of_two_stores_exchanges_nothing_that_the_engine_keeps() {
    type Data = Option<Arc<Mutex<Store<Slot>>>>;
    struct Slot(Data, u32);
    let mut limits = Limits::default();
    limits.reentry_depth = 3;
    let (engine, _) = engine_with(Config::default().limits(limits));
    let mut other_limits = limits;
    other_limits.reentry_depth = 30;
    let options = palimpsest_engine::StoreOptions { limits: Some(other_limits), ..Default::default() };
    let other = Arc::new(Mutex::new(Store::with_options(&engine, Slot(None, 2), options)));
    let module = module(&engine, r#"(module (import "e" "f" (func $f)) (func (export "run") (call $f)))"#);
    let calls = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&calls);
    let mut linker = Linker::new();
    linker
        .func_wrap("e", "f", move |mut caller: Caller<'_, Slot>| {
            *counted.lock().unwrap() += 1;
            // At the first level the two stores exchange their data, of which the other has none.
            if let Some(other) = caller.data_mut().0.take() {
                core::mem::swap(caller.data_mut(), other.lock().unwrap().data_mut());
            }
            let run = caller.get_export("run").and_then(Extern::into_func).expect("it is exported");
            run.call(&mut caller, &[], &mut [])
        })
        .unwrap();
    let mut store = Store::new(&engine, Slot(Some(Arc::clone(&other)), 1));
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let run = instance.get_typed_func::<(), ()>(&store, "run").unwrap();
    for levels in [3, 6] {
        let error = run.call(&mut store, ()).unwrap_err();
        assert_eq!(error.downcast_ref::<ReentryTooDeep>(), Some(&ReentryTooDeep { limit: 3 }));
        assert_eq!(*calls.lock().unwrap(), levels);
    }
    assert_eq!((store.data().1, other.lock().unwrap().data().1), (2, 1));
    assert_eq!((store.limits().reentry_depth, other.lock().unwrap().limits().reentry_depth), (3, 30));
}

#[test]
fn host_functions_that_call_each_other_end_at_the_configured_depth() {
    let mut limits = Limits::default();
    limits.reentry_depth = 4;
    let (engine, _) = engine_with(Config::default().limits(limits));
    let mut store: Store<(u32, Option<Func>)> = Store::new(&engine, (0, None));
    let again = Func::wrap(&mut store, |mut caller: Caller<'_, (u32, Option<Func>)>| {
        caller.data_mut().0 += 1;
        let again = caller.data().1.expect("it is set before the call");
        again.call(&mut caller, &[], &mut [])
    });
    store.data_mut().1 = Some(again);
    let error = again.call(&mut store, &[], &mut []).unwrap_err();
    assert_eq!(error.downcast_ref::<ReentryTooDeep>(), Some(&ReentryTooDeep { limit: 4 }));
    assert_eq!(store.data().0, 4);
}

/// A context that is a different store each time.
struct Alternating {
    stores: [Store<u32>; 2],
    times: Cell<usize>,
}

impl Alternating {
    /// Returns how often a context was taken since the last call.
    fn take_times(&self) -> usize {
        self.times.replace(0)
    }

    fn next(&self) -> usize {
        self.times.replace(self.times.get() + 1) % 2
    }
}

impl AsContext for Alternating {
    type Data = u32;

    fn as_context(&self) -> StoreContext<'_, u32> {
        self.stores[self.next()].as_context()
    }
}

impl AsContextMut for Alternating {
    fn as_context_mut(&mut self) -> StoreContextMut<'_, u32> {
        let next = self.next();
        self.stores[next].as_context_mut()
    }
}

#[test]
fn each_function_takes_its_context_once() {
    let engine = engine();
    let module = module(
        &engine,
        r#"(module (memory (export "m") 1 4) (table (export "t") 1 4 funcref)
            (func (export "seven") (result i32) (i32.const 7)))"#,
    );
    let mut stores = [Store::new(&engine, 0), Store::new(&engine, 1)];
    let instance = Linker::new().instantiate(&mut stores[0], &module).unwrap();
    let seven = instance.get_func(&stores[0], "seven").unwrap();
    let typed = seven.typed::<(), u32>(&stores[0]).unwrap();
    let memory = instance.get_memory(&stores[0], "m").unwrap();
    let table = instance.get_table(&stores[0], "t").unwrap();
    let mut ctx = Alternating { stores, times: Cell::new(0) };
    let mut check = |name, operation: &dyn Fn(&mut Alternating)| {
        operation(&mut ctx);
        assert_eq!(ctx.take_times(), 1, "{name}");
    };
    check("call", &|ctx| assert_eq!(typed.call(ctx, ()).unwrap(), 7));
    check("untyped call", &|ctx| seven.call(ctx, &[], &mut [Val::I32(0)]).unwrap());
    check("typed", &|ctx| assert!(seven.typed::<(), u32>(ctx).is_ok()));
    check("get_typed_func", &|ctx| assert!(instance.get_typed_func::<(), u32>(ctx, "seven").is_ok()));
    check("get_func", &|ctx| assert!(instance.get_func(ctx, "seven").is_some()));
    check("read", &|ctx| memory.read(ctx, 0, &mut [0]).unwrap());
    check("write", &|ctx| memory.write(ctx, 0, &[1]).unwrap());
    check("grow", &|ctx| assert_eq!(memory.grow(ctx, 1).unwrap(), 1));
    check("clear", &|ctx| assert!(memory.clear_pages(ctx, 0, 1).is_ok()));
    check("release", &|ctx| assert!(memory.release(ctx, 0, 1).is_ok()));
    check("residency", &|ctx| assert!(memory.residency(ctx).table_frames == 0));
    check("table", &|ctx| assert_eq!(table.grow(ctx, 1, Ref::from(seven)).unwrap(), 1));
    check("new memory", &|ctx| assert!(Memory::new(ctx, MemoryType::new(1, None)).is_ok()));
    check("instantiate", &|ctx| assert!(Linker::new().instantiate(ctx, &module).is_ok()));
    assert_eq!((ctx.stores[0].memories().count(), ctx.stores[1].memories().count()), (3, 0));
}

#[test]
fn a_guest_reaches_the_hosts_functions_and_objects_through_tables_and_globals() {
    let (mut store, guest) = instance(
        r#"(module (table (export "t") 1 2 funcref) (type $f (func (param i32) (result i32)))
            (func (export "call") (param i32) (result i32)
                (call_indirect (type $f) (local.get 0) (i32.const 1)))
            (func (export "same") (param externref) (result externref) (local.get 0)))"#,
    );
    let double = Func::wrap(&mut store, |number: u32| number * 2);
    assert_eq!(double.ty(&store), FuncType::new([ValType::I32], [ValType::I32]));
    let table = guest.get_table(&store, "t").unwrap();
    assert_eq!(table.grow(&mut store, 1, double.into()).unwrap(), 1);
    assert!(table.grow(&mut store, 1, double.into()).is_err(), "its maximum is 2");
    let call = guest.get_typed_func::<u32, u32>(&store, "call").unwrap();
    assert_eq!(call.call(&mut store, 21).unwrap(), 42);
    let Some(Ref::Func(found)) = table.get(&store, 1) else { panic!("the table has functions") };
    let found = Func::of_store(&store, *found.val().expect("it was set above"));
    assert_eq!(found.typed::<u32, u32>(&store).unwrap().call(&mut store, 2).unwrap(), 4);

    let object = ExternRef::new(&mut store, "of the host");
    let same = guest.get_func(&store, "same").unwrap();
    let mut results = [Val::I32(0)];
    same.call(&mut store, &[object.into()], &mut results).unwrap();
    let returned = results[0]
        .externref()
        .and_then(|found| found.val().map(|found| ExternRef::of_store(&store, **found)));
    assert_eq!(returned.unwrap().data(&store).downcast_ref(), Some(&"of the host"));

    let global = Global::new(&mut store, Val::from(double), Mutability::Var);
    global.set(&mut store, Val::default_for_ty(ValType::FuncRef)).unwrap();
    assert!(global.get(&store).funcref().is_some_and(|found| found.is_null()));
    assert!(global.set(&mut store, Val::I32(0)).is_err(), "it has another type");
    let other = Table::new(&mut store, TableType::new(RefType::Extern, 1, None), object.into()).unwrap();
    assert_eq!((other.size(&store), other.ty(&store).element()), (1, RefType::Extern));
    assert!(other.set(&mut store, 0, double.into()).is_err(), "it has another type");
}
