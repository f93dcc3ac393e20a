//! Arguments for the engine, and the comparison of its results with patterns.

use palimpsest_engine::{ExternRef, F32, F64, Nullable, Store, V128, Val};

use crate::stream::{Pattern, Value};

/// The argument `value` of a call in `store`.
pub(super) fn argument(store: &mut Store<()>, value: Value) -> Val {
    match value {
        Value::I32(value) => Val::I32(value),
        Value::I64(value) => Val::I64(value),
        Value::F32(bits) => Val::F32(F32::from_bits(bits)),
        Value::F64(bits) => Val::F64(F64::from_bits(bits)),
        Value::V128(bits) => Val::V128(V128::from(bits)),
        Value::NullFunc => Val::FuncRef(Nullable::Null),
        Value::NullExtern => Val::ExternRef(Nullable::Null),
        Value::ExternRef(number) => Val::from(ExternRef::new(store, number)),
    }
}

/// Whether there is a pattern for each result, and the result is one of those that are meant.
pub(super) fn all_match(store: &Store<()>, patterns: &[Pattern], results: &[Val]) -> bool {
    patterns.len() == results.len()
        && patterns.iter().zip(results).all(|(pattern, result)| matches(store, pattern, result))
}

fn matches(store: &Store<()>, pattern: &Pattern, result: &Val) -> bool {
    match pattern {
        Pattern::I32(expected) => result.i32() == Some(*expected),
        Pattern::I64(expected) => result.i64() == Some(*expected),
        Pattern::F32(expected) => result.f32().is_some_and(|found| expected.matches(found.to_bits())),
        Pattern::F64(expected) => result.f64().is_some_and(|found| expected.matches(found.to_bits())),
        Pattern::V128(expected) => vector(result) == Some(expected.to_le_bytes()),
        Pattern::F32x4(expected) => vector(result).is_some_and(|found| {
            let (lanes, _) = found.as_chunks();
            expected.iter().zip(lanes).all(|(expected, lane)| expected.matches(u32::from_le_bytes(*lane)))
        }),
        Pattern::F64x2(expected) => vector(result).is_some_and(|found| {
            let (lanes, _) = found.as_chunks();
            expected.iter().zip(lanes).all(|(expected, lane)| expected.matches(u64::from_le_bytes(*lane)))
        }),
        Pattern::Null => is_null_func(result) || is_null_extern(result),
        Pattern::NullFunc => is_null_func(result),
        Pattern::NullExtern => is_null_extern(result),
        Pattern::AnyFunc => result.funcref().is_some_and(|found| !found.is_null()),
        Pattern::AnyExtern => result.externref().is_some_and(|found| !found.is_null()),
        Pattern::ExternRef(expected) => host_object(store, result) == Some(*expected),
        Pattern::Either(patterns) => patterns.iter().any(|pattern| matches(store, pattern, result)),
    }
}

/// The bytes of a vector, lane 0 first.
fn vector(result: &Val) -> Option<[u8; 16]> {
    if let Val::V128(found) = result { Some(found.as_u128().to_le_bytes()) } else { None }
}

fn is_null_func(result: &Val) -> bool {
    result.funcref().is_some_and(|found| found.is_null())
}

fn is_null_extern(result: &Val) -> bool {
    result.externref().is_some_and(|found| found.is_null())
}

/// The number that [`argument`] has put into an `externref`.
fn host_object(store: &Store<()>, result: &Val) -> Option<u32> {
    let found = ExternRef::of_store(store, **result.externref()?.val()?);
    found.data(store).downcast_ref().copied()
}
