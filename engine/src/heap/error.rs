//! What the heap has to say about a guest's pointers.

use core::fmt;
use thiserror::Error;
use wasmi::errors::HostError;

/// A pointer that is not that of a live block. Nothing has changed.
///
/// Travels inside an [`Error`](crate::Error), where `downcast_ref` finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HeapError {
    /// There can be a block at the pointer, and there is none: it was freed before.
    #[error("double free: {function}({pointer:#x}), where there is no live block any more")]
    Freed {
        /// The function that was called.
        function: HeapFunction,
        /// What it was given.
        pointer: u64,
    },
    /// The heap has not made the pointer: it is outside of its memory, or in the middle of a block.
    #[error("bad pointer: {function}({pointer:#x}), which is not the start of a block of the heap")]
    Foreign {
        /// The function that was called.
        function: HeapFunction,
        /// What it was given.
        pointer: u64,
    },
}

impl HostError for HeapError {}

/// The functions of the heap that take a pointer. Displayed as their names.
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

/// Why a pointer is not that of a live block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotABlock {
    /// See [`HeapError::Freed`].
    Freed,
    /// See [`HeapError::Foreign`].
    Foreign,
}

impl NotABlock {
    /// The error of `function`, which was given `pointer`.
    pub(super) fn at(self, function: HeapFunction, pointer: u64) -> HeapError {
        match self {
            Self::Freed => HeapError::Freed { function, pointer },
            Self::Foreign => HeapError::Foreign { function, pointer },
        }
    }
}
