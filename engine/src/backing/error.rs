//! Why a backing refuses: each error names the request and the limit that it hit.

use alloc::boxed::Box;
use thiserror::Error;

/// Why the backing has no room for a new memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BackingError {
    /// The CPU does not enforce what the page tables say, so the memories of stores could not be
    /// kept apart.
    #[cfg(all(feature = "paging", target_arch = "x86_64"))]
    #[error("no memory is made while the CPU does not protect it: {0}")]
    Cpu(palimpsest_paging::CpuError),
    /// The memory is larger than the whole backing.
    #[error(
        "{requested} bytes are more than the {available} bytes of the whole window; give the backing a larger one"
    )]
    TooLarge {
        /// Bytes that were requested.
        requested: u64,
        /// Bytes of the window, or of the largest slice.
        available: u64,
    },
    /// The page-fault handler does not step over fills of zeros, so that one of this size would
    /// take too long.
    #[error(
        "{requested} bytes are more than the {limit} that a memory starts with while the page-fault handler \
         does not step over fills of zeros; use the entry of `palimpsest_paging::page_fault_entry`"
    )]
    Unfillable {
        /// Bytes that were requested.
        requested: u64,
        /// Bytes that a memory may start with.
        limit: u64,
    },
    /// No range of this size is free in a slice at present.
    #[error(
        "no free range of {requested} bytes: {free} bytes are free, and the largest range has {largest}; drop a \
         store, or add a slice"
    )]
    NoRoom {
        /// Bytes that were requested.
        requested: u64,
        /// Bytes of all slices that no memory owns.
        free: u64,
        /// Bytes of the largest range of them.
        largest: u64,
    },
    /// No block of addresses of this size is free in the window at present.
    #[error(
        "no free block of {requested} bytes of addresses: {free} of the window are free, and the largest block \
         has {largest}; drop a store, lower `address_bytes`, or make the window larger"
    )]
    WindowFull {
        /// Bytes that were requested.
        requested: u64,
        /// Bytes of the window that no memory has.
        free: u64,
        /// Bytes of the largest free block. Blocks are powers of two.
        largest: u64,
    },
    /// The frames that a new region needs are not available, or cannot be reserved.
    #[error("no frames for a memory of {requested} bytes: {cause}; drop a store or raise `resident_frames`")]
    OutOfFrames {
        /// Bytes that were requested.
        requested: u64,
        /// The limit that was hit.
        cause: FrameShortage,
    },
}

/// Which source of frames ran dry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FrameShortage {
    /// The store would hold more than [`Limits::resident_frames`](crate::Limits::resident_frames).
    #[error("the store holds {held} frames and needs {needed} more; the limit `resident_frames` is {cap}")]
    Cap {
        /// The limit.
        cap: u64,
        /// Frames that are charged to the store.
        held: u64,
        /// Frames that were needed besides.
        needed: u64,
    },
    /// The frame source has too few frames left, or cannot reserve as many.
    #[error(
        "the frame source has {available} frames that are not reserved, and must have {needed}; of {taken} \
         frames that it gave, {released} were released to it and {} are in use; if it has more frames than \
         these, it does not give again what is released",
        taken - released
    )]
    Source {
        /// Frames that are free and not reserved.
        available: u64,
        /// Frames that were needed.
        needed: u64,
        /// Frames that the address space has taken from the source since it was made.
        taken: u64,
        /// Frames of these that were released to the source.
        released: u64,
    },
    /// The commit policy is [`Commit::Reserved`](crate::Commit::Reserved), and the frame source
    /// cannot reserve frames.
    #[error(
        "the frame source cannot reserve frames, and `Commit::Reserved` needs it to; use `Commit::OnTouch`"
    )]
    Unsupported,
}

/// Why no image was made of a region.
#[cfg_attr(
    not(all(feature = "paging", feature = "snapshots", target_arch = "x86_64")),
    allow(dead_code, reason = "the fixed backing takes no frame for an image")
)]
#[derive(Debug)]
pub(crate) enum FreezeRefused {
    /// The heap has no room for the image.
    NoHeap,
    /// The store has every frame from the start, and others cannot be reserved in place of those
    /// that would become the image's.
    OutOfFrames(FrameShortage),
}

/// Why a region's limit was not moved. A growth that succeeds returns this type too, so it is
/// small.
#[derive(Debug)]
pub(crate) enum LimitRefused {
    /// The region has no room.
    NoRoom,
    /// The frames cannot be reserved.
    OutOfFrames(Box<FrameShortage>),
}
