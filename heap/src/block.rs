//! A block that was allocated, as it is passed from the books to the call that requested it.

use core::ops::Range;

/// A newly allocated block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// The address of its first byte.
    pub(crate) address: u64,
    /// Its length, which is at least what was requested.
    pub(crate) bytes: u64,
    /// The addresses in it that may contain bytes of earlier blocks; empty if the whole block reads
    /// zero.
    pub(crate) stale: Range<u64>,
}
