//! Arguments of calls, and patterns that results are compared with.

use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// An argument. Floats are given by their bits, vectors by their bits in little-endian lane order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Value {
    /// An `i32`.
    I32(i32),
    /// An `i64`.
    I64(i64),
    /// An `f32`.
    F32(u32),
    /// An `f64`.
    F64(u64),
    /// A `v128`.
    V128(u128),
    /// The null `funcref`.
    NullFunc,
    /// The null `externref`.
    NullExtern,
    /// An `externref` to the host's object of this number.
    ExternRef(u32),
}

/// What a result may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pattern {
    /// This `i32`.
    I32(i32),
    /// This `i64`.
    I64(i64),
    /// An `f32`.
    F32(FloatPattern<u32>),
    /// An `f64`.
    F64(FloatPattern<u64>),
    /// A `v128` of exactly these bits: what all shapes of integer lanes come to.
    V128(u128),
    /// A `v128` of `f32` lanes, each with its own pattern.
    F32x4([FloatPattern<u32>; 4]),
    /// A `v128` of `f64` lanes, each with its own pattern.
    F64x2([FloatPattern<u64>; 2]),
    /// Any null reference.
    Null,
    /// The null `funcref`.
    NullFunc,
    /// The null `externref`.
    NullExtern,
    /// Any function. Some tests name one, but an embedder cannot identify a function.
    AnyFunc,
    /// Any `externref` but null.
    AnyExtern,
    /// The `externref` to the host's object of this number.
    ExternRef(u32),
    /// One of several.
    Either(Vec<Pattern>),
}

/// What a float may be, `B` being its bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FloatPattern<B> {
    /// A NaN whose payload has its most significant bit set and no other, of either sign (Wasm core
    /// specification, "Floating-Point").
    CanonicalNan,
    /// A NaN whose payload has its most significant bit set, of either sign.
    ArithmeticNan,
    /// Exactly these bits.
    Bits(B),
}

impl FloatPattern<u32> {
    /// Whether the `f32` of these bits is one of those meant.
    #[must_use]
    pub const fn matches(self, bits: u32) -> bool {
        const CANONICAL: u32 = 0x7fc0_0000;
        match self {
            Self::CanonicalNan => bits & !(1 << 31) == CANONICAL,
            Self::ArithmeticNan => bits & CANONICAL == CANONICAL,
            Self::Bits(expected) => bits == expected,
        }
    }
}

impl FloatPattern<u64> {
    /// Whether the `f64` of these bits is one of those meant.
    #[must_use]
    pub const fn matches(self, bits: u64) -> bool {
        const CANONICAL: u64 = 0x7ff8_0000_0000_0000;
        match self {
            Self::CanonicalNan => bits & !(1 << 63) == CANONICAL,
            Self::ArithmeticNan => bits & CANONICAL == CANONICAL,
            Self::Bits(expected) => bits == expected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canonical_nan_has_either_sign_and_no_further_payload() {
        let pattern = FloatPattern::<u32>::CanonicalNan;
        assert!(pattern.matches(0x7fc0_0000) && pattern.matches(0xffc0_0000));
        for other in [0x7fc0_0001, 0x7fa0_0000, 0x7f80_0000, 0] {
            assert!(!pattern.matches(other), "{other:#x}");
        }
    }

    #[test]
    fn an_arithmetic_nan_is_quiet() {
        let pattern = FloatPattern::<u64>::ArithmeticNan;
        assert!(pattern.matches(0x7ff8_0000_0000_0001) && pattern.matches(0xfff8_0000_0000_0000));
        for other in [0x7ff4_0000_0000_0000, 0x7ff0_0000_0000_0000, 0x4008_0000_0000_0000] {
            assert!(!pattern.matches(other), "{other:#x}");
        }
    }

    #[test]
    fn bits_are_compared_as_they_are() {
        assert!(FloatPattern::Bits(0x8000_0000_u32).matches(0x8000_0000));
        assert!(!FloatPattern::Bits(0x8000_0000_u32).matches(0));
    }
}
