//! Wasm values as text: arguments from the command line, and results.

use alloc::{string::String, vec::Vec};
use palimpsest_engine::{F32, F64, FuncType, Nullable, V128, Val, ValType};
use palimpsest_protocol::Value;
use thiserror::Error;

/// Why words are not arguments of a function.
#[derive(Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub(crate) enum ArgumentError {
    /// There are too few or too many.
    #[error(
        "`{name}` takes {expected} arguments ({signature}), and {found} were given; write one word for each after its name"
    )]
    Count { name: String, signature: String, expected: usize, found: usize },
    /// A word is not a value of the parameter's type.
    #[error("argument {position} of `{name}` is {word:?}, but its type is {ty}; write {form}")]
    Value { name: String, position: usize, word: String, ty: &'static str, form: &'static str },
}

/// Parses `words` as arguments of the function `name` of type `ty`.
pub(crate) fn parse_arguments(
    name: &str,
    ty: &FuncType,
    words: &[String],
) -> Result<Vec<Val>, ArgumentError> {
    let params = ty.params();
    if params.len() != words.len() {
        let signature = params.iter().map(|param| type_name(*param)).collect::<Vec<_>>().join(" ");
        let signature = if signature.is_empty() { String::from("none") } else { signature };
        return Err(ArgumentError::Count {
            name: name.into(),
            signature,
            expected: params.len(),
            found: words.len(),
        });
    }
    let arguments = params.iter().zip(words).enumerate().map(|(index, (param, word))| {
        parse(*param, word).ok_or_else(|| ArgumentError::Value {
            name: name.into(),
            position: index + 1,
            word: word.clone(),
            ty: type_name(*param),
            form: form(*param),
        })
    });
    arguments.collect()
}

fn parse(ty: ValType, word: &str) -> Option<Val> {
    match ty {
        ValType::I32 => i32_of(word).map(Val::I32),
        ValType::I64 => i64_of(word).map(Val::I64),
        ValType::F32 => word.parse::<f32>().ok().map(|n| Val::F32(F32::from_float(n))),
        ValType::F64 => word.parse::<f64>().ok().map(|n| Val::F64(F64::from_float(n))),
        ValType::V128 => hexadecimal(word).map(|n| Val::V128(V128::from(n))),
        ValType::FuncRef => (word == "null").then_some(Val::FuncRef(Nullable::Null)),
        ValType::ExternRef => (word == "null").then_some(Val::ExternRef(Nullable::Null)),
    }
}

/// Parses a decimal or `0x` integer of 32 bits, signed or unsigned.
fn i32_of(word: &str) -> Option<i32> {
    let unsigned = || word.parse().ok().or_else(|| u32::try_from(hexadecimal(word)?).ok());
    word.parse().ok().or_else(|| unsigned().map(u32::cast_signed))
}

/// Parses a decimal or `0x` integer of 64 bits, signed or unsigned.
fn i64_of(word: &str) -> Option<i64> {
    let unsigned = || word.parse().ok().or_else(|| u64::try_from(hexadecimal(word)?).ok());
    word.parse().ok().or_else(|| unsigned().map(u64::cast_signed))
}

fn hexadecimal(word: &str) -> Option<u128> {
    u128::from_str_radix(word.strip_prefix("0x")?, 16).ok()
}

/// Returns the name of `ty` in the Wasm specification.
pub(crate) fn type_name(ty: ValType) -> &'static str {
    match ty {
        ValType::I32 => "i32",
        ValType::I64 => "i64",
        ValType::F32 => "f32",
        ValType::F64 => "f64",
        ValType::V128 => "v128",
        ValType::FuncRef => "funcref",
        ValType::ExternRef => "externref",
    }
}

fn form(ty: ValType) -> &'static str {
    match ty {
        ValType::I32 => "an integer from -2147483648 to 4294967295, decimal or 0x...",
        ValType::I64 => "an integer from -9223372036854775808 to 18446744073709551615, decimal or 0x...",
        ValType::F32 | ValType::F64 => "a decimal number, inf or nan",
        ValType::V128 => "0x and up to 32 hexadecimal digits",
        ValType::FuncRef | ValType::ExternRef => "null",
    }
}

/// Converts a result to the form in which it is printed and reported.
pub(crate) fn result(val: &Val) -> Value {
    match val {
        Val::I32(value) => Value::I32 { value: *value },
        Val::I64(value) => Value::I64 { value: *value },
        Val::F32(value) => Value::f32(value.to_bits()),
        Val::F64(value) => Value::f64(value.to_bits()),
        Val::V128(value) => Value::v128(value.as_u128()),
        Val::FuncRef(value) => Value::FuncRef { value: reference(value.is_null()) },
        Val::ExternRef(value) => Value::ExternRef { value: reference(value.is_null()) },
    }
}

fn reference(null: bool) -> Option<String> {
    (!null).then(|| String::from("reference"))
}
