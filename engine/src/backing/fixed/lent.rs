//! Pages that a memory has lent, as a slice of the embedder.

use core::{
    fmt,
    ops::{Deref, DerefMut},
    ptr::NonNull,
};
use thiserror::Error;

use super::arenas::Block;
use crate::units::ClearError;

/// Cleared pages of a memory that the embedder uses meanwhile, zeroed at first.
///
/// [`Memory::lend_pages`](crate::Memory::lend_pages) makes it. When it is dropped and the store is
/// next used, the pages are the memory's again and read as zero. If the store is dropped before,
/// they become free with this value.
pub struct Lent {
    /// All bytes of `block`.
    bytes: NonNull<[u8]>,
    block: Block,
}

// SAFETY: The bytes are exclusively those of the value, like those of a `Box<[u8]>`.
#[allow(unsafe_code, reason = "a pointer is not `Send`, and the value owns what it points to")]
unsafe impl Send for Lent {}
// SAFETY: As above; a shared reference gives only shared access.
#[allow(unsafe_code, reason = "a pointer is not `Sync`, and the value owns what it points to")]
unsafe impl Sync for Lent {}

impl Lent {
    /// Takes a block that owns all bytes of its span.
    pub(super) fn new(block: Block) -> Self {
        Self { bytes: block.with_span(|bytes| bytes), block }
    }
}

impl Deref for Lent {
    type Target = [u8];

    #[allow(unsafe_code, reason = "the bytes are a pointer and a length")]
    fn deref(&self) -> &[u8] {
        // SAFETY: 1. The block owns the bytes until it is dropped, with the value. They were zeroed
        //            when they were lent.
        //         2. The engine makes no slice over lent bytes before [`Arenas::recall`] succeeds,
        //            which fails as long as the block is there.
        unsafe { self.bytes.as_ref() }
    }
}

impl DerefMut for Lent {
    #[allow(unsafe_code, reason = "the bytes are a pointer and a length")]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: As in [`deref`](Deref::deref), and `self` is borrowed exclusively.
        unsafe { self.bytes.as_mut() }
    }
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lent").field("block", &self.block).field("len", &self.len()).finish()
    }
}

/// Why pages were not lent. They may have been zeroed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LendError {
    /// The range ends past the memory.
    #[error(transparent)]
    Clear(#[from] ClearError),
    /// A call of the guest has not returned. The interpreter makes slices of the whole memory, so
    /// that no part of it can have another user.
    #[error("pages of a running guest cannot be lent; lend them when its call has returned")]
    Running,
    /// Other pages of the memory are lent and in use.
    #[error("{bytes} bytes of the memory are already lent and in use; drop what uses them first")]
    Lent {
        /// The number of bytes.
        bytes: u64,
    },
    /// The guard of the backing cannot close the range, or there is none. What a guard can close is
    /// a property of the hardware: a Cortex-M4 closes powers of two at multiples of themselves.
    #[error("no guard closes the pages while the guest runs; align the arena, or see `Fixed::guarded_by`")]
    Unguarded,
    /// The range has no 16 bytes at a multiple of 16, or the heap has no room for the record.
    #[error("the range contains no 16 bytes at a multiple of 16, or the heap is exhausted")]
    NoRoom,
    /// The backing has pages that nothing else can use while they are the memory's. A clear
    /// releases their frames.
    #[error(
        "only memories of a `Fixed` backing lend pages; on `Paged` clear them, which releases their frames"
    )]
    Unsupported,
}
