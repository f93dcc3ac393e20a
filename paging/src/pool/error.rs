//! The errors of a frame pool.

use thiserror::Error;
use x86_64::structures::paging::PhysFrame;
use x86_64::{PhysAddr, VirtAddr};

/// Why a pool cannot be built from a memory map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PoolError {
    /// Two ranges have bytes in common.
    #[error("the usable ranges at {first:#x} and at {second:#x} overlap: pass every byte once")]
    Overlap {
        /// The start of the range that was passed earlier.
        first: PhysAddr,
        /// The start of the range that was passed later.
        second: PhysAddr,
    },
    /// No range covers a whole frame.
    #[error("no usable range covers a whole frame of 4 KiB: pass a larger range")]
    Empty,
    /// A range is not mapped.
    #[error(
        "the frame at {frame:#x} is not mapped at {frame:#x} plus the physical offset {physical_offset:#x}: \
         correct the offset, map all RAM there, or pass what is mapped"
    )]
    Unmapped {
        /// The physical address of the first or the last frame of a range.
        frame: PhysAddr,
        /// The offset that was passed.
        physical_offset: VirtAddr,
    },
    /// The bookkeeping does not fit into the largest range.
    #[error(
        "the bookkeeping takes {needed_frames} frames, and the largest usable range has {largest_frames}: \
         pass a range that has more frames than the bookkeeping"
    )]
    NoRoom {
        /// The number of frames that the bookkeeping takes.
        needed_frames: u64,
        /// The number of frames in the largest range.
        largest_frames: u64,
    },
}

/// Why a pool refuses to take a frame back. The pool has not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum ReleaseError {
    /// The frame was never one of the pool's.
    #[error("{frame:?} is not a frame of this pool")]
    Foreign { frame: PhysFrame },
    /// The frame is free.
    #[error("{frame:?} is free already")]
    AlreadyFree { frame: PhysFrame },
}
