//! Why a module is not instantiated, or a name not defined.

use alloc::{boxed::Box, string::String, vec::Vec};
use core::fmt;
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
    /// The linker does not define some of the imports.
    #[error(transparent)]
    UnknownImports(#[from] UnknownImports),
    /// A definition has another type than the import.
    #[error(
        "import `{}` `{}` has the wrong type: the module declares {expected:?}, the linker defines {found:?}",
        Shown(module),
        Shown(name)
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

/// The imports of a module that its linker does not define.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownImports {
    /// The module name and the own name of the first 32, in the module's order.
    pub names: Vec<(String, String)>,
    /// How many there are.
    pub count: usize,
}

impl UnknownImports {
    /// The limit of names that are recorded, because a guest chooses how many it imports.
    const NAMES_MAX: usize = 32;

    /// Records the first of `imports`, and counts all.
    pub(super) fn new<'a>(imports: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut names = Vec::new();
        let mut count = 0;
        for (module, name) in imports {
            if count < Self::NAMES_MAX {
                names.push((module.into(), name.into()));
            }
            count += 1;
        }
        Self { names, count }
    }
}

impl fmt::Display for UnknownImports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_single = self.count == 1;
        if !is_single {
            write!(f, "{} ", self.count)?;
        }
        f.write_str(if is_single { "unknown import " } else { "unknown imports: " })?;
        for (index, (module, name)) in self.names.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}`{}` `{}`", Shown(module), Shown(name))?;
        }
        if self.count > self.names.len() {
            write!(f, " and {} more", self.count - self.names.len())?;
        }
        write!(f, "; define {} in the linker", if is_single { "it" } else { "them" })
    }
}

impl core::error::Error for UnknownImports {}

/// A guest's name in a message: control characters are escaped, and a long name is cut.
struct Shown<'a>(&'a str);

impl Shown<'_> {
    /// The limit of characters.
    const CHARS_MAX: usize = 80;
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars().take(Self::CHARS_MAX) {
            write!(f, "{}", character.escape_debug())?;
        }
        if self.0.chars().nth(Self::CHARS_MAX).is_some() {
            f.write_str("...")?;
        }
        Ok(())
    }
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
