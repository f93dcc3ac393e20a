//! Tests what counts as passed and what as failed, on small streams.

use alloc::{boxed::Box, format, string::String, string::ToString, vec, vec::Vec};
use palimpsest_engine::{Backing, Fixed, Fuel};

use super::{Event, RunError, run};
use crate::{
    Totals,
    stream::{
        Action, Command, Directive, Expected, File, FloatPattern, Invoke, Pattern, Suite, Value, Writer,
    },
};

/// A file that the directives of a test stand in.
const FILE: File<'_> = File { suite: Suite::V2, name: "a.wast" };

/// The totals of a run, and the failures that were reported.
struct Outcome {
    totals: Totals,
    failures: Vec<String>,
    free_bytes: [u64; 2],
}

/// Runs a stream of one file, whose directives stand in lines from 1 on.
fn run_file(commands: Vec<(Expected, Command<'_>)>) -> Result<Outcome, RunError> {
    let mut writer = Writer::new();
    writer.start_file(FILE);
    for (line, (expected, command)) in (1..).zip(commands) {
        writer.directive(Directive { line, expected, command });
    }
    writer.end_file();
    let fixed = Fixed::new(Box::leak(Box::<[u8]>::new_uninit_slice(1 << 20)));
    let backing = Backing::from(fixed.clone());
    let before = fixed.free_bytes();
    let mut failures = Vec::new();
    let mut after = 0;
    let totals = run(&writer.finish(), &backing, Fuel::Unmetered, &mut |event| match event {
        Event::Failed { .. } => failures.push(event.to_string()),
        Event::FileDone { .. } => after = fixed.free_bytes(),
    })?;
    Ok(Outcome { totals, failures, free_bytes: [before, after] })
}

/// The verdict on the last of `commands`, all of which are expected to pass.
fn last_failure(commands: Vec<Command<'_>>) -> Result<Option<String>, RunError> {
    let last = u32::try_from(commands.len()).expect("a test has a handful of directives");
    let outcome = run_file(commands.into_iter().map(|command| (Expected::Pass, command)).collect())?;
    assert!(outcome.totals.failed <= 1, "{:?}", outcome.failures);
    let failure = outcome.failures.into_iter().next();
    Ok(failure.and_then(|line| {
        line.strip_prefix(&format!("FAILED wasm-v2/a.wast:{last}: ")).map(ToString::to_string)
    }))
}

fn wasm(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("the test's text is well-formed")
}

/// A module with functions that return, trap and hand an argument back.
fn module() -> Vec<u8> {
    wasm(
        r#"(module (memory 1)
            (global (export "seven") i32 (i32.const 7))
            (func (export "five") (result i32) (i32.const 5))
            (func (export "trap") (unreachable))
            (func (export "same") (param externref) (result externref) (local.get 0))
            (func (export "nan") (result v128)
                (v128.const i32x4 0xffc00000 0x7fc00001 0x3f800000 0x80000000)))"#,
    )
}

fn invoke<'a>(func: &'a str, args: &[Value]) -> Invoke<'a> {
    Invoke { instance: None, func, args: args.to_vec() }
}

fn returns<'a>(func: &'a str, args: &[Value], pattern: Pattern) -> Command<'a> {
    Command::AssertReturn { action: Action::Invoke(invoke(func, args)), results: vec![pattern] }
}

#[test]
fn assertions_that_hold_and_actions_are_counted_apart() -> Result<(), RunError> {
    let module = module();
    let seven = Action::Get { instance: None, global: "seven" };
    let commands = vec![
        Command::Module { name: None, wasm: &module },
        returns("five", &[], Pattern::I32(5)),
        Command::AssertReturn { action: seven, results: vec![Pattern::I32(7)] },
        Command::AssertTrap { invoke: invoke("trap", &[]), message: "unreachable" },
        Command::TextOnly,
    ];
    let outcome = run_file(commands.into_iter().map(|command| (Expected::Pass, command)).collect())?;
    let expected = Totals { passed: 3, failed: 0, known_misses: 0, text_only: 1, actions: 1 };
    assert_eq!((outcome.totals, outcome.totals.directives()), (expected, 5));
    assert_eq!(outcome.free_bytes[0], outcome.free_bytes[1]);
    Ok(())
}

#[test]
fn another_result_fails() -> Result<(), RunError> {
    let module = module();
    let module = Command::Module { name: None, wasm: &module };
    let failure = last_failure(vec![module.clone(), returns("five", &[], Pattern::I32(6))])?;
    assert_eq!(failure.as_deref(), Some("returned [I32(5)], where [I32(6)] is expected"));
    let failure = last_failure(vec![module, returns("five", &[], Pattern::I64(5))])?;
    assert!(failure.is_some());
    Ok(())
}

#[test]
fn another_trap_and_no_trap_fail() -> Result<(), RunError> {
    let module = module();
    let module = Command::Module { name: None, wasm: &module };
    let other = Command::AssertTrap { invoke: invoke("trap", &[]), message: "integer overflow" };
    let failure = last_failure(vec![module.clone(), other])?;
    assert_eq!(
        failure.as_deref(),
        Some("failed with `wasm `unreachable` instruction executed`, where `integer overflow` is expected")
    );
    let none = Command::AssertTrap { invoke: invoke("five", &[]), message: "unreachable" };
    assert_eq!(
        last_failure(vec![module, none])?.as_deref(),
        Some("succeeded, where `unreachable` is expected")
    );
    Ok(())
}

#[test]
fn a_valid_module_is_neither_malformed_nor_invalid_nor_unlinkable() -> Result<(), RunError> {
    let module = module();
    let (wasm, message) = (module.as_slice(), "type mismatch");
    for command in [
        Command::AssertMalformed { wasm, message },
        Command::AssertInvalid { wasm, message },
        Command::AssertUnlinkable { wasm, message },
        Command::AssertModuleTraps { wasm, message },
    ] {
        let failure = last_failure(vec![command])?;
        assert_eq!(failure.as_deref(), Some("succeeded, where `type mismatch` is expected"));
    }
    Ok(())
}

#[test]
fn a_module_fails_in_the_way_that_is_asserted() -> Result<(), RunError> {
    let invalid = wasm("(module (func (result i32)))");
    let unlinkable = wasm(r#"(module (import "a" "b" (func)))"#);
    let mismatch = wasm(r#"(module (import "spectest" "print_i32" (func)))"#);
    let traps = wasm("(module (memory 1) (data (i32.const 65536) \"x\"))");
    let [message, unknown, incompatible] = ["type mismatch", "unknown import", "incompatible import type"];
    for command in [
        Command::AssertInvalid { wasm: &invalid, message },
        Command::AssertMalformed { wasm: b"\0asm", message: "unexpected end" },
        Command::AssertUnlinkable { wasm: &unlinkable, message: unknown },
        Command::AssertUnlinkable { wasm: &mismatch, message: incompatible },
        Command::AssertModuleTraps { wasm: &traps, message: "out of bounds memory access" },
    ] {
        assert_eq!(last_failure(vec![command])?, None);
    }
    assert!(
        last_failure(vec![Command::AssertUnlinkable { wasm: &unlinkable, message: incompatible }])?.is_some()
    );
    assert!(last_failure(vec![Command::AssertUnlinkable { wasm: &invalid, message: unknown }])?.is_some());
    Ok(())
}

#[test]
fn a_listed_miss_is_counted_and_fails_once_it_passes() -> Result<(), RunError> {
    let module = module();
    let outcome = run_file(vec![
        (Expected::Pass, Command::Module { name: None, wasm: &module }),
        (Expected::KnownMiss, returns("five", &[], Pattern::I32(6))),
        (Expected::KnownMiss, returns("five", &[], Pattern::I32(5))),
    ])?;
    assert_eq!((outcome.totals.known_misses, outcome.totals.failed, outcome.totals.passed), (1, 1, 0));
    let expected = "FAILED wasm-v2/a.wast:3: is listed as a known miss and passes: take it off the list";
    assert_eq!(outcome.failures, [expected]);
    Ok(())
}

#[test]
fn references_of_the_host_come_back_as_they_were() -> Result<(), RunError> {
    let module = module();
    let module = Command::Module { name: None, wasm: &module };
    let call = |argument, pattern| vec![module.clone(), returns("same", &[argument], pattern)];
    for (argument, pattern) in [
        (Value::ExternRef(3), Pattern::ExternRef(3)),
        (Value::ExternRef(3), Pattern::AnyExtern),
        (Value::NullExtern, Pattern::NullExtern),
        (Value::NullExtern, Pattern::Null),
    ] {
        assert_eq!(last_failure(call(argument, pattern))?, None);
    }
    for (argument, pattern) in [
        (Value::ExternRef(3), Pattern::ExternRef(4)),
        (Value::ExternRef(3), Pattern::Null),
        (Value::NullExtern, Pattern::NullFunc),
        (Value::NullExtern, Pattern::AnyExtern),
    ] {
        assert!(last_failure(call(argument, pattern))?.is_some());
    }
    Ok(())
}

#[test]
fn each_lane_of_a_vector_has_its_own_pattern() -> Result<(), RunError> {
    const ONE: FloatPattern<u32> = FloatPattern::Bits(0x3f80_0000);
    const MINUS_ZERO: FloatPattern<u32> = FloatPattern::Bits(0x8000_0000);
    let module = module();
    let module = Command::Module { name: None, wasm: &module };
    let call = |lanes| vec![module.clone(), returns("nan", &[], Pattern::F32x4(lanes))];
    let (canonical, arithmetic) = (FloatPattern::CanonicalNan, FloatPattern::ArithmeticNan);
    assert_eq!(last_failure(call([canonical, arithmetic, ONE, MINUS_ZERO]))?, None);
    assert!(last_failure(call([canonical, canonical, ONE, MINUS_ZERO]))?.is_some());
    assert!(last_failure(call([canonical, arithmetic, MINUS_ZERO, ONE]))?.is_some());
    let right = Pattern::F32x4([arithmetic, arithmetic, ONE, MINUS_ZERO]);
    let either = Pattern::Either(vec![Pattern::V128(0), right]);
    assert_eq!(last_failure(vec![module.clone(), returns("nan", &[], either)])?, None);
    Ok(())
}

#[test]
fn instances_are_found_by_the_names_that_the_file_gives_them() -> Result<(), RunError> {
    let exporter = module();
    let importer = wasm(
        r#"(module (import "lib" "five" (func $five (result i32)))
            (func (export "six") (result i32) (i32.add (call $five) (i32.const 1))))"#,
    );
    let five = Invoke { instance: Some("a"), func: "five", args: Vec::new() };
    let commands = vec![
        Command::Define { name: Some("m"), wasm: &exporter },
        Command::Instantiate { name: Some("a"), definition: Some("m") },
        Command::Register { module: "lib", instance: Some("a") },
        Command::Module { name: None, wasm: &importer },
        returns("six", &[], Pattern::I32(6)),
        Command::AssertReturn { action: Action::Invoke(five), results: vec![Pattern::I32(5)] },
    ];
    assert_eq!(last_failure(commands)?, None);
    let unknown = Command::Register { module: "lib", instance: Some("b") };
    assert_eq!(last_failure(vec![unknown])?.as_deref(), Some("the file has no instance Some(\"b\")"));
    Ok(())
}
