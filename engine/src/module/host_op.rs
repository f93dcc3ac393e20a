//! The calls into the host that the splice writes into a module.

use alloc::collections::BTreeMap;

/// The index in the host table of each operation.
pub(crate) type Slots = BTreeMap<HostOp, u32>;

/// The reason of a call into the host: an instruction that it replaces, or the end of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum HostOp {
    /// `memory.grow` of the memory with this index.
    MemoryGrow(u32),
    /// `memory.discard` of the memory with this index.
    MemoryDiscard(u32),
    /// `table.grow` of the table with this index.
    TableGrow(u32),
    /// No instruction of the guest: the call after each piece of a divided one.
    AfterPiece,
}
