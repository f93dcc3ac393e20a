//! The engine's configuration for a suite: the proposals that its tests need and no others, because
//! many tests check that later proposals are refused.

use palimpsest_engine::{Config, Features, Limits};

use crate::stream::Suite;

/// What WebAssembly 1.0 consists of. Mutable globals are among it because the tests are written
/// with them.
const V1: Features = Features::FLOATS.union(Features::MUTABLE_GLOBAL);

/// What WebAssembly 2.0 adds.
const V2: Features = V1
    .union(Features::SATURATING_FLOAT_TO_INT)
    .union(Features::SIGN_EXTENSION)
    .union(Features::MULTI_VALUE)
    .union(Features::BULK_MEMORY)
    .union(Features::REFERENCE_TYPES)
    .union(Features::SIMD);

/// The configuration for the tests of `suite`.
pub(super) fn config(suite: Suite) -> Config {
    Config::default().features(features(suite)).limits(limits())
}

fn features(suite: Suite) -> Features {
    match suite {
        // The tests of 1.0, and of what 2.0 took in, have been rewritten to agree with 2.0.
        Suite::V1
        | Suite::V2
        | Suite::BulkMemory
        | Suite::MultiValue
        | Suite::MutableGlobal
        | Suite::SaturatingFloatToInt
        | Suite::ReferenceTypes
        | Suite::SignExtension => V2,
        // One of its files is about vectors in several memories.
        Suite::Simd => V2.union(Features::MULTI_MEMORY),
        Suite::RelaxedSimd => V2.union(Features::RELAXED_SIMD),
        Suite::TailCall => V2.union(Features::TAIL_CALL),
        Suite::ExtendedConst => V2.union(Features::EXTENDED_CONST),
        Suite::MultiMemory => V2.union(Features::MULTI_MEMORY),
        Suite::Memory64 => V2.union(Features::MEMORY64),
        Suite::CustomPageSizes => {
            V2.union(Features::CUSTOM_PAGE_SIZES).union(Features::MULTI_MEMORY).union(Features::MEMORY64)
        }
        Suite::WideArithmetic => V2.union(Features::WIDE_ARITHMETIC),
        Suite::Discard => Features::all(),
    }
}

/// Limits for a store that all modules of a file share.
fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.instances = 1 << 12;
    limits.memories = 1 << 12;
    limits.tables = 1 << 12;
    // No test grows a memory beyond 4 GiB, and a window of addresses must hold those of a whole
    // file.
    limits.memory_bytes = 8 << 30;
    limits.fuel = Some(u64::MAX);
    limits
}
