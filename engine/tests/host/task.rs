//! Tasks: calls in slices of fuel, pauses, quotas.

use crate::support::{engine_with, module};
use palimpsest_engine::{
    Caller, Config, Error, Fuel, Limits, Linker, Module, Pause, Poll, Store, Task, TaskError, TrapCode, Val,
};

/// A guest that calls two functions, which are translated at their first call, and uses floats, the
/// host table and a fill.
const WORK: &str = r#"(module (memory (export "m") 1 8) (global $sum (mut f64) (f64.const 0))
    (func $fib (param i32) (result i32)
        (if (result i32) (i32.lt_u (local.get 0) (i32.const 2))
            (then (local.get 0))
            (else (i32.add
                (call $fib (i32.sub (local.get 0) (i32.const 1)))
                (call $fib (i32.sub (local.get 0) (i32.const 2)))))))
    (func $add (param f64) (global.set $sum (f64.add (global.get $sum) (f64.sqrt (local.get 0)))))
    (func (export "run") (param i32) (result i32 f64)
        (local $n i32)
        (local.set $n (local.get 0))
        (loop $again
            (call $add (f64.convert_i32_u (local.get $n)))
            (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
        (drop (memory.grow (i32.const 1)))
        (memory.fill (i32.const 0) (i32.const 1) (i32.const 131072))
        (i32.add (call $fib (local.get 0)) (i32.load8_u (i32.const 131071)))
        (global.get $sum)))"#;

fn metered(text: &str) -> Module {
    module(&engine_with(Config::default().fuel(Fuel::Metered)).0, text)
}

fn task(module: &Module, name: &str, arguments: &[Val]) -> Task<()> {
    Task::instantiate(Store::new(module.engine(), ()), &Linker::new(), module, name, arguments).unwrap()
}

/// Runs `task` to its end in slices of `fuel` units. Returns its results and the number of slices.
fn run_in_slices<T>(task: &mut Task<T>, fuel: u64) -> (Result<Vec<Val>, Error>, usize) {
    for slices in 1.. {
        match task.run(fuel) {
            Poll::Runnable | Poll::Waiting { .. } => {}
            Poll::Returned(values) => return (Ok(values), slices),
            Poll::Failed(error) => return (Err(error), slices),
        }
    }
    unreachable!("only a return ends the loop")
}

fn numbers(values: &[Val]) -> (i32, u64) {
    match values {
        [Val::I32(int), Val::F64(float)] => (*int, float.to_bits()),
        other => panic!("two values of other types: {other:?}"),
    }
}

#[test]
fn a_call_has_the_same_result_in_slices_of_any_size() {
    let mut whole = task(&metered(WORK), "run", &[Val::I32(14)]);
    let (values, slices) = run_in_slices(&mut whole, u64::MAX);
    let expected = numbers(&values.unwrap());
    assert_eq!(slices, 1);
    assert_eq!(expected.0, 377 + 1);
    for fuel in [1, 2, 3, 7, 64, 1_000] {
        // Each size has a new engine, so that the functions are translated anew.
        let mut sliced = task(&metered(WORK), "run", &[Val::I32(14)]);
        let (values, slices) = run_in_slices(&mut sliced, fuel);
        assert_eq!(numbers(&values.unwrap()), expected, "slices of {fuel}");
        assert_eq!(sliced.fuel_used(), whole.fuel_used(), "slices of {fuel}");
        assert!(slices as u64 >= whole.fuel_used() / fuel, "{slices} slices of {fuel}");
    }
}

#[test]
fn a_start_function_runs_in_slices_too() {
    let module = metered(
        r#"(module (global $n (mut i32) (i32.const 10000))
            (func $start (loop $again
                (global.set $n (i32.sub (global.get $n) (i32.const 1)))
                (br_if $again (global.get $n))))
            (start $start)
            (func (export "left") (result i32) (global.get $n)))"#,
    );
    let mut task = task(&module, "left", &[]);
    assert!(matches!(task.run(100), Poll::Runnable));
    let (values, slices) = run_in_slices(&mut task, 100);
    assert!(matches!(values.unwrap()[..], [Val::I32(0)]));
    assert!(slices > 100, "{slices} slices");
}

#[test]
fn a_guest_in_an_endless_loop_can_be_killed_and_looked_at() {
    let module = metered(
        r#"(module (memory (export "m") 1)
            (func (export "run") (i32.store8 (i32.const 3) (i32.const 7)) (loop (br 0))))"#,
    );
    let mut task = task(&module, "run", &[]);
    for _ in 0..10 {
        assert!(matches!(task.run(50), Poll::Runnable));
    }
    assert!(!task.is_over());
    assert!((450..=500).contains(&task.fuel_used()), "{}", task.fuel_used());
    let store = task.kill();
    let memory = store.memories().next().unwrap();
    assert_eq!(memory.data(&store)[3], 7);
}

#[test]
fn the_quota_of_fuel_ends_a_task_and_no_slice_exceeds_it() {
    let mut limits = Limits::default();
    limits.fuel = Some(1_000);
    let (engine, _) = engine_with(Config::default().fuel(Fuel::Metered).limits(limits));
    let module = module(&engine, "(module (func (export \"run\") (loop (br 0))))");
    let mut task = task(&module, "run", &[]);
    let (ended, slices) = run_in_slices(&mut task, 300);
    assert_eq!(ended.unwrap_err().as_trap_code(), Some(TrapCode::OutOfFuel));
    assert_eq!(slices, 4);
    assert!((990..=1_000).contains(&task.fuel_used()), "{}", task.fuel_used());
    let Poll::Failed(error) = task.run(300) else { panic!("a task that is over goes on") };
    assert!(matches!(error.downcast_ref(), Some(TaskError::Over)));
}

#[test]
fn a_pause_ends_the_slice_and_the_host_functions_results_arrive_after_it() {
    let module = metered(
        r#"(module (import "host" "sleep" (func $sleep (param i64) (result i32)))
            (import "host" "yield" (func $yield))
            (func (export "run") (result i32)
                (call $yield)
                (i32.add (call $sleep (i64.const 50)) (call $sleep (i64.const 70)))))"#,
    );
    let mut linker = Linker::<u32>::new();
    linker
        .func_wrap("host", "sleep", |mut caller: Caller<'_, u32>, until: u64| {
            *caller.data_mut() += 1;
            let result = Val::I32(i32::try_from(until).unwrap());
            Err::<i32, _>(Error::host(Pause::until(until, &[result])))
        })
        .unwrap();
    linker.func_wrap("host", "yield", || Err::<(), _>(Error::host(Pause::now(&[])))).unwrap();
    let store = Store::new(module.engine(), 0);
    let mut task = Task::instantiate(store, &linker, &module, "run", &[]).unwrap();
    assert!(matches!(task.run(1_000), Poll::Runnable));
    assert!(matches!(task.run(1_000), Poll::Waiting { until_ns: 50 }));
    assert!(matches!(task.run(1_000), Poll::Waiting { until_ns: 70 }));
    assert_eq!(*task.store().data(), 2);
    let Poll::Returned(values) = task.run(1_000) else { panic!("nothing is left to wait for") };
    assert!(matches!(values[..], [Val::I32(120)]));
    assert!(task.is_over());
}

#[test]
fn a_pause_outside_of_a_task_is_an_error_with_the_reason() {
    let module = metered(r#"(module (import "host" "yield" (func $y)) (func (export "run") (call $y)))"#);
    let mut linker = Linker::<()>::new();
    linker.func_wrap("host", "yield", || Err::<(), _>(Error::host(Pause::now(&[])))).unwrap();
    let mut store = Store::new(module.engine(), ());
    store.set_fuel(1_000).unwrap();
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let error = instance.get_typed_func::<(), ()>(&store, "run").unwrap().call(&mut store, ()).unwrap_err();
    assert_eq!(error.to_string(), "the guest yields, which a plain call cannot resume; run it as a task");
}

#[test]
fn a_pause_with_results_of_another_type_ends_the_guest() {
    let module = metered(
        r#"(module (import "host" "f" (func $f (result i32))) (func (export "run") (drop (call $f))))"#,
    );
    let mut linker = Linker::<()>::new();
    linker.func_wrap("host", "f", || Err::<i32, _>(Error::host(Pause::now(&[Val::I64(1)])))).unwrap();
    let store = Store::new(module.engine(), ());
    let mut task = Task::instantiate(store, &linker, &module, "run", &[]).unwrap();
    assert!(matches!(task.run(1_000), Poll::Runnable));
    assert!(matches!(task.run(1_000), Poll::Failed(_)));
    assert!(task.is_over());
}

#[test]
fn what_cannot_become_a_task_is_named() {
    let (unmetered, _) = engine_with(Config::default());
    let module = module(&unmetered, WORK);
    let make = |module: &Module, name: &str, arguments: &[Val]| {
        let store = Store::new(module.engine(), ());
        Task::instantiate(store, &Linker::new(), module, name, arguments).unwrap_err()
    };
    assert!(matches!(make(&module, "run", &[Val::I32(1)]), TaskError::Unmetered));
    let module = metered(WORK);
    assert!(matches!(make(&module, "walk", &[]), TaskError::NoExport { name } if name == "walk"));
    assert!(matches!(make(&module, "run", &[]), TaskError::Arguments { given, .. } if given.is_empty()));
    let module = metered(r#"(module (import "a" "b" (func)))"#);
    assert!(matches!(make(&module, "run", &[]), TaskError::Instantiate(_)));
}

#[test]
fn a_host_function_that_divides_its_work_is_called_again_until_it_returns() {
    let module = metered(
        r#"(module (import "host" "work" (func $work (param i32) (result i64)))
            (func (export "once") (result i64) (call $work (i32.const 9)))
            (func (export "run") (result i64) (i64.add (call $work (i32.const 9)) (call $work (i32.const 0)))))"#,
    );
    let mut linker = Linker::<u32>::new();
    linker
        .func_wrap("host", "work", |mut caller: Caller<'_, u32>, left: u32| {
            let expected = if *caller.data() == 0 || *caller.data() == 10 { 0 } else { 7 };
            assert_eq!((caller.take_progress(), caller.take_progress()), (expected, 0));
            *caller.data_mut() += 1;
            caller.charge_fuel(100);
            if left == 0 || !caller.can_pause() {
                return Ok(i64::from(left) + 1);
            }
            Err(Error::host(Pause::again(&[Val::I32(left.cast_signed() - 1)], 7)))
        })
        .unwrap();
    // Each of the 11 calls costs 100 units. What a call costs beyond the slice is paid by the next
    // slices, before the next call.
    for (fuel, least, most) in [(10_000, 1, 1), (201, 5, 6), (1, 900, 1_100)] {
        let store = Store::new(module.engine(), 0);
        let mut task = Task::instantiate(store, &linker, &module, "run", &[]).unwrap();
        let (values, slices) = run_in_slices(&mut task, fuel);
        assert!(matches!(values.unwrap()[..], [Val::I64(2)]), "each of the two calls returns 1");
        assert_eq!(*task.store().data(), 11);
        assert!((least..=most).contains(&slices), "{slices} slices of {fuel}");
    }
    // A call without a task is not divided.
    let mut store = Store::new(module.engine(), 0);
    store.set_fuel(10_000).unwrap();
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let work = instance.get_typed_func::<(), i64>(&store, "once").unwrap();
    assert_eq!(work.call(&mut store, ()).unwrap(), 9 + 1);
    assert_eq!(*store.data(), 1);
}

#[test]
fn a_host_function_can_fail_or_pause_when_it_is_called_again() {
    let module = metered(
        r#"(module (import "host" "work" (func $work (param i32) (result i32)))
            (func (export "run") (param i32) (result i32) (call $work (local.get 0))))"#,
    );
    let mut linker = Linker::<()>::new();
    linker
        .func_wrap("host", "work", |left: u32| -> Result<u32, Error> {
            Err(match left {
                0 => TrapCode::UnreachableCodeReached.into(),
                1 => Error::host(Pause::until(70, &[Val::I32(5)])),
                _ => Error::host(Pause::again(&[Val::I32(left.cast_signed() - 2)], 0)),
            })
        })
        .unwrap();
    let task = |left| {
        let store = Store::new(module.engine(), ());
        Task::instantiate(store, &linker, &module, "run", &[Val::I32(left)]).unwrap()
    };
    let Poll::Failed(error) = task(4).run(1_000) else { panic!("it fails in its third call") };
    assert_eq!(error.as_trap_code(), Some(TrapCode::UnreachableCodeReached));
    let mut waiting = task(5);
    assert!(matches!(waiting.run(1_000), Poll::Waiting { until_ns: 70 }));
    let Poll::Returned(values) = waiting.run(1_000) else { panic!("it returns after the wait") };
    assert!(matches!(values[..], [Val::I32(5)]));
}
