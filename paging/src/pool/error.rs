//! The errors of a frame pool. On any of them nothing has changed.

use thiserror::Error;
use x86_64::PhysAddr;
use x86_64::structures::paging::PhysFrame;

/// Why a pool cannot be built from a memory map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PoolError {
    /// Two ranges have bytes in common.
    #[error("the usable ranges at {first:#x} and at {second:#x} overlap")]
    Overlap {
        /// Where one of them starts.
        first: PhysAddr,
        /// Where the other one starts.
        second: PhysAddr,
    },
    /// There is no whole frame in any range.
    #[error("no usable range covers a whole frame of 4 KiB")]
    Empty,
    /// The bookkeeping has no place.
    #[error(
        "the bookkeeping needs {needed_frames} frames, and the largest usable range has {largest_frames}"
    )]
    NoRoom {
        /// Frames that the bookkeeping needs.
        needed_frames: u64,
        /// Frames of the largest range.
        largest_frames: u64,
    },
}

/// Why a pool refuses to take a frame back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub(super) enum ReleaseError {
    /// The frame is not one of the pool's.
    #[error("{frame:?} is not a frame of this pool")]
    Foreign {
        /// The refused frame.
        frame: PhysFrame,
    },
    /// The frame is free.
    #[error("{frame:?} is free already")]
    AlreadyFree {
        /// The refused frame.
        frame: PhysFrame,
    },
}
