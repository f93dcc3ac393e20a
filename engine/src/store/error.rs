//! The errors of memories, and those that end a guest.
//!
//! What ends a guest travels inside a [`wasmi::Error`], where `downcast_ref` finds it again.

use thiserror::Error;
use wasmi::errors::HostError;

use crate::backing::{BackingError, FrameShortage};

/// Why a memory was not created.
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
    /// The memory's initial size is above what is left of
    /// [`Limits::address_bytes`](crate::Limits::address_bytes).
    #[error(
        "the initial size is {bytes} bytes, and the store has {left} bytes of addresses left; the limit \
         `address_bytes` is {limit}"
    )]
    NoAddresses {
        /// The initial size in bytes.
        bytes: u64,
        /// Bytes of addresses that the store may still reserve.
        left: u64,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The store already has as many memories as [`Limits::memories`](crate::Limits::memories)
    /// allows.
    #[error("the store already has {limit} memories, which is the limit `memories`")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// The backing has no room.
    #[error(transparent)]
    Backing(#[from] BackingError),
    /// wasmi refuses the memory.
    #[error("the interpreter refuses the memory: {0}")]
    Refused(#[source] wasmi::Error),
}

/// Why a memory did not grow. Its size has not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GrowError {
    /// The new size would be above the memory's maximum, or above what was reserved for it.
    #[error("cannot grow a memory of {size} by {delta} Wasm pages: its maximum is {maximum}")]
    AboveMaximum {
        /// The size, in Wasm pages.
        size: u64,
        /// The requested growth, in Wasm pages.
        delta: u64,
        /// The size that it can reach, in Wasm pages.
        maximum: u64,
    },
    /// The backing has no room for the larger memory.
    #[error("cannot grow a memory of {size} by {delta} Wasm pages: the backing has no room")]
    Refused {
        /// The size, in Wasm pages.
        size: u64,
        /// The requested growth, in Wasm pages.
        delta: u64,
    },
    /// The frames of a store with [`Commit::Reserved`](crate::Commit::Reserved), or on a
    /// [`Fixed`](crate::Fixed) backing, cannot be reserved.
    #[error("cannot grow a memory of {size} by {delta} Wasm pages: {cause}")]
    OutOfFrames {
        /// The size, in Wasm pages.
        size: u64,
        /// The requested growth, in Wasm pages.
        delta: u64,
        /// The limit that was hit.
        cause: FrameShortage,
    },
}

/// Why a read or a write of the host has copied nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MemoryAccessError {
    /// The range ends past the memory.
    #[error("out of bounds access: offset {offset}, {len} bytes, in a memory of {size} bytes")]
    OutOfBounds {
        /// The first byte.
        offset: usize,
        /// The number of bytes.
        len: usize,
        /// The size of the memory in bytes.
        size: usize,
    },
    /// The store is lost, and no call of it runs.
    #[error(transparent)]
    Lost(#[from] Lost),
}

impl HostError for MemoryAccessError {}

/// With `?`, a host function ends its guest with this error.
impl From<MemoryAccessError> for wasmi::Error {
    fn from(error: MemoryAccessError) -> Self {
        Self::host(error)
    }
}

/// The store is lost, because its guest wrote to a page when no frame was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("out of frames: {cause}; the guest holds {held_frames}; the store is lost, drop it")]
pub struct OutOfFrames {
    /// Frames that the store held when it was stopped, table frames included.
    pub held_frames: u64,
    /// The limit that was hit.
    pub cause: FrameShortage,
}

impl HostError for OutOfFrames {}

/// A guest takes too much of the kernel heap.
///
/// It occurs only in engines with a [`HeapBudget`](crate::HeapBudget).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OutOfHeap {
    /// The store has exceeded [`Limits::heap_bytes`](crate::Limits::heap_bytes), and is lost.
    #[error(
        "out of heap: the guest takes {taken_bytes} bytes; the limit `heap_bytes` is {limit}; the store is lost, drop it"
    )]
    AboveLimit {
        /// Bytes that the store took when it was stopped.
        taken_bytes: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The heap had no block left while the store was served, and the store is lost.
    #[error(
        "out of heap: the heap was exhausted when the guest took {taken_bytes} bytes; the store is lost, drop it"
    )]
    Exhausted {
        /// Bytes that the store took when it was stopped.
        taken_bytes: usize,
    },
    /// The reserve of the heap is in use, so that the guest was not run. The store is not lost.
    #[error(
        "out of heap: the reserve is in use; drop a store that is lost, or free kernel memory, and repeat the call"
    )]
    NoReserve,
}

impl HostError for OutOfHeap {}

/// A call that was not made, or that ended its store, fails with this error.
impl From<OutOfHeap> for wasmi::Error {
    fn from(error: OutOfHeap) -> Self {
        Self::host(error)
    }
}

/// Why a store is lost. It refuses all calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Lost {
    /// Its guest wrote to a page when no frame was left.
    #[error(transparent)]
    OutOfFrames(#[from] OutOfFrames),
    /// Its guest took too much of the kernel heap.
    #[error(transparent)]
    OutOfHeap(#[from] OutOfHeap),
    /// Its guest touched a page that was lent.
    #[error(transparent)]
    LentPageTouched(#[from] LentPageTouched),
}

/// The store is lost, because its guest touched a page that was lent and guarded.
///
/// The access had no effect, and no other effect has left the guest since. See
/// [`Memory::lend_guarded`](crate::Memory::lend_guarded).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the guest touched byte {offset} of its memory, which is lent; the store is lost, drop it")]
pub struct LentPageTouched {
    /// Bytes from the start of the memory to the first access.
    pub offset: u64,
}

impl HostError for LentPageTouched {}

/// Calls between host and guest nest deeper than
/// [`Limits::reentry_depth`](crate::Limits::reentry_depth).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("calls between host and guest nest {limit} levels deep, which is the limit `reentry_depth`")]
pub struct ReentryTooDeep {
    /// The limit, in levels.
    pub limit: u32,
}

impl HostError for ReentryTooDeep {}
