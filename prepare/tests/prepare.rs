//! What a prepared guest requires of the engine that loads it.

#![expect(clippy::unwrap_used, reason = "a test ends where its expectation fails")]

use palimpsest_engine::{Config, Engine, Features, Fixed, Fuel, Module, ModuleError, PreparedError};
use palimpsest_prepare::prepare;
use std::mem::MaybeUninit;

/// Prepares the module of `text`, and loads it in an engine with these proposals.
fn load(text: &str, features: Features) -> Result<Module, ModuleError> {
    let file = prepare(&wat::parse_str(text).unwrap(), Fuel::Unmetered)?.leak();
    let ram = Box::leak(vec![MaybeUninit::uninit(); 1 << 20].into_boxed_slice());
    let engine = Engine::new(Config::default().features(features), Fixed::new(ram)).unwrap();
    // SAFETY: `prepare` has just returned the bytes.
    unsafe { Module::from_prepared(&engine, file) }
}

#[test]
fn a_guest_requires_only_the_extensions_that_it_uses() {
    let extensions = [
        (Features::SIMD, "(module (func (drop (v128.const i64x2 1 2))))"),
        (Features::MEMORY64, "(module (memory i64 1))"),
        (Features::MULTI_MEMORY, "(module (memory 1) (memory 1))"),
        (Features::TAIL_CALL, "(module (func $f (return_call $f)))"),
        (Features::MEMORY_CONTROL, "(module (memory 1) (func (memory.discard (i32.const 0) (i32.const 0))))"),
    ];
    for (feature, text) in extensions {
        let others = Features::all() - feature;
        let ModuleError::Prepared(PreparedError::Features { missing }) = load(text, others).unwrap_err()
        else {
            panic!("{text}")
        };
        assert_eq!(missing, feature);
        for other in others {
            let is_common = load("(module)", Features::all() - other).is_err();
            assert!(is_common || load(text, Features::all() - other).is_ok(), "{feature:?} and {other:?}");
        }
    }
}

#[test]
fn a_guest_beyond_the_default_limits_is_prepared_and_the_engine_refuses_it() {
    let tables = "(table 1 funcref)".repeat(101);
    let error = prepare(&wat::parse_str(format!("(module {tables})")).unwrap(), Fuel::Unmetered).unwrap_err();
    assert!(matches!(error, ModuleError::Limit { limit: "tables", value: 100, .. }), "{error}");
    let constant = format!("(i32.const 1) {}", "(i32.const 1) (i32.add)".repeat(20));
    let error = load(&format!("(module (global i32 {constant}))"), Features::all()).unwrap_err();
    assert!(matches!(error, ModuleError::Limit { limit: "constant_operators", value: 32, .. }), "{error}");
}

#[test]
fn an_invalid_guest_is_refused_for_what_all_proposals_leave_wrong() {
    let wasm = wat::parse_str("(module (func (drop (i64.add (i32.const 1) (i64.const 1)))))").unwrap();
    let error = prepare(&wasm, Fuel::Unmetered).unwrap_err();
    assert!(matches!(error, ModuleError::Invalid { .. }), "{error}");
}
