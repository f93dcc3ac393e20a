//! Units: the one place where numbers that a guest chose are checked.
//!
//! A [`Span`] is a byte range that lies inside a memory. Its constructors check alignment first and
//! bounds second, as the contract of clears demands. After them nothing overflows and nothing is
//! out of bounds, so what takes a span cannot fail.

use thiserror::Error;
use wasmi::errors::HostError;

/// Bytes of a frame, and of a page of virtual address space.
pub(crate) const FRAME_BYTES: u64 = 4096;

/// The same, as the length of a slice.
pub(crate) const FRAME_LEN: usize = 4096;

/// The size of one Wasm page of a memory: 64 KiB, or 1 byte with custom page sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WasmPageSize {
    log2: u8,
}

impl WasmPageSize {
    /// 64 KiB, the size for a memory that does not declare another.
    pub const STANDARD: Self = Self { log2: 16 };
    /// One byte, the other size that the custom-page-sizes proposal allows.
    pub const BYTE: Self = Self { log2: 0 };

    /// Returns the base-2 logarithm of the size, which is how modules encode it.
    pub(crate) fn log2(self) -> u8 {
        self.log2
    }

    /// Returns the size in bytes.
    #[must_use]
    pub fn bytes(self) -> u64 {
        1 << self.log2
    }

    /// Returns the number of bytes in `wasm_pages` pages, or `None` if it overflows a `u64`.
    pub(crate) fn bytes_of(self, wasm_pages: u64) -> Option<u64> {
        wasm_pages.checked_mul(self.bytes())
    }

    /// Returns the number of whole Wasm pages in `bytes`.
    pub(crate) fn pages_in(self, bytes: u64) -> u64 {
        bytes >> self.log2
    }
}

/// A byte range inside a memory, relative to the memory's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    start: u64,
    end: u64,
}

impl Span {
    /// Wasm pages `start..start + count` of a memory of `size_bytes`.
    ///
    /// # Errors
    ///
    /// [`ClearError::OutOfBounds`] if the range ends past the memory, or overflows.
    pub(crate) fn of_wasm_pages(
        start: u64,
        count: u64,
        page: WasmPageSize,
        size_bytes: u64,
    ) -> Result<Self, ClearError> {
        let out_of_bounds = ClearError::OutOfBounds { start, count, size: page.pages_in(size_bytes) };
        let (Some(start), Some(len)) = (page.bytes_of(start), page.bytes_of(count)) else {
            return Err(out_of_bounds);
        };
        Self::within(start, len, size_bytes).ok_or(out_of_bounds)
    }

    /// Bytes `start..start + len` of a memory of `size_bytes`, both multiples of its page size.
    ///
    /// # Errors
    ///
    /// - [`ClearError::Unaligned`] if `start` or `len` is not a multiple of the page size.
    /// - [`ClearError::OutOfBounds`] if the range ends past the memory, or overflows.
    pub(crate) fn of_bytes(
        start: u64,
        len: u64,
        page: WasmPageSize,
        size_bytes: u64,
    ) -> Result<Self, ClearError> {
        if !start.is_multiple_of(page.bytes()) || !len.is_multiple_of(page.bytes()) {
            return Err(ClearError::Unaligned { start, len, alignment: page.bytes() });
        }
        Self::of_any_bytes(start, len, size_bytes)
    }

    /// Bytes `start..start + len` of a memory of `size_bytes`, with no alignment required.
    ///
    /// # Errors
    ///
    /// [`ClearError::OutOfBounds`] if the range ends past the memory, or overflows.
    pub(crate) fn of_any_bytes(start: u64, len: u64, size_bytes: u64) -> Result<Self, ClearError> {
        Self::within(start, len, size_bytes).ok_or(ClearError::OutOfBounds {
            start,
            count: len,
            size: size_bytes,
        })
    }

    /// The bytes between the old and the new size of a memory that grows.
    pub(crate) fn growth(old_bytes: u64, new_bytes: u64) -> Self {
        Self { start: old_bytes, end: new_bytes.max(old_bytes) }
    }

    /// Returns both spans as one, if they touch.
    pub(crate) fn join(self, other: Self) -> Option<Self> {
        let touch = self.start <= other.end && other.start <= self.end;
        touch.then(|| Self { start: self.start.min(other.start), end: self.end.max(other.end) })
    }

    /// Returns the part up to the offset `end`.
    pub(crate) fn up_to(self, end: u64) -> Self {
        Self { start: self.start, end: end.clamp(self.start, self.end) }
    }

    /// Returns the part from the offset `start` on.
    pub(crate) fn from(self, start: u64) -> Self {
        Self { start: start.clamp(self.start, self.end), end: self.end }
    }

    fn within(start: u64, len: u64, size_bytes: u64) -> Option<Self> {
        let end = start.checked_add(len).filter(|&end| end <= size_bytes)?;
        Some(Self { start, end })
    }

    /// Returns the offset of the first byte.
    pub(crate) fn start(self) -> u64 {
        self.start
    }

    /// Returns the offset past the last byte.
    pub(crate) fn end(self) -> u64 {
        self.end
    }

    /// Returns whether the range contains no byte.
    pub(crate) fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// Why bytes were not cleared. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ClearError {
    /// The range ends past the memory, or overflows.
    #[error("out of bounds clear: start {start}, count {count}; the size is {size}, in the same unit")]
    OutOfBounds {
        /// The first Wasm page, or the first byte in the forms that take bytes.
        start: u64,
        /// The number of Wasm pages or bytes.
        count: u64,
        /// The size of the memory in the same unit.
        size: u64,
    },
    /// A discard starts or ends inside a Wasm page.
    #[error("unaligned discard: start {start:#x}, length {len:#x}; both must be multiples of {alignment:#x}")]
    Unaligned {
        /// The first byte.
        start: u64,
        /// The number of bytes.
        len: u64,
        /// The page size of the memory, in bytes.
        alignment: u64,
    },
}

impl HostError for ClearError {}

/// With `?`, a host function ends its guest with this error.
impl From<ClearError> for wasmi::Error {
    fn from(error: ClearError) -> Self {
        Self::host(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 4 << 16;

    fn pages(start: u64, count: u64) -> Result<Span, ClearError> {
        Span::of_wasm_pages(start, count, WasmPageSize::STANDARD, SIZE)
    }

    fn bytes(start: u64, len: u64) -> Result<Span, ClearError> {
        Span::of_bytes(start, len, WasmPageSize::STANDARD, SIZE)
    }

    #[test]
    fn a_range_that_ends_at_the_size_is_inside() {
        assert_eq!(pages(1, 3), Ok(Span { start: 1 << 16, end: SIZE }));
        assert_eq!(bytes(SIZE - (1 << 16), 1 << 16), Ok(Span { start: 3 << 16, end: SIZE }));
    }

    #[test]
    fn an_empty_range_at_the_size_is_inside_and_past_it_is_not() {
        assert_eq!(pages(4, 0).map(Span::is_empty), Ok(true));
        assert_eq!(pages(5, 0), Err(ClearError::OutOfBounds { start: 5, count: 0, size: 4 }));
        assert_eq!(pages(4, 1), Err(ClearError::OutOfBounds { start: 4, count: 1, size: 4 }));
    }

    #[test]
    fn sums_and_products_that_overflow_are_out_of_bounds() {
        for (start, count) in [(u64::MAX, 1), (1, u64::MAX), (1 << 48, 1), (1, 1 << 48), (u64::MAX, u64::MAX)]
        {
            assert_eq!(pages(start, count), Err(ClearError::OutOfBounds { start, count, size: 4 }));
        }
        let top = u64::MAX << 16;
        assert_eq!(
            bytes(1 << 16, top),
            Err(ClearError::OutOfBounds { start: 1 << 16, count: top, size: SIZE })
        );
    }

    #[test]
    fn alignment_is_checked_before_bounds() {
        let unaligned = |start, len| ClearError::Unaligned { start, len, alignment: 1 << 16 };
        assert_eq!(bytes(1, 1 << 16), Err(unaligned(1, 1 << 16)));
        assert_eq!(bytes(1 << 16, 1), Err(unaligned(1 << 16, 1)));
        assert_eq!(bytes(u64::MAX, 1), Err(unaligned(u64::MAX, 1)));
    }
}
