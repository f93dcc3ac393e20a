//! Programs that are run to their exit codes.

use crate::{support::engine, world::Written};
use palimpsest_engine::{Config, Linker, Module, Store, TrapCode};
use palimpsest_wasi::{NoRandom, RunError, Wasi, add_to_linker, run, run_with};

fn program(text: &str) -> Module {
    Module::new(&engine(Config::default()), &wat::parse_str(text).unwrap()).unwrap()
}

/// Returns a module that exports what `body` defines, and imports `proc_exit`, `fd_write` and
/// `random_get`.
fn importing(body: &str) -> Module {
    program(&format!(
        r#"(module
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (import "wasi_snapshot_preview1" "fd_write"
                (func $write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
            (memory (export "memory") 1)
            (data (i32.const 0) "\10\00\00\00\02\00\00\00") (data (i32.const 16) "ab")
            (func $put (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
            {body})"#
    ))
}

fn code_of(body: &str) -> Result<u32, RunError> {
    run(&importing(body), Wasi::builder().build())
}

#[test]
fn a_command_that_returns_has_the_code_0() {
    assert_eq!(code_of(r#"(func (export "_start"))"#).unwrap(), 0);
}

#[test]
fn the_code_of_proc_exit_is_returned_wherever_it_is_called() {
    for body in [
        r#"(func (export "_start") (call $exit (i32.const 7)))"#,
        r#"(func (export "_initialize") (call $exit (i32.const 7)))"#,
        r#"(func $first (call $exit (i32.const 7))) (start $first) (func (export "_start"))"#,
    ] {
        assert_eq!(code_of(body).unwrap(), 7, "{body}");
    }
}

#[test]
fn a_reactor_is_initialized_before_a_command_starts() {
    let written = Written::default();
    let body = r#"
        (func (export "_initialize") (i32.store8 (i32.const 16) (i32.const 0x49)))
        (func (export "_start") (call $put))"#;
    let code = run(&importing(body), Wasi::builder().stdout(written.clone()).build()).unwrap();
    assert_eq!((code, written.text()), (0, String::from("Ib")));
}

#[test]
fn a_failure_names_the_function_and_keeps_its_cause() {
    let error = code_of(r#"(func (export "_start") unreachable)"#).unwrap_err();
    let RunError::Failed { function, cause } = &error else { panic!("{error}") };
    assert_eq!((function.as_str(), cause.as_trap_code()), ("_start", Some(TrapCode::UnreachableCodeReached)));
    assert!(matches!(code_of(r#"(func (export "main"))"#), Err(RunError::NotAProgram)));
    let missing = run(&program(r#"(module (import "env" "absent" (func)))"#), Wasi::builder().build());
    assert!(matches!(missing, Err(RunError::Instantiate(_))));
}

#[test]
fn closures_are_outputs_and_sources_of_random_numbers() {
    let written = Written::default();
    let mut log = written.clone();
    let wasi = Wasi::builder()
        .stdout(move |bytes: &[u8]| palimpsest_wasi::Output::write(&mut log, bytes))
        .random(|bytes: &mut [u8]| {
            bytes.fill(b'r');
            Ok(())
        });
    let body = r#"(func (export "_start")
        (drop (call $random (i32.const 16) (i32.const 1))) (call $put))"#;
    assert_eq!(run(&importing(body), wasi.build()).unwrap(), 0);
    assert_eq!(written.text(), "rb");
}

#[test]
fn a_source_that_fails_is_an_error_code_of_random_get() {
    let wasi = Wasi::builder().random(|_: &mut [u8]| Err(NoRandom)).build();
    let body = r#"(func (export "_start") (call $exit (call $random (i32.const 16) (i32.const 1))))"#;
    assert_eq!(run(&importing(body), wasi).unwrap(), wasip1::ERRNO_IO.raw().into());
}

#[test]
fn a_linker_of_the_embedder_runs_programs_with_more_imports() {
    let module = program(
        r#"(module (import "kernel" "number" (func $number (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (func (export "_start") (call $exit (call $number))))"#,
    );
    let mut linker = Linker::new();
    add_to_linker(&mut linker, |wasi| wasi).unwrap();
    linker.func_wrap("kernel", "number", || 9_u32).unwrap();
    let mut store = Store::new(module.engine(), Wasi::builder().build());
    assert_eq!(run_with(&linker, &mut store, &module).unwrap(), 9);
}
