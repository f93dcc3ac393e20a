//! What a snapshot records of a module's instances, and the names under which the splice exports
//! it.
//!
//! Mutable globals are exported. Tables are exported only if they can change after instantiation.
//! If not, the module's own segments fill those of a fork. References are recorded as indices of
//! functions. [`FUNCTIONS_AT_ONCE`] of them are the results of one added function. So they take no
//! room in an instance.

use alloc::vec::Vec;
#[cfg(any(feature = "splice", feature = "snapshots"))]
use alloc::{format, string::String};
use wasmi::ValType;

#[cfg(any(feature = "splice", feature = "snapshots"))]
use super::RESERVED_PREFIX;

/// The export name of the function that prepares the segments of a fork: it drops those that were
/// dropped, and if the tables do not change it fills them.
#[cfg(any(feature = "splice", feature = "snapshots"))]
pub(crate) const RESTORER: &str = "\0palimpsest.restorer";

/// The most functions that one added function returns. wasmi allows 1,000.
#[cfg(any(feature = "splice", feature = "snapshots"))]
pub(crate) const FUNCTIONS_AT_ONCE: usize = 256;

/// Returns the export name of a mutable global.
#[cfg(any(feature = "splice", feature = "snapshots"))]
pub(crate) fn global_name(index: u32) -> String {
    format!("{RESERVED_PREFIX}.global.{index}")
}

/// Returns the export name of the function whose results are the functions of one
/// [group](Recorded::groups).
#[cfg(any(feature = "splice", feature = "snapshots"))]
pub(crate) fn functions_name(group: usize) -> String {
    format!("{RESERVED_PREFIX}.functions.{group}")
}

/// A segment that the guest's code drops.
#[cfg(feature = "splice")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Segment {
    /// The data segment with this index.
    Data(u32),
    /// The element segment with this index.
    Elements(u32),
}

/// What a snapshot records of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recorded {
    /// A hash of the bytes of the guest's module.
    pub(crate) hash: u64,
    /// The first import that is state of another instance or of the embedder, if there is one. An
    /// instance of the module cannot be recorded then.
    pub(crate) shared: Option<SharedImport>,
    /// The index and the type of each mutable global that the module defines, in order. The flags
    /// of dropped segments are the last.
    pub(crate) globals: Vec<(u32, ValType)>,
    /// Whether the elements of the tables are recorded.
    pub(crate) has_tables: bool,
    /// The indices of all functions that a reference can refer to, in ascending order. They are
    /// empty if no references are recorded.
    pub(crate) functions: Vec<u32>,
}

#[cfg(any(feature = "splice", feature = "snapshots"))]
impl Recorded {
    /// Returns the functions in groups, each of which one added function returns.
    pub(crate) fn groups(&self) -> impl ExactSizeIterator<Item = &[u32]> {
        self.functions.chunks(FUNCTIONS_AT_ONCE)
    }
}

/// An import that is state of another instance or of the embedder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SharedImport {
    /// The memory with this index.
    Memory(u32),
    /// The table with this index.
    Table(u32),
    /// The mutable global with this index.
    Global(u32),
}
