//! Fuel, the depth of calls, and growth without the engine.

use crate::support::{engine_with, instance, module};
use palimpsest_engine::{
    AsContextMut, Caller, Commit, Config, Extern, Fuel, Limits, Linker, ReentryTooDeep, Store, StoreOptions,
    TrapCode,
};

#[test]
fn a_loop_without_end_stops_when_its_fuel_is_used_up() {
    let (engine, _) = engine_with(Config::default().fuel(Fuel::Metered));
    let module = module(&engine, "(module (func (export \"run\") (loop (br 0))))");
    let mut store = Store::new(&engine, ());
    store.set_fuel(10_000).unwrap();
    let instance = Linker::new().instantiate(&mut store, &module).unwrap();
    let error = instance.get_typed_func::<(), ()>(&store, "run").unwrap().call(&mut store, ()).unwrap_err();
    assert_eq!(error.as_trap_code(), Some(TrapCode::OutOfFuel));
}

#[test]
fn clearing_costs_fuel_by_the_frames_it_worked_on() {
    let (engine, _) = engine_with(Config::default().fuel(Fuel::Metered));
    let module = module(&engine, r#"(module (memory (export "m") 4))"#);
    let mut store = Store::new(&engine, ());
    store.set_fuel(10_000).unwrap();
    let instance = Linker::new().instantiate(&mut store, &module).unwrap();
    let memory = instance.get_memory(&store, "m").unwrap();
    let before = store.get_fuel().unwrap();
    memory.clear_pages(&mut store, 0, 2).unwrap();
    // This backing zeroes them, which costs a unit for 64 bytes.
    assert_eq!(before - store.get_fuel().unwrap(), 2 * 65_536 / 64);
    memory.clear_pages(&mut store, 0, 0).unwrap();
    assert_eq!(before - store.get_fuel().unwrap(), 2 * 65_536 / 64 + 1);
}

#[test]
fn guest_and_host_calling_each_other_ends_at_the_configured_depth() {
    let mut limits = Limits::default();
    limits.reentry_depth = 5;
    let (engine, _) = engine_with(Config::default().limits(limits));
    let module = module(
        &engine,
        r#"(module (import "env" "again" (func $again)) (func (export "run") (call $again)))"#,
    );
    let mut linker = Linker::new();
    linker
        .func_wrap("env", "again", |mut caller: Caller<'_, u32>| {
            *caller.data_mut() += 1;
            let run = caller.get_export("run").and_then(Extern::into_func).expect("it is exported");
            run.call(caller.as_context_mut(), &[], &mut [])
        })
        .unwrap();
    let mut store = Store::new(&engine, 0_u32);
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let run = instance.get_typed_func::<(), ()>(&store, "run").unwrap();
    let error = run.call(&mut store, ()).unwrap_err();
    assert_eq!(error.downcast_ref::<ReentryTooDeep>(), Some(&ReentryTooDeep { limit: 5 }));
    assert_eq!(*store.data(), 5);
    // The count of levels has returned to 0.
    *store.data_mut() = 0;
    assert!(run.call(&mut store, ()).is_err());
    assert_eq!(*store.data(), 5);
}

#[test]
fn a_million_failing_grows_in_one_call_keep_no_native_stack() {
    let run = || {
        let (mut store, instance) = instance(
            r#"(module (memory 1 1) (table 1 1 funcref)
                (func (export "memory") (result i32) (local $n i32) (local $failed i32)
                    (local.set $n (i32.const 1000000))
                    (loop $again
                        (local.set $failed (i32.sub (local.get $failed) (memory.grow (i32.const 1))))
                        (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
                    (local.get $failed))
                (func (export "table") (result i32) (local $n i32) (local $failed i32)
                    (local.set $n (i32.const 1000000))
                    (loop $again
                        (local.set $failed
                            (i32.sub (local.get $failed) (table.grow (ref.null func) (i32.const 1))))
                        (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
                    (local.get $failed)))"#,
        );
        for name in ["memory", "table"] {
            let grows = instance.get_typed_func::<(), i32>(&store, name).unwrap();
            assert_eq!(grows.call(&mut store, ()).unwrap(), 1_000_000, "{name}");
        }
    };
    // wasmi's own `memory.grow` keeps about 180 bytes for each failure, which would be 180 MB here.
    // An unoptimised build needs the 2 MiB.
    std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap().join().unwrap();
}

#[test]
fn a_store_has_its_own_limits() {
    let (engine, backing) = engine_with(Config::default().fuel(Fuel::Metered));
    let module = module(&engine, "(module (memory 2 2))");
    let free = backing.free_bytes();
    let mut limits = *engine.limits();
    limits.fuel = Some(500);
    limits.resident_frames = Some(40);
    let mut store =
        Store::with_options(&engine, (), StoreOptions { limits: Some(limits), commit: Commit::Reserved });
    assert_eq!(store.get_fuel().unwrap(), 500);
    Linker::new().instantiate(&mut store, &module).unwrap();
    let report = store.report();
    assert_eq!((report.reserved_bytes, report.committed_bytes), (2 << 16, 2 << 16));
    assert_eq!((report.charged_frames, report.held_frames, report.peak_frames), (32, 32, 32));
    let error = Linker::new().instantiate(&mut store, &module).unwrap_err();
    assert_eq!(
        error.to_string(),
        "memory 0: no frames for a memory of 131072 bytes: the store holds 32 frames and needs 32 more; the limit \
         `resident_frames` is 40; drop a store or raise `resident_frames`"
    );
    drop(store);
    assert_eq!(backing.free_bytes(), free);
}

#[test]
fn calls_nest_as_deeply_as_the_limit_allows() {
    const TEXT: &str = r#"(module (func $down (export "down") (param i32) (result i32)
        (if (result i32) (i32.eqz (local.get 0))
            (then (i32.const 0))
            (else (i32.add (i32.const 1) (call $down (i32.sub (local.get 0) (i32.const 1))))))))"#;
    for depth in [50, 5_000] {
        let mut limits = Limits::default();
        limits.call_depth = depth;
        let (engine, _) = engine_with(Config::default().limits(limits));
        let module = module(&engine, TEXT);
        let mut store = Store::new(&engine, ());
        let instance = Linker::new().instantiate(&mut store, &module).unwrap();
        let down = instance.get_typed_func::<u32, u32>(&store, "down").unwrap();
        let calls = u32::try_from(depth).unwrap();
        assert_eq!(down.call(&mut store, calls / 2).unwrap(), calls / 2);
        let error = down.call(&mut store, calls * 2).unwrap_err();
        assert_eq!(error.as_trap_code(), Some(TrapCode::StackOverflow));
    }
}
