//! The errors of the engine: one small enum for each operation, with the offending value and the cause.
//!
//! What happens while a guest runs is a [`wasmi::Error`] (re-exported as [`Error`](crate::Error)); the errors
//! of ours that travel inside one ([`ClearError`], [`OutOfFrames`], [`ReentryTooDeep`]) are found again with
//! `downcast_ref`.

use alloc::{boxed::Box, string::String, vec::Vec};
use thiserror::Error;
use wasmi::{ExternType, ValType, errors::HostError};

use crate::backing::ReserveError;

/// Why an [`Engine`](crate::Engine) was not made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EngineError {
    /// Interpreting uses up native stack with every instruction: the build lost wasmi's tail calls.
    #[error(
        "the interpreter's dispatch is not flat: {stack_bytes} bytes of native stack were used up by \
         {iterations} rounds of a loop; build with opt-level 2 or 3 and with LTO or one codegen unit, or \
         with wasmi's feature `portable-dispatch`"
    )]
    DispatchNotFlat {
        /// Native stack that the self-check's loop used up, in bytes.
        stack_bytes: usize,
        /// Rounds of the loop.
        iterations: u32,
    },
    /// The self-check's own module did not run.
    #[error("the self-check of the interpreter failed: {0}")]
    SelfCheck(#[source] wasmi::Error),
}

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

/// Why a module was not instantiated.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InstantiateError {
    /// Nothing is defined under the name that the module imports.
    #[error("unknown import `{module}` `{name}`; define it in the linker")]
    UnknownImport {
        /// The import's module name.
        module: String,
        /// The import's own name.
        name: String,
    },
    /// What is defined under the name has another type.
    #[error(
        "import `{module}` `{name}` has the wrong type: the module wants {expected:?}, defined is {found:?}"
    )]
    ImportType {
        /// The import's module name.
        module: String,
        /// The import's own name.
        name: String,
        /// What the module declares.
        expected: Box<ExternType>,
        /// What the linker has.
        found: Box<ExternType>,
    },
    /// The module imports `palimpsest.clear_pages`, `palimpsest.malloc` or their like, and has no memory that it could act on.
    #[error("import `palimpsest` `{name}` acts on memory 0, and the module has no memory")]
    NoMemory {
        /// The import's own name.
        name: String,
    },
    /// The module was made by another engine than the store.
    #[error("module and store belong to different engines; load the module with the store's engine")]
    OtherEngine,
    /// A memory was not made.
    #[error("memory {index}: {cause}")]
    Memory {
        /// The memory's index in the module.
        index: usize,
        /// What went wrong.
        #[source]
        cause: MemoryError,
    },
    /// A table would start with more elements than [`Limits::table_elements`](crate::Limits::table_elements).
    #[error("table {index} starts with {elements} elements; the limit `table_elements` is {limit}")]
    TableTooLarge {
        /// The table's index in the module.
        index: usize,
        /// The elements that it starts with.
        elements: u64,
        /// The limit.
        limit: usize,
    },
    /// An active segment does not fit into its memory or table.
    #[error("a data or element segment does not fit: {0}")]
    Segment(#[source] wasmi::Error),
    /// wasmi did not link the instance: a limit of its own.
    #[error("{0}")]
    Link(#[source] wasmi::Error),
    /// The start function trapped.
    #[error("the start function ended in a trap: {0}")]
    Start(#[source] wasmi::Error),
}

/// Why a memory was not made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// The memory's initial size is above [`Limits::memory_bytes`](crate::Limits::memory_bytes).
    #[error("the initial size is {bytes} bytes; the limit `memory_bytes` is {limit}")]
    TooLarge {
        /// The initial size in bytes, at most `u64::MAX`.
        bytes: u64,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The store has as many memories as [`Limits::memories`](crate::Limits::memories) allows.
    #[error("the store has {limit} memories already, which is the limit `memories`")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// The backing has no room.
    #[error(transparent)]
    Reserve(#[from] ReserveError),
    /// wasmi refuses the memory.
    #[error("the interpreter refuses the memory: {0}")]
    Refused(#[source] wasmi::Error),
}

/// Why a memory did not grow. The memory is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GrowError {
    /// The new size would be above the memory's maximum, or above what was reserved for it.
    #[error("cannot grow a memory of {size} by {delta} Wasm pages: its maximum is {maximum}")]
    AboveMaximum {
        /// Size before, in Wasm pages.
        size: u64,
        /// Requested growth, in Wasm pages.
        delta: u64,
        /// The most that it can have, in Wasm pages.
        maximum: u64,
    },
    /// The backing does not move the limit.
    #[error("cannot grow a memory of {size} by {delta} Wasm pages: the backing refuses")]
    Refused {
        /// Size before, in Wasm pages.
        size: u64,
        /// Requested growth, in Wasm pages.
        delta: u64,
    },
}

/// A read or a write of the host that ends past the memory. Nothing was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("out of bounds access: offset {offset}, {len} bytes, in a memory of {size} bytes")]
pub struct MemoryAccessError {
    /// First byte.
    pub offset: usize,
    /// Number of bytes.
    pub len: usize,
    /// The memory's size in bytes.
    pub size: usize,
}

impl HostError for MemoryAccessError {}

/// Lets a host function end its guest with `?`.
impl From<MemoryAccessError> for wasmi::Error {
    fn from(error: MemoryAccessError) -> Self {
        Self::host(error)
    }
}

/// Why pages were not cleared. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ClearError {
    /// The range is not inside the memory.
    #[error("out of bounds clear: start {start}, count {count}, size {size}")]
    OutOfBounds {
        /// First unit: Wasm pages, or bytes in the byte form.
        start: u64,
        /// Number of units.
        count: u64,
        /// The memory's size in the same unit.
        size: u64,
    },
    /// The byte form was called with something that is not a multiple of the page size.
    #[error("unaligned discard: start {start:#x}, length {len:#x}, alignment {alignment:#x}")]
    Unaligned {
        /// First byte.
        start: u64,
        /// Number of bytes.
        len: u64,
        /// The memory's page size in bytes.
        alignment: u64,
    },
}

impl HostError for ClearError {}

/// Lets a host function end its guest with `?`.
impl From<ClearError> for wasmi::Error {
    fn from(error: ClearError) -> Self {
        Self::host(error)
    }
}

/// The store wrote into the sink because no frame was left: nothing that its guest does counts any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "out of frames: the guest holds {held_frames} frames and needed one more; the store is lost, drop it"
)]
pub struct OutOfFrames {
    /// Frames that the store held when it was stopped, table frames included.
    pub held_frames: u64,
}

impl HostError for OutOfFrames {}

/// Host and guest called each other deeper than [`Limits::reentry_depth`](crate::Limits::reentry_depth).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("host and guest called each other {limit} levels deep, which is the limit `reentry_depth`")]
pub struct ReentryTooDeep {
    /// The limit, in levels.
    pub limit: u32,
}

impl HostError for ReentryTooDeep {}

/// Why a [`Task`](crate::Task) was not made, or does not run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TaskError {
    /// There is no fuel to divide into slices.
    #[error("the engine does not count fuel; make it with `Config::fuel(Fuel::Metered)`")]
    Unmetered,
    /// The module was not instantiated.
    #[error(transparent)]
    Instantiate(#[from] InstantiateError),
    /// There is nothing to call.
    #[error("the module exports no function `{name}`")]
    NoExport {
        /// The name.
        name: String,
    },
    /// The function takes other values.
    #[error("the function takes parameters of the types {expected:?}, not {given:?}")]
    Arguments {
        /// The types of its parameters.
        expected: Vec<ValType>,
        /// The types of the arguments.
        given: Vec<ValType>,
    },
    /// The call has returned or failed already.
    #[error("the task is over; make another one for another call")]
    Over,
}

impl HostError for TaskError {}
