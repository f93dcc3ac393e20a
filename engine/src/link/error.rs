//! Why a module is not instantiated, or a name not defined.

use alloc::{boxed::Box, string::String};
use thiserror::Error;
use wasmi::ExternType;

use crate::{
    engine::EntryError,
    store::{MemoryError, OutOfHeap},
};

/// Why a module was not instantiated.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InstantiateError {
    /// The linker does not define an import.
    #[error("unknown import `{module}` `{name}`; define it in the linker")]
    UnknownImport {
        /// The import's module name.
        module: String,
        /// The import's own name.
        name: String,
    },
    /// A definition has another type than the import.
    #[error(
        "import `{module}` `{name}` has the wrong type: the module declares {expected:?}, the linker defines {found:?}"
    )]
    ImportType {
        /// The import's module name.
        module: String,
        /// The import's own name.
        name: String,
        /// The type that the module declares.
        expected: Box<ExternType>,
        /// The type of the definition.
        found: Box<ExternType>,
    },
    /// The module imports a function of the engine that acts on memory 0, and has no memory.
    #[error("import `palimpsest` `{name}` acts on memory 0, and the module has no memory")]
    NoMemory {
        /// The import's own name.
        name: String,
    },
    /// The module belongs to another engine than the store.
    #[error("module and store belong to different engines; load the module with the store's engine")]
    OtherEngine,
    /// A memory was not created.
    #[error("memory {index}: {cause}")]
    Memory {
        /// The memory's index in the module.
        index: usize,
        /// The cause.
        #[source]
        cause: MemoryError,
    },
    /// The store already has as many instances as
    /// [`Limits::instances`](crate::Limits::instances) allows.
    #[error("the store already has {limit} instances, which is the limit `instances`")]
    TooManyInstances {
        /// The limit.
        limit: usize,
    },
    /// The instances of the store would define more tables than
    /// [`Limits::tables`](crate::Limits::tables).
    #[error(
        "the module defines {tables} tables, and the store has room for {left}; the limit `tables` is {limit}"
    )]
    TooManyTables {
        /// The number of tables that the module defines.
        tables: usize,
        /// The number of tables that the store's instances may still define.
        left: usize,
        /// The limit.
        limit: usize,
    },
    /// A table would start with more elements than
    /// [`Limits::table_elements`](crate::Limits::table_elements).
    #[error("table {index} starts with {elements} elements; the limit `table_elements` is {limit}")]
    TableTooLarge {
        /// The table's index in the module.
        index: usize,
        /// The number of elements that it starts with.
        elements: u64,
        /// The limit.
        limit: usize,
    },
    /// The instances of the store would have more section entries than
    /// [`Limits::store_entries`](crate::Limits::store_entries).
    #[error(
        "the module has {entries} entries in its sections, and the store has room for {left}; the limit \
         `store_entries` is {limit}"
    )]
    TooManyEntries {
        /// The number of entries in the module's sections.
        entries: usize,
        /// The number of entries that further instances may have.
        left: usize,
        /// The limit.
        limit: usize,
    },
    /// The tables of the store would have more elements than
    /// [`Limits::store_table_elements`](crate::Limits::store_table_elements).
    #[error(
        "the tables start with {elements} elements, and the store has room for {left}; the limit \
         `store_table_elements` is {limit}"
    )]
    TablesTooLarge {
        /// The number of elements that the module's tables start with.
        elements: u64,
        /// The number of elements that the store's tables may still grow by.
        left: usize,
        /// The limit.
        limit: usize,
    },
    /// The engine was not entered.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// The instance takes too much of the kernel heap.
    #[error(transparent)]
    OutOfHeap(#[from] OutOfHeap),
    /// An active segment does not fit into its memory or table.
    #[error("a data or element segment does not fit: {0}")]
    Segment(#[source] wasmi::Error),
    /// wasmi refuses the instance.
    #[error("the interpreter refuses the instance: {0}")]
    Link(#[source] wasmi::Error),
    /// The start function trapped.
    #[error("the start function ended in a trap: {0}")]
    Start(#[source] wasmi::Error),
}

/// A name was defined twice.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{module}` `{name}` is already defined; define each import once")]
pub struct DuplicateDefinition {
    /// The module name.
    pub module: String,
    /// The import's own name.
    pub name: String,
}
