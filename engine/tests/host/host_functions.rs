//! Host functions: which closures can be one, and what they can do with their caller.

use crate::support::{engine, engine_with, module};
use palimpsest_engine::{
    Caller, ClearError, Config, Error, Extern, Fuel, Func, FuncType, Instance, Linker, MemoryAccessError,
    Store, Val, ValType,
};

/// Instantiates `wat` in a store with the data 0.
fn instance(linker: &Linker<u32>, wat: &str) -> (Store<u32>, Instance) {
    let engine = engine();
    let module = module(&engine, wat);
    let mut store = Store::new(&engine, 0);
    let instance = linker.instantiate(&mut store, &module).unwrap();
    (store, instance)
}

/// A guest that calls `env.f` of the type `() -> i32` and returns the result. It contains a
/// `memory.grow`, for which the engine adds the host table.
const CALLS_F: &str = r#"(module (import "env" "f" (func $f (result i32)))
    (memory (export "m") 1 2) (global (export "g") i32 (i32.const 7)) (table (export "t") 1 funcref)
    (func (export "grow") (drop (memory.grow (i32.const 1))))
    (func (export "run") (result i32) (call $f)))"#;

/// Defines `env.f`, calls it from a guest, and returns the guest's result.
fn call_f(
    f: impl Fn(Caller<'_, u32>) -> Result<u32, Error> + Clone + Send + Sync + 'static,
) -> Result<u32, Error> {
    let mut linker = Linker::new();
    linker.func_wrap("env", "f", f).unwrap();
    let (mut store, instance) = instance(&linker, CALLS_F);
    instance.get_typed_func::<(), u32>(&store, "run").unwrap().call(&mut store, ())
}

#[test]
fn a_callers_memory_can_be_written_grown_and_cleared() {
    let run = call_f(|mut caller| {
        let memory = caller.get_export("m").and_then(Extern::into_memory).expect("it is exported");
        memory.write(&mut caller, 65_530, b"secret")?;
        assert_eq!(memory.grow(&mut caller, 1).ok(), Some(1));
        memory.clear_pages(&mut caller, 0, 1)?;
        let mut read = [1; 6];
        memory.read(&caller, 65_530, &mut read)?;
        assert_eq!(read, [0; 6]);
        Ok(u32::try_from(memory.size(&caller)).unwrap())
    });
    assert_eq!(run.unwrap(), 2);
}

#[test]
fn a_caller_has_memory_0_of_the_importing_module() {
    let mut linker = Linker::new();
    let size = |caller: Caller<'_, u32>| caller.memory().map_or(0, |memory| memory.size_bytes(&caller));
    linker.func_wrap("env", "f", size).unwrap();
    linker
        .func_new("env", "g", FuncType::new([], [ValType::I64]), move |caller, _, results| {
            results[0] = Val::I64(size(caller).cast_signed());
            Ok(())
        })
        .unwrap();
    let engine = engine();
    let mut store = Store::new(&engine, 0);
    let mut sizes = |import: &str, memories: &str| {
        let wat = format!(
            r#"(module (import "env" "{import}" (func $f (result i64))) {memories}
                (func (export "run") (result i64) (call $f)))"#
        );
        let instance = linker.instantiate(&mut store, &module(&engine, &wat)).unwrap();
        let run = instance.get_typed_func::<(), u64>(&store, "run").unwrap();
        run.call(&mut store, ()).unwrap()
    };
    for import in ["f", "g"] {
        assert_eq!(sizes(import, "(memory 2) (memory 1)"), 2 << 16, "none is exported");
        assert_eq!(sizes(import, "(memory i64 3)"), 3 << 16);
        assert_eq!(sizes(import, ""), 0, "the module has no memory");
    }
}

#[test]
fn a_caller_finds_exports_by_name_and_kind_but_none_of_the_engines_own() {
    let run = call_f(|caller| {
        let kinds = ["m", "g", "t", "run"].map(|name| match caller.get_export(name) {
            Some(Extern::Memory(_)) => 'm',
            Some(Extern::Global(_)) => 'g',
            Some(Extern::Table(_)) => 't',
            Some(Extern::Func(_)) => 'f',
            None => '-',
        });
        assert_eq!(kinds, ['m', 'g', 't', 'f']);
        assert!(caller.get_export("\0palimpsest.host-table").is_none());
        assert!(caller.get_export("absent").and_then(Extern::into_func).is_none());
        assert!(caller.get_export("m").and_then(Extern::into_func).is_none());
        Ok(3)
    });
    assert_eq!(run.unwrap(), 3);
}

#[test]
fn a_function_that_the_host_calls_has_a_caller_without_exports() {
    let mut linker = Linker::new();
    let calls = |mut caller: Caller<'_, u32>| {
        *caller.data_mut() += 1;
        u32::from(caller.get_export("m").is_some())
    };
    linker.func_wrap("env", "f", calls).unwrap();
    let (mut store, instance) = instance(
        &linker,
        r#"(module (import "env" "f" (func $f (result i32))) (memory (export "m") 1) (export "f" (func $f)))"#,
    );
    let f = instance.get_typed_func::<(), u32>(&store, "f").unwrap();
    assert_eq!(f.call(&mut store, ()).unwrap(), 0);
    assert_eq!(*store.data(), 1);
}

#[test]
fn errors_of_the_engine_end_the_guest_with_a_question_mark() {
    let read = call_f(|caller| {
        let memory = caller.get_export("m").and_then(Extern::into_memory).expect("it is exported");
        memory.read(&caller, 65_535, &mut [0; 2])?;
        Ok(0)
    });
    let expected = MemoryAccessError::OutOfBounds { offset: 65_535, len: 2, size: 65_536 };
    let error = read.unwrap_err();
    assert_eq!(error.downcast_ref::<MemoryAccessError>(), Some(&expected));
    assert_eq!(error.to_string(), "out of bounds access: offset 65535, 2 bytes, in a memory of 65536 bytes");
    let cleared = call_f(|mut caller| {
        let memory = caller.get_export("m").and_then(Extern::into_memory).expect("it is exported");
        memory.write(&mut caller, 65_536, &[]).expect("an empty range at the end is inside");
        memory.clear_pages(&mut caller, 1, 1)?;
        Ok(0)
    });
    let expected = ClearError::OutOfBounds { start: 1, count: 1, size: 1 };
    assert_eq!(cleared.unwrap_err().downcast_ref::<ClearError>(), Some(&expected));
}

#[test]
fn host_functions_have_up_to_16_parameters_with_and_without_a_caller() {
    type I = u64;
    let mut linker = Linker::<u32>::new();
    #[rustfmt::skip]
    let plain = |a: I, b: I, c: I, d: I, e: I, f: I, g: I, h: I, i: I, j: I, k: I, l: I, m: I, n: I, o: I, p: I| {
        a + b + c + d + e + f + g + h + i + j + k + l + m + n + o + p
    };
    linker.func_wrap("env", "plain", plain).unwrap();
    #[rustfmt::skip]
    let calling = move |mut caller: Caller<'_, u32>, a: I, b: I, c: I, d: I, e: I, f: I, g: I, h: I, i: I, j: I, k: I,
                        l: I, m: I, n: I, o: I, p: I| {
        *caller.data_mut() += 1;
        (plain(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p), p)
    };
    linker.func_wrap("env", "calling", calling).unwrap();
    let params = "i64 ".repeat(16);
    let values: String = (1..=16).map(|value| format!("(i64.const {value})")).collect();
    let (mut store, instance) = instance(
        &linker,
        &format!(
            r#"(module (import "env" "plain" (func $plain (param {params}) (result i64)))
                (import "env" "calling" (func $calling (param {params}) (result i64 i64)))
                (func (export "run") (result i64 i64 i64) (call $plain {values}) (call $calling {values})))"#
        ),
    );
    let run = instance.get_typed_func::<(), (u64, u64, u64)>(&store, "run").unwrap();
    assert_eq!(run.call(&mut store, ()).unwrap(), (136, 136, 16));
    assert_eq!(*store.data(), 1);
}

#[test]
fn an_untyped_function_gets_its_caller_too() {
    let mut linker = Linker::<u32>::new();
    let ty = FuncType::new([ValType::I32], [ValType::I32]);
    linker
        .func_new("env", "f", ty, |mut caller, params, results| {
            *caller.data_mut() += 1;
            assert!(caller.get_export("m").and_then(Extern::into_memory).is_some());
            results.clone_from_slice(params);
            Ok(())
        })
        .unwrap();
    let (mut store, instance) = instance(
        &linker,
        r#"(module (import "env" "f" (func $f (param i32) (result i32))) (memory (export "m") 1)
            (func (export "run") (result i32) (call $f (i32.const 9))))"#,
    );
    let run: Func = instance.get_func(&store, "run").unwrap();
    let mut results = [Val::I32(0)];
    run.call(&mut store, &[], &mut results).unwrap();
    assert_eq!((results[0].i32(), *store.data()), (Some(9), 1));
}

#[test]
fn a_host_function_charges_fuel_and_a_guest_that_cannot_pay_keeps_none() {
    let (engine, _) = engine_with(Config::default().fuel(Fuel::Metered));
    let module = module(&engine, CALLS_F);
    let mut linker = Linker::<u32>::new();
    let charges = |mut caller: Caller<'_, u32>| -> Result<u32, Error> {
        let units = *caller.data();
        let before = caller.get_fuel()?;
        caller.charge_fuel(units.into());
        Ok(u32::try_from(before - caller.get_fuel()?).unwrap())
    };
    linker.func_wrap("env", "f", charges).unwrap();
    let mut store = Store::new(&engine, 0);
    store.set_fuel(1_000).unwrap();
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let run = instance.get_typed_func::<(), u32>(&store, "run").unwrap();
    *store.data_mut() = 100;
    assert_eq!(run.call(&mut store, ()).unwrap(), 100);
    let left = store.get_fuel().unwrap();
    assert!(left < 900, "{left}");
    *store.data_mut() = 10_000;
    let charged = run.call(&mut store, ()).unwrap();
    assert!(u64::from(charged) <= left, "{charged} of {left}");
    assert_eq!(store.get_fuel().unwrap(), 0);
}

#[test]
fn charging_fuel_has_no_effect_without_metering() {
    let run = call_f(|mut caller| {
        caller.charge_fuel(1_000);
        assert!(caller.get_fuel().is_err());
        Ok(1)
    });
    assert_eq!(run.unwrap(), 1);
}
