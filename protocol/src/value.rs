//! The result of a call, as text and as JSON.

use alloc::format;
use alloc::string::String;
use core::fmt;

use serde::{Deserialize, Serialize};

/// A value that the guest's function returned.
///
/// A float has its bit pattern beside its value, because a NaN and the infinities have no number in
/// JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Value {
    /// A 32-bit integer.
    I32 {
        /// The integer.
        value: i32,
    },
    /// A 64-bit integer.
    I64 {
        /// The integer.
        value: i64,
    },
    /// A 32-bit float.
    F32 {
        /// The number, if it is finite.
        value: Option<f32>,
        /// All of its bits.
        bits: u32,
    },
    /// A 64-bit float.
    F64 {
        /// The number, if it is finite.
        value: Option<f64>,
        /// All of its bits.
        bits: u64,
    },
    /// A vector.
    V128 {
        /// All of its bits, `0x` and 32 hexadecimal digits.
        value: String,
    },
    /// A reference to a function.
    FuncRef {
        /// `reference`, unless it is null.
        value: Option<String>,
    },
    /// A reference of the host.
    ExternRef {
        /// `reference`, unless it is null.
        value: Option<String>,
    },
}

impl Value {
    /// The 32-bit float with these bits.
    #[must_use]
    pub fn f32(bits: u32) -> Self {
        Self::F32 { value: Some(f32::from_bits(bits)).filter(|value| value.is_finite()), bits }
    }

    /// The 64-bit float with these bits.
    #[must_use]
    pub fn f64(bits: u64) -> Self {
        Self::F64 { value: Some(f64::from_bits(bits)).filter(|value| value.is_finite()), bits }
    }

    /// The vector with these bits.
    #[must_use]
    pub fn v128(bits: u128) -> Self {
        Self::V128 { value: format!("{bits:#034x}") }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::I32 { value } => write!(f, "i32 {value}"),
            Self::I64 { value } => write!(f, "i64 {value}"),
            Self::F32 { bits, .. } => write!(f, "f32 {:?} (bits {bits:#010x})", f32::from_bits(*bits)),
            Self::F64 { bits, .. } => write!(f, "f64 {:?} (bits {bits:#018x})", f64::from_bits(*bits)),
            Self::V128 { value } => write!(f, "v128 {value}"),
            Self::FuncRef { value } => write!(f, "funcref {}", value.as_deref().unwrap_or("null")),
            Self::ExternRef { value } => write!(f, "externref {}", value.as_deref().unwrap_or("null")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn numbers_keep_every_digit_on_their_way() -> Result<(), serde_json::Error> {
        for value in [
            Value::I32 { value: i32::MIN },
            Value::I64 { value: i64::MIN },
            Value::f32(0.1_f32.to_bits()),
            Value::f32(f32::MIN_POSITIVE.to_bits() - 1),
            Value::f64(f64::MAX.to_bits()),
            Value::f64((0.1 + 0.2_f64).to_bits()),
            Value::f64(f64::NEG_INFINITY.to_bits()),
            Value::f64(0x7ff4_0000_0000_0001),
            Value::v128(u128::MAX / 3),
            Value::FuncRef { value: None },
            Value::ExternRef { value: Some("reference".into()) },
        ] {
            let json = serde_json::to_string(&value)?;
            assert_eq!(serde_json::from_str::<Value>(&json)?, value, "{json}");
        }
        Ok(())
    }

    #[test]
    fn a_nan_has_its_bits_only() -> Result<(), serde_json::Error> {
        let nan = Value::f32(0xffa0_0001);
        assert_eq!(serde_json::to_string(&nan)?, r#"{"type":"f32","value":null,"bits":4288675841}"#);
        assert_eq!(nan.to_string(), "f32 NaN (bits 0xffa00001)");
        Ok(())
    }
}
