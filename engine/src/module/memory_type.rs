//! The type of a linear memory, with its page size, which wasmi's `MemoryType` does not expose.

use crate::units::{FRAME_BYTES, WasmPageSize};

/// The integer type of a memory's addresses and sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IndexType {
    /// 32-bit: up to 4 GiB.
    I32,
    /// 64-bit, from the memory64 proposal.
    I64,
}

impl IndexType {
    /// Returns the type of an address as a value.
    #[cfg(feature = "splice")]
    pub(super) fn to_encoder(self) -> wasm_encoder::ValType {
        match self {
            Self::I32 => wasm_encoder::ValType::I32,
            Self::I64 => wasm_encoder::ValType::I64,
        }
    }
}

/// The type of a linear memory: index type, limits in Wasm pages, page size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryType {
    pub(crate) index: IndexType,
    pub(crate) minimum: u64,
    pub(crate) maximum: Option<u64>,
    pub(crate) page_size: WasmPageSize,
}

impl MemoryType {
    /// A 32-bit memory of `minimum` to `maximum` Wasm pages of 64 KiB.
    #[must_use]
    pub fn new(minimum: u32, maximum: Option<u32>) -> Self {
        Self {
            index: IndexType::I32,
            minimum: minimum.into(),
            maximum: maximum.map(u64::from),
            page_size: WasmPageSize::STANDARD,
        }
    }

    /// A 64-bit memory of `minimum` to `maximum` Wasm pages of 64 KiB.
    #[must_use]
    pub fn new64(minimum: u64, maximum: Option<u64>) -> Self {
        Self { index: IndexType::I64, minimum, maximum, page_size: WasmPageSize::STANDARD }
    }

    /// Returns the same type with another page size, in which `minimum` and `maximum` are counted.
    #[must_use]
    pub fn with_page_size(self, page_size: WasmPageSize) -> Self {
        Self { page_size, ..self }
    }

    /// Returns the index type.
    #[must_use]
    pub fn index(&self) -> IndexType {
        self.index
    }

    /// Returns the size of a new memory, in Wasm pages.
    #[must_use]
    pub fn minimum(&self) -> u64 {
        self.minimum
    }

    /// Returns the declared maximum in Wasm pages, if there is one.
    #[must_use]
    pub fn maximum(&self) -> Option<u64> {
        self.maximum
    }

    /// Returns the size of a Wasm page.
    #[must_use]
    pub fn page_size(&self) -> WasmPageSize {
        self.page_size
    }

    /// Returns whether a memory of this type can have an image.
    ///
    /// A memory whose pages are smaller than a frame has none. The guest may clear a part of a
    /// frame there, and if the frame were shared, that would take another one.
    pub(crate) fn can_have_image(&self) -> bool {
        self.page_size.bytes() >= FRAME_BYTES
    }

    /// Returns the same type for a memory that starts with `bytes`, a multiple of the page size.
    #[cfg(feature = "snapshots")]
    pub(crate) fn starting_with(self, bytes: u64) -> Self {
        Self { minimum: self.page_size.pages_in(bytes), ..self }
    }

    /// Returns the size of a new memory in bytes, or `u64::MAX` if it overflows.
    pub(crate) fn initial_bytes(&self) -> u64 {
        self.page_size.bytes_of(self.minimum).unwrap_or(u64::MAX)
    }

    /// Returns the number of bytes to which the memory may grow by its type alone (Wasm core
    /// specification, "Memory Types").
    pub(crate) fn maximum_bytes(&self) -> u64 {
        let by_index = match self.index {
            // The size in Wasm pages must fit into 32 bits as well.
            IndexType::I32 => (1 << 32).min(self.page_size.bytes_of(u32::MAX.into()).unwrap_or(u64::MAX)),
            IndexType::I64 => u64::MAX,
        };
        let declared = self.maximum.map_or(u64::MAX, |max| self.page_size.bytes_of(max).unwrap_or(u64::MAX));
        by_index.min(declared)
    }

    /// Returns the same type in wasmi's terms. A maximum of 2^64 bytes becomes one Wasm page less,
    /// because wasmi panics if the bytes of a maximum do not fit into 64 bits.
    ///
    /// # Errors
    ///
    /// Fails if the minimum is above the maximum, or if the index type cannot represent a size.
    pub(crate) fn to_wasmi(self) -> Result<wasmi::MemoryType, wasmi::Error> {
        let mut builder = wasmi::MemoryType::builder();
        let most = self.page_size.pages_in(u64::MAX).max(self.minimum);
        builder.min(self.minimum).max(self.maximum.map(|maximum| maximum.min(most)));
        builder.memory64(self.index == IndexType::I64);
        builder.page_size_log2(self.page_size.log2());
        builder.build().map_err(wasmi::Error::from)
    }
}

#[cfg(feature = "splice")]
impl From<&wasmparser::MemoryType> for MemoryType {
    fn from(ty: &wasmparser::MemoryType) -> Self {
        let page_size = match ty.page_size_log2 {
            Some(0) => WasmPageSize::BYTE,
            // The validator accepts no third size (custom-page-sizes proposal, "Validation").
            Some(_) | None => WasmPageSize::STANDARD,
        };
        let index = if ty.memory64 { IndexType::I64 } else { IndexType::I32 };
        Self { index, minimum: ty.initial, maximum: ty.maximum, page_size }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_32_bit_memory_without_a_maximum_may_grow_to_4_gib() {
        assert_eq!(MemoryType::new(1, None).maximum_bytes(), 1 << 32);
        assert_eq!(MemoryType::new(1, Some(3)).maximum_bytes(), 3 << 16);
        let bytes = MemoryType::new(1, Some(u32::MAX)).with_page_size(WasmPageSize::BYTE);
        assert_eq!(bytes.maximum_bytes(), u64::from(u32::MAX));
    }

    #[test]
    fn a_32_bit_memory_of_one_byte_pages_may_not_grow_to_a_size_of_2_to_the_32() {
        let bytes = MemoryType::new(0, None).with_page_size(WasmPageSize::BYTE);
        assert_eq!(bytes.maximum_bytes(), u64::from(u32::MAX));
    }

    #[test]
    fn sizes_that_overflow_a_u64_saturate() {
        assert_eq!(MemoryType::new64(1 << 48, None).initial_bytes(), u64::MAX);
        assert_eq!(MemoryType::new64(0, Some(1 << 48)).maximum_bytes(), u64::MAX);
    }
}
