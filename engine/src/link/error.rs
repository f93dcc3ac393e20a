//! Why a module is not instantiated, or a name not defined.

use alloc::{boxed::Box, string::String};
use thiserror::Error;
use wasmi::ExternType;

use crate::store::MemoryError;

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

/// A name is defined twice.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{module}` `{name}` is defined already; define each import once")]
pub struct DuplicateDefinition {
    /// The module name.
    pub module: String,
    /// The import's own name.
    pub name: String,
}
