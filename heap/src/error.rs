//! Why a call of a heap function ends the guest.

use core::fmt;
use palimpsest_engine::HostError;
use thiserror::Error;

/// A mistake of the guest. Nothing in the heap has changed.
///
/// It is carried by an [`Error`](palimpsest_engine::Error), whose `downcast_ref` returns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HeapError {
    /// The block at the pointer was freed before. A block could start at the pointer, but none is
    /// live.
    #[error("double free: {function}({pointer:#x}), where no block is live")]
    Freed {
        /// The function that was called.
        function: HeapFunction,
        /// The pointer that it was called with.
        pointer: u64,
    },
    /// The heap never returned the pointer: it is outside the heap, or in the middle of a block.
    #[error("bad pointer: {function}({pointer:#x}), which is not the start of a block of the heap")]
    Foreign {
        /// The function that was called.
        function: HeapFunction,
        /// The pointer that it was called with.
        pointer: u64,
    },
    /// The module that imports the function has no memory.
    #[error("the guest calls a heap function and has no memory; give its module one")]
    NoMemory,
}

impl HostError for HeapError {}

/// A heap function that takes a pointer. Displayed as its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HeapFunction {
    /// `palimpsest.free`.
    Free,
    /// `palimpsest.realloc`.
    Realloc,
    /// `palimpsest.usable_size`.
    UsableSize,
}

impl fmt::Display for HeapFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Free => "free",
            Self::Realloc => "realloc",
            Self::UsableSize => "usable_size",
        })
    }
}

/// Why a pointer is not the start of a live block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotABlock {
    /// See [`HeapError::Freed`].
    Freed,
    /// See [`HeapError::Foreign`].
    Foreign,
}

impl NotABlock {
    /// Returns the error of `function`, which was called with `pointer`.
    pub(crate) fn at(self, function: HeapFunction, pointer: u64) -> HeapError {
        match self {
            Self::Freed => HeapError::Freed { function, pointer },
            Self::Foreign => HeapError::Foreign { function, pointer },
        }
    }
}

/// Why the state of a [`Heap`](crate::Heap) was not written or read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StateError {
    /// A guest was ended while `realloc` moved a block.
    #[error("`realloc` was interrupted while it moved a block; call the guest before the snapshot is made")]
    Moving,
    /// The bytes end inside the state.
    #[error("the recorded state of the heap ends too early; pass all bytes that were written")]
    Truncated,
    /// There are bytes after the state.
    #[error(
        "the recorded state of the heap has {count} bytes after its end; pass only those that were written"
    )]
    Trailing {
        /// The number of bytes.
        count: usize,
    },
    /// A number is not valid where it is.
    #[error("{number} is not a valid {what} in the recorded state of the heap; make the snapshot anew")]
    Number {
        /// The meaning of the number.
        what: &'static str,
        /// The number.
        number: u64,
    },
}
