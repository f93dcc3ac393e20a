//! The arguments and results of the books' operations.

use crate::{
    class::Class,
    pages::{PAGE_BYTES, Pages},
};

/// A request for a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// A slot of this class.
    Small(Class),
    /// This many pages, the first of which is a multiple of `align_pages`.
    Large { pages: u64, align_pages: u64 },
}

impl Request {
    /// Returns the request for `bytes` bytes, at least one, at a multiple of `alignment`, which
    /// must be a power of two. Returns `None` if the size overflows when it is rounded up.
    pub(crate) fn new(bytes: u64, alignment: u64) -> Option<Self> {
        let bytes = bytes.max(1);
        if alignment > PAGE_BYTES {
            return Some(Self::Large {
                pages: bytes.div_ceil(PAGE_BYTES),
                align_pages: alignment / PAGE_BYTES,
            });
        }
        // A size that is a multiple of the alignment gets slots that are as well; a test of `Class`
        // checks it.
        let padded = bytes.checked_next_multiple_of(alignment)?;
        let large = Self::Large { pages: padded.div_ceil(PAGE_BYTES), align_pages: 1 };
        Some(Class::of(padded).map_or(large, Self::Small))
    }
}

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoRoom {
    /// The limit [`HeapOptions::entries`](crate::HeapOptions::entries) is reached.
    Entries,
    /// No free run contains this many pages at this alignment.
    Addresses { pages: u64, align_pages: u64 },
}

/// A live block that was found by its address.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found {
    /// These whole pages.
    Large(Pages),
    /// A slot of the slab that starts at page `slab`.
    Small { slab: u64, slot: usize, class: Class },
}

/// The idle pages that [`Book::next_release`](super::Book::next_release) returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drain {
    /// Those that the options do not allow to stay idle.
    Due,
    /// Every idle page.
    All,
}
