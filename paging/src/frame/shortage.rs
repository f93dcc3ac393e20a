//! Why there was no frame.

use thiserror::Error;

/// Why there was no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Shortage {
    /// The frame source has no frame left that is not reserved.
    #[error("the frame source is empty: release frames, or add memory")]
    SourceEmpty,
    /// The account already holds as many frames as its cap allows.
    #[error(
        "the account's cap of {cap_frames} frames is reached: release some of its frames, or raise the cap"
    )]
    CapReached {
        /// The account's cap in frames.
        cap_frames: u64,
    },
}
