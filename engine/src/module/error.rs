//! Why a module is refused.

use alloc::{boxed::Box, string::String};
use thiserror::Error;

/// Why a [`Module`](crate::Module) was not made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ModuleError {
    /// There is nothing to load.
    #[error("the module has 0 bytes; pass a Wasm binary, which starts with `\\0asm`")]
    Empty,
    /// The bytes are not a Wasm binary.
    #[error(
        "not a Wasm binary: it starts with {found:02x?}, not with `\\0asm`; assemble text with `wat2wasm` first"
    )]
    NotWasm {
        /// The first bytes, four at most.
        found: Box<[u8]>,
    },
    /// The bytes end in the middle of the module.
    #[error("the module is truncated: {message} at offset {offset:#x} of {bytes} bytes; load the whole file")]
    Truncated {
        /// Where more was expected.
        offset: usize,
        /// How long the given bytes are.
        bytes: usize,
        /// What the parser says.
        message: String,
    },
    /// The module is malformed or does not validate.
    #[error("invalid module: {message} at offset {offset:#x}")]
    Invalid {
        /// Where in the given bytes.
        offset: usize,
        /// What the validator says.
        message: String,
    },
    /// The module has more of something than one of the [`Limits`](crate::Limits) allows.
    #[error("the module has {found} {what}; the limit `{limit}` is {value}")]
    Limit {
        /// The limit's field in [`Limits`](crate::Limits).
        limit: &'static str,
        /// Its value.
        value: u64,
        /// How much the module has.
        found: u64,
        /// Of what.
        what: &'static str,
    },
    /// An import or export uses a name that the engine keeps for itself.
    #[error("the name {name:?} is reserved; rename the import or export")]
    ReservedName {
        /// The name.
        name: String,
    },
    /// wasmi does not take the rewritten module.
    #[error("the interpreter refuses the module: {0}")]
    Translate(#[source] wasmi::Error),
}
