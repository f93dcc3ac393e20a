//! The functions of the Wasm module `palimpsest`.
//!
//! All but `snapshot_ready` act on memory 0. Addresses, sizes and alignments are in bytes. Invalid
//! arguments trap, except that an allocation that cannot succeed returns null.
//! [`clear`](crate::clear) and [`HostHeap`](crate::HostHeap) are the safe interface.

#[link(wasm_import_module = "palimpsest")]
unsafe extern "C" {
    /// Zeroes `count` Wasm pages from page number `start`, and releases their frames. Returns 0 if
    /// all frames are free, and 1 if the host kept some. Traps if a page is out of bounds.
    ///
    /// # Safety
    /// No value of the program may have a byte in these pages, unless zeros are valid for it and no
    /// reference to it is used afterwards as if it had not changed.
    pub fn clear_pages(start: usize, count: usize) -> i32;

    /// Like [`clear_pages`], for `length` bytes at `address`. Traps if one of them is not a
    /// multiple of the Wasm page.
    ///
    /// # Safety
    /// As for [`clear_pages`].
    pub fn discard(address: *mut u8, length: usize) -> i32;

    /// Allocates at least `size` bytes, aligned to 16 bytes, or to 8 if `size` is below 16. Returns
    /// null if the memory cannot grow.
    pub safe fn malloc(size: usize) -> *mut u8;

    /// Allocates `count * size` zeroed bytes, aligned like those of [`malloc`]. Returns null also
    /// if the product overflows.
    pub safe fn calloc(count: usize, size: usize) -> *mut u8;

    /// Allocates at least `size` bytes at a multiple of `alignment`. Returns null also if that is
    /// not a power of two.
    pub safe fn aligned_alloc(alignment: usize, size: usize) -> *mut u8;

    /// Resizes a block, which may move. The result is aligned like that of [`malloc`]. If the
    /// memory cannot grow, returns null and leaves the block unchanged.
    ///
    /// # Safety
    /// `block` must be null, or the result of a function here that was not freed. If the result is
    /// not null, the old pointer must not be used again.
    pub fn realloc(block: *mut u8, size: usize) -> *mut u8;

    /// Frees a block. Ignores null.
    ///
    /// # Safety
    /// `block` must be null, or the result of a function here that was not freed. It must not be
    /// used again.
    pub fn free(block: *mut u8);

    /// Returns the size of a block, which is at least the requested size, or 0 for null. Traps if
    /// no block is at this address.
    pub safe fn usable_size(block: *mut u8) -> usize;

    /// See [`snapshot_ready`](crate::snapshot_ready()).
    pub safe fn snapshot_ready();
}
