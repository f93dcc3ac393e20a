//! Arguments and expected results, from the text parser's types to the stream's.

use anyhow::{Result, bail};
use palimpsest_spec::stream::{FloatPattern, Pattern, Value};
use wast::core::{AbstractHeapType, HeapType, NanPattern, V128Pattern, WastArgCore, WastRetCore};
use wast::token::{F32, F64};
use wast::{WastArg, WastRet};

/// The arguments of a call.
///
/// # Errors
/// One of them is of a type that WebAssembly has only in proposals that wasmi does not have.
pub(crate) fn arguments(arguments: &[WastArg<'_>]) -> Result<Vec<Value>> {
    arguments.iter().map(argument).collect()
}

fn argument(argument: &WastArg<'_>) -> Result<Value> {
    let WastArg::Core(argument) = argument else { bail!("the argument {argument:?} is of no core type") };
    Ok(match argument {
        WastArgCore::I32(value) => Value::I32(*value),
        WastArgCore::I64(value) => Value::I64(*value),
        WastArgCore::F32(value) => Value::F32(value.bits),
        WastArgCore::F64(value) => Value::F64(value.bits),
        WastArgCore::V128(value) => Value::V128(u128::from_le_bytes(value.to_le_bytes())),
        WastArgCore::RefNull(HeapType::Abstract { ty: AbstractHeapType::Func, .. }) => Value::NullFunc,
        WastArgCore::RefNull(HeapType::Abstract { ty: AbstractHeapType::Extern, .. }) => Value::NullExtern,
        WastArgCore::RefExtern(number) => Value::ExternRef(*number),
        WastArgCore::RefNull(_) | WastArgCore::RefHost(_) => {
            bail!("the argument {argument:?} is of a proposal that wasmi does not have")
        }
    })
}

/// The expected results of an action.
///
/// # Errors
/// One of them is of a type that WebAssembly has only in proposals that wasmi does not have.
pub(crate) fn patterns(results: &[WastRet<'_>]) -> Result<Vec<Pattern>> {
    results
        .iter()
        .map(|result| {
            let WastRet::Core(result) = result else { bail!("the result {result:?} is of no core type") };
            pattern(result)
        })
        .collect()
}

fn pattern(result: &WastRetCore<'_>) -> Result<Pattern> {
    Ok(match result {
        WastRetCore::I32(value) => Pattern::I32(*value),
        WastRetCore::I64(value) => Pattern::I64(*value),
        WastRetCore::F32(pattern) => Pattern::F32(f32_pattern(pattern)),
        WastRetCore::F64(pattern) => Pattern::F64(f64_pattern(pattern)),
        WastRetCore::V128(pattern) => vector_pattern(pattern),
        WastRetCore::RefNull(None) => Pattern::Null,
        WastRetCore::RefNull(Some(HeapType::Abstract { ty: AbstractHeapType::Func, .. })) => {
            Pattern::NullFunc
        }
        WastRetCore::RefNull(Some(HeapType::Abstract { ty: AbstractHeapType::Extern, .. })) => {
            Pattern::NullExtern
        }
        WastRetCore::RefFunc(_) => Pattern::AnyFunc,
        WastRetCore::RefExtern(None) => Pattern::AnyExtern,
        WastRetCore::RefExtern(Some(number)) => Pattern::ExternRef(*number),
        WastRetCore::Either(patterns) => {
            Pattern::Either(patterns.iter().map(pattern).collect::<Result<_>>()?)
        }
        WastRetCore::RefNull(Some(_))
        | WastRetCore::RefHost(_)
        | WastRetCore::RefAny
        | WastRetCore::RefEq
        | WastRetCore::RefArray
        | WastRetCore::RefStruct
        | WastRetCore::RefI31
        | WastRetCore::RefI31Shared => {
            bail!("the result {result:?} is of a proposal that wasmi does not have")
        }
    })
}

fn f32_pattern(pattern: &NanPattern<F32>) -> FloatPattern<u32> {
    match pattern {
        NanPattern::CanonicalNan => FloatPattern::CanonicalNan,
        NanPattern::ArithmeticNan => FloatPattern::ArithmeticNan,
        NanPattern::Value(value) => FloatPattern::Bits(value.bits),
    }
}

fn f64_pattern(pattern: &NanPattern<F64>) -> FloatPattern<u64> {
    match pattern {
        NanPattern::CanonicalNan => FloatPattern::CanonicalNan,
        NanPattern::ArithmeticNan => FloatPattern::ArithmeticNan,
        NanPattern::Value(value) => FloatPattern::Bits(value.bits),
    }
}

/// Lanes of integers are compared together; lane 0 is in the low bits.
fn vector_pattern(pattern: &V128Pattern) -> Pattern {
    match pattern {
        V128Pattern::I8x16(lanes) => bits(lanes.map(i8::to_le_bytes).as_flattened()),
        V128Pattern::I16x8(lanes) => bits(lanes.map(i16::to_le_bytes).as_flattened()),
        V128Pattern::I32x4(lanes) => bits(lanes.map(i32::to_le_bytes).as_flattened()),
        V128Pattern::I64x2(lanes) => bits(lanes.map(i64::to_le_bytes).as_flattened()),
        V128Pattern::F32x4(lanes) => Pattern::F32x4(lanes.each_ref().map(f32_pattern)),
        V128Pattern::F64x2(lanes) => Pattern::F64x2(lanes.each_ref().map(f64_pattern)),
    }
}

fn bits(lanes: &[u8]) -> Pattern {
    let bytes = lanes.try_into().expect("the lanes of every shape have 16 bytes together");
    Pattern::V128(u128::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integer_lanes_become_the_bits_of_the_vector() {
        let expected = Pattern::V128(0x0000_0004_0000_0003_0000_0002_0000_0001);
        assert_eq!(vector_pattern(&V128Pattern::I32x4([1, 2, 3, 4])), expected);
        assert_eq!(vector_pattern(&V128Pattern::I8x16([-1; 16])), Pattern::V128(u128::MAX));
    }
}
