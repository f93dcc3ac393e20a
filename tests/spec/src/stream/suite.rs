//! The folders of the test suite, by the names that they have there.

use core::fmt;
use serde::{Deserialize, Serialize};

/// A folder of tests: a version of the specification, or a proposal to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Suite {
    /// WebAssembly 1.0.
    V1,
    /// WebAssembly 2.0 without its vector instructions.
    V2,
    /// Bulk memory and table operations, as proposed.
    BulkMemory,
    /// Several results of functions and blocks, as proposed.
    MultiValue,
    /// Imports and exports of mutable globals, as proposed.
    MutableGlobal,
    /// Non-trapping float-to-int conversions, as proposed.
    SaturatingFloatToInt,
    /// Reference types and several tables, as proposed.
    ReferenceTypes,
    /// Sign-extension operators, as proposed.
    SignExtension,
    /// 128-bit vectors.
    Simd,
    /// 128-bit vectors, relaxed.
    RelaxedSimd,
    /// Tail calls.
    TailCall,
    /// Arithmetic in constant expressions.
    ExtendedConst,
    /// Several memories.
    MultiMemory,
    /// 64-bit memories and tables.
    Memory64,
    /// Memories with pages of one byte.
    CustomPageSizes,
    /// 128-bit integer arithmetic.
    WideArithmetic,
    /// Our own tests of clearing: `tests/discard` of this repository.
    Discard,
}

impl Suite {
    /// All of them, in the order in which they are run.
    pub const ALL: [Self; 17] = [
        Self::V1,
        Self::V2,
        Self::BulkMemory,
        Self::MultiValue,
        Self::MutableGlobal,
        Self::SaturatingFloatToInt,
        Self::ReferenceTypes,
        Self::SignExtension,
        Self::Simd,
        Self::RelaxedSimd,
        Self::TailCall,
        Self::ExtendedConst,
        Self::MultiMemory,
        Self::Memory64,
        Self::CustomPageSizes,
        Self::WideArithmetic,
        Self::Discard,
    ];

    /// The folder's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V1 => "wasm-v1",
            Self::V2 => "wasm-v2",
            Self::BulkMemory => "bulk-memory",
            Self::MultiValue => "multi-value",
            Self::MutableGlobal => "mutable-global",
            Self::SaturatingFloatToInt => "nontrapping-float-to-int-conversions",
            Self::ReferenceTypes => "reference-types",
            Self::SignExtension => "sign-extension-ops",
            Self::Simd => "simd",
            Self::RelaxedSimd => "relaxed-simd",
            Self::TailCall => "tail-call",
            Self::ExtendedConst => "extended-const",
            Self::MultiMemory => "multi-memory",
            Self::Memory64 => "memory64",
            Self::CustomPageSizes => "custom-page-sizes",
            Self::WideArithmetic => "wide-arithmetic",
            Self::Discard => "discard",
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
