//! Pages of 4 KiB, the unit in which the heap keeps addresses.
//!
//! Page numbers count from the start of the memory. They come from byte addresses divided by the
//! page size, so the sum of a few of them cannot overflow a `u64`. Arithmetic on an alignment or a
//! size that the guest chose is checked where it happens.

/// The bytes of a page.
pub(crate) const PAGE_BYTES: u64 = 4096;
/// The same number for lengths of slices.
pub(crate) const PAGE_LEN: usize = 4096;

/// Pages `first..first + count` of a memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pages {
    pub(crate) first: u64,
    pub(crate) count: u64,
}

impl Pages {
    pub(crate) fn new(first: u64, count: u64) -> Self {
        Self { first, count }
    }

    /// Returns the pages that lie wholly inside bytes `start..end`, without page 0: none if the
    /// range ends before it starts.
    pub(crate) fn inside(start: u64, end: u64) -> Self {
        let first = first_usable(start);
        Self { first, count: (end / PAGE_BYTES).saturating_sub(first) }
    }

    /// Returns the page after the last one.
    pub(crate) fn end(self) -> u64 {
        self.first + self.count
    }

    /// Returns the address of the first byte.
    pub(crate) fn address(self) -> u64 {
        self.first * PAGE_BYTES
    }

    pub(crate) fn bytes(self) -> u64 {
        self.count * PAGE_BYTES
    }

    pub(crate) fn contains(self, page: u64) -> bool {
        (self.first..self.end()).contains(&page)
    }
}

/// Returns the first page that starts at byte `at` or after it and can belong to the heap.
///
/// Page 0 cannot, because a block there would have the address that means "no block".
pub(crate) fn first_usable(at: u64) -> u64 {
    at.div_ceil(PAGE_BYTES).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_pages_other_than_page_0_are_inside() {
        assert_eq!(Pages::inside(0, 3 * PAGE_BYTES), Pages::new(1, 2));
        assert_eq!(Pages::inside(1, 3 * PAGE_BYTES - 1), Pages::new(1, 1));
        assert_eq!(Pages::inside(5000, 8191), Pages::new(2, 0));
        assert_eq!(Pages::inside(0, 0), Pages::new(1, 0));
        assert_eq!(Pages::inside(u64::MAX, 1 << 16).count, 0);
    }
}
