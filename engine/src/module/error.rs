//! Why a module is refused.

use alloc::{boxed::Box, string::String};
use thiserror::Error;

use crate::{config::Features, engine::EntryError};

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
    /// The bytes are not a prepared module that this engine can load.
    #[error(transparent)]
    Prepared(#[from] PreparedError),
    /// wasmi refuses the spliced module.
    #[error("the interpreter refuses the module: {0}")]
    Translate(#[source] wasmi::Error),
}

/// Why [`Module::from_prepared`](crate::Module::from_prepared) refuses a file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PreparedError {
    /// The bytes are not a prepared module.
    #[error(
        "not a prepared module: it starts with {found:02x?}, not with `\\0plm`; prepare a Wasm binary with \
         `cargo xtask prepare`, or load it with `Module::new`"
    )]
    NotPrepared {
        /// The first bytes, four at most.
        found: Box<[u8]>,
    },
    /// The bytes end in the middle of the module.
    #[error("the prepared module is truncated: {bytes} of {expected} bytes are there; load the whole file")]
    Truncated {
        /// The number of bytes that were passed.
        bytes: usize,
        /// The number of bytes that the module has, or has at least.
        expected: u64,
    },
    /// The bytes have changed since the module was prepared.
    #[error(
        "the prepared module is damaged: its checksum is {found:#018x}, not {expected:#018x}; write \
         the file again"
    )]
    Damaged {
        /// The checksum of the bytes.
        found: u64,
        /// The checksum in the file.
        expected: u64,
    },
    /// The checksum is right, and the contents are not.
    #[error("the prepared module is malformed; prepare the guest again")]
    Malformed,
    /// The file has another version of the format.
    #[error(
        "the module was prepared in version {found} of the format, and this engine has version {expected}; \
         prepare the guest again with the engine's own version"
    )]
    OtherVersion {
        /// The version in the file.
        found: u32,
        /// The version of this engine.
        expected: u32,
    },
    /// The splice of another engine has prepared the module.
    #[error(
        "the module was prepared by the splice {found:#018x}, and this engine has {expected:#018x}; prepare \
         the guest again with the sources of this engine"
    )]
    OtherSplice {
        /// The identity of the splice in the file.
        found: u64,
        /// The identity of this engine's splice.
        expected: u64,
    },
    /// The module was prepared for metered engines.
    #[error(
        "the module was prepared for metered engines, and this one is not; prepare it for \
         `Fuel::Unmetered`, or configure `Fuel::Metered`"
    )]
    Metered,
    /// The module was prepared for engines that are not metered.
    #[error(
        "the module was prepared for engines that are not metered, and this one is; prepare it for \
         `Fuel::Metered` (`--metered`), or configure `Fuel::Unmetered`"
    )]
    Unmetered,
    /// The module was prepared for engines with snapshots.
    #[error(
        "the module was prepared for engines with snapshots, and this one has none; prepare it without, or \
         configure `Config::snapshots(true)`"
    )]
    Snapshots,
    /// The module was prepared for engines without snapshots.
    #[error(
        "the module was prepared for engines without snapshots, and this one has them; prepare it with \
         `Config::snapshots(true)`, or configure the engine without"
    )]
    NoSnapshots,
    /// The module was prepared with proposals that the engine does not accept.
    #[error(
        "the module was prepared with proposals that this engine does not accept: {missing:?}; prepare it \
         without them, or switch them on in `Config::features` and in the features of the crate"
    )]
    Features {
        /// The proposals.
        missing: Features,
    },
}
