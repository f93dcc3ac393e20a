//! Why there was no frame.

use thiserror::Error;

/// Why there was no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Shortage {
    /// The frame source has none left, or none that is not reserved.
    #[error("the frame source is empty")]
    SourceEmpty,
    /// The account holds as many frames as it may.
    #[error("the account's cap of {cap_frames} frames is reached")]
    CapReached {
        /// The account's cap in frames.
        cap_frames: u64,
    },
}
