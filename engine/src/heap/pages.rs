//! Runs of pages: the unit in which the heap keeps addresses.
//!
//! Page numbers count from the start of the memory. They come from sizes of at most 64 bits, divided by a
//! page, so that sums of a few of them do not overflow; what is computed from a guest's alignment is checked.

use crate::units::FRAME_BYTES;

/// The bytes of a page.
pub(super) const PAGE_BYTES: u64 = FRAME_BYTES;
/// The same for offsets in what is in memory.
pub(super) const PAGE_LEN: usize = 4096;

/// Pages `first..first + count` of a memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pages {
    pub(super) first: u64,
    pub(super) count: u64,
}

impl Pages {
    pub(super) fn new(first: u64, count: u64) -> Self {
        Self { first, count }
    }

    /// The pages that lie wholly inside bytes `start..end`: none if that ends before it starts. Page 0 is not among them: a block there would have
    /// the address that means "none".
    pub(super) fn inside(start: u64, end: u64) -> Self {
        let first = first_at(start);
        Self { first, count: (end / PAGE_BYTES).saturating_sub(first) }
    }

    /// The page behind the last one.
    pub(super) fn end(self) -> u64 {
        self.first + self.count
    }

    /// The first byte.
    pub(super) fn address(self) -> u64 {
        self.first * PAGE_BYTES
    }

    pub(super) fn bytes(self) -> u64 {
        self.count * PAGE_BYTES
    }

    pub(super) fn contains(self, page: u64) -> bool {
        (self.first..self.end()).contains(&page)
    }
}

/// The first page that starts at byte `at` or behind it and can be the heap's.
pub(super) fn first_at(at: u64) -> u64 {
    at.div_ceil(PAGE_BYTES).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_pages_are_inside_and_page_0_is_none_of_them() {
        assert_eq!(Pages::inside(0, 3 * PAGE_BYTES), Pages::new(1, 2));
        assert_eq!(Pages::inside(1, 3 * PAGE_BYTES - 1), Pages::new(1, 1));
        assert_eq!(Pages::inside(5000, 8191), Pages::new(2, 0));
        assert_eq!(Pages::inside(0, 0), Pages::new(1, 0));
        assert_eq!(Pages::inside(u64::MAX, 1 << 16).count, 0);
    }
}
