//! The errors of a region's operations. Nothing has changed after any of them.

use thiserror::Error;
use x86_64::structures::paging::Page;
use x86_64::structures::paging::page::PageRange;

use crate::supply::ChargeError;

/// Why a limit cannot be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LimitError {
    /// The limit is larger than the region.
    #[error(
        "a limit of {requested_bytes} bytes is beyond the region's capacity of {capacity_bytes}: reserve a larger region"
    )]
    BeyondCapacity {
        /// The limit that was requested, in bytes.
        requested_bytes: u64,
        /// The region's capacity, in bytes.
        capacity_bytes: u64,
    },
    /// A page beyond the new limit holds a frame.
    #[error("{page:?} is beyond the new limit and holds a frame: decommit it first")]
    Resident {
        /// The first such page.
        page: Page,
    },
    /// The account is reserved, and cannot be charged for the frames up to the new limit.
    #[error("the account cannot be charged for the new limit")]
    Uncharged(#[from] ChargeError),
}

/// Why a range of pages is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RangeError {
    /// The range is not inside of the region.
    #[error(
        "the pages from {start:?} to {end:?} are not inside of the region {region:?}: use pages of the region"
    )]
    Outside {
        /// The range's first page.
        start: Page,
        /// The page after its last one.
        end: Page,
        /// The region's pages.
        region: PageRange,
    },
    /// The range ends before it starts.
    #[error("the range starts at {start:?} and ends before that, at {end:?}: let it end after its start")]
    Backwards {
        /// The range's first page.
        start: Page,
        /// The page after its last one.
        end: Page,
    },
}
