//! What is said to the books and what they answer: plain values.

use core::ops::Range;

use crate::heap::{
    class::Class,
    pages::{PAGE_BYTES, Pages},
};

/// What is to be allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::heap) enum Wanted {
    /// A slot.
    Small(Class),
    /// As many pages, the first one a multiple of `align_pages`.
    Large { pages: u64, align_pages: u64 },
}

impl Wanted {
    /// `bytes` bytes, at least one, at a multiple of `alignment`, which is a power of two. Nothing where the sum
    /// is more than a `u64` holds.
    pub(in crate::heap) fn new(bytes: u64, alignment: u64) -> Option<Self> {
        let bytes = bytes.max(1);
        if alignment > PAGE_BYTES {
            return Some(Self::Large {
                pages: bytes.div_ceil(PAGE_BYTES),
                align_pages: alignment / PAGE_BYTES,
            });
        }
        // A slot for a multiple of the alignment is one itself; see the tests of `Class`.
        let padded = bytes.checked_next_multiple_of(alignment)?;
        let large = Self::Large { pages: padded.div_ceil(PAGE_BYTES), align_pages: 1 };
        Some(Class::of(padded).map_or(large, Self::Small))
    }
}

/// A block that was handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::heap) struct Block {
    /// Its first byte.
    pub(in crate::heap) address: u64,
    pub(in crate::heap) bytes: u64,
    /// Its bytes that may not be zero; empty if all are.
    pub(in crate::heap) stale: Range<u64>,
}

/// Why nothing was handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::heap) enum NoRoom {
    /// There are as many entries as there may be.
    Entries,
    /// No free range has that many pages at that alignment.
    Addresses { pages: u64, align_pages: u64 },
}

/// A live block, as it was found by its address.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found {
    Large(Pages),
    Small { slab: u64, slot: usize, class: Class },
}

/// What is to be released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::heap) enum Retention {
    /// What the options do not let stay.
    AsConfigured,
    /// Every idle page.
    Nothing,
}
