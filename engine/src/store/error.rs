//! The errors of memories, and those that end a guest.
//!
//! What ends a guest travels inside a [`wasmi::Error`], where `downcast_ref` finds it again.

use thiserror::Error;
use wasmi::errors::HostError;

use crate::backing::BackingError;

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
    Backing(#[from] BackingError),
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
