//! Why a backing refuses: each error names what was requested, and the limit that it hit.

use thiserror::Error;

/// Why no region was reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReserveError {
    /// The memory is larger than everything there is.
    #[error(
        "{requested} bytes are more than the {available} bytes of the whole window; give the backing a larger one"
    )]
    TooLarge {
        /// Bytes that were requested.
        requested: u64,
        /// Bytes of the window or of the fixed slice.
        available: u64,
    },
    /// No range of addresses of that size is free now.
    #[error("no free range of {requested} bytes; drop a store first")]
    NoAddresses {
        /// Bytes that were requested.
        requested: u64,
    },
    /// The frames that a new region needs are not there, or cannot be promised.
    #[error("no frames for a memory of {requested} bytes: {cause}; drop a store or raise `resident_frames`")]
    OutOfFrames {
        /// Bytes that were requested.
        requested: u64,
        /// Which limit was hit, with its value and what was needed.
        cause: Shortage,
    },
}

/// Which source of frames ran dry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Shortage {
    /// The store would hold more than [`Limits::resident_frames`](crate::Limits::resident_frames).
    #[error("{needed} frames more than the {held} it has are above the limit `resident_frames`, {cap}")]
    Cap {
        /// The limit.
        cap: u64,
        /// Frames charged to the store.
        held: u64,
        /// Frames needed besides.
        needed: u64,
    },
    /// The frame source has none left, or does not promise so many.
    #[error("{needed} frames are needed, and the frame source has {available} that are not promised")]
    Source {
        /// Frames that are free and promised to nobody.
        available: u64,
        /// Frames needed.
        needed: u64,
    },
    /// The commit policy is [`Commit::Reserved`](crate::Commit::Reserved), and the frame source makes no promises.
    #[error("the frame source makes no promises, as `Commit::Reserved` needs them")]
    NoPromises,
}

/// Why a limit was not moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the limit cannot be moved to {requested} bytes of {capacity}")]
pub struct LimitError {
    /// The limit that was asked for, in bytes.
    pub requested: u64,
    /// The bytes of the region.
    pub capacity: u64,
}
