//! Why a module is refused.

use alloc::{boxed::Box, string::String};
use thiserror::Error;

use crate::engine::EntryError;

/// Why a [`Module`](crate::Module) was not loaded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ModuleError {
    /// There are no bytes.
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
        /// The offset at which more was expected.
        offset: usize,
        /// The number of bytes that were passed.
        bytes: usize,
        /// The message of the parser.
        message: String,
    },
    /// The module is malformed or does not validate.
    #[error("invalid module: {message} at offset {offset:#x}")]
    Invalid {
        /// The offset in the bytes that were passed.
        offset: usize,
        /// The message of the validator.
        message: String,
    },
    /// The module exceeds one of the [`Limits`](crate::Limits).
    #[error("the module has {found} {what}; the limit `{limit}` is {value}")]
    Limit {
        /// The field of [`Limits`](crate::Limits).
        limit: &'static str,
        /// Its value.
        value: u64,
        /// The module's own value.
        found: u64,
        /// The things that are counted.
        what: &'static str,
    },
    /// An import or export uses a name that is reserved for the engine.
    #[error("the name {name:?} is reserved; rename the import or export")]
    ReservedName {
        /// The name.
        name: String,
    },
    /// The kernel heap has no room for the module.
    #[error(
        "out of heap: the kernel heap has no room for the module; drop a store, or load a smaller module"
    )]
    OutOfHeap,
    /// The engine was not entered.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// wasmi refuses the spliced module.
    #[error("the interpreter refuses the module: {0}")]
    Translate(#[source] wasmi::Error),
}
