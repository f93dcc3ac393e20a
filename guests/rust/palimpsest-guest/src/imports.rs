//! The functions of the Wasm module `palimpsest`, as the host provides them.
//!
//! All act on memory 0. Addresses, sizes and alignments are in bytes. Bad arguments trap, but for the heap's
//! requests, which answer null where they cannot be met. [`clear`](crate::clear) and
//! [`HostHeap`](crate::HostHeap) are their safe forms.

#[link(wasm_import_module = "palimpsest")]
unsafe extern "C" {
    /// Makes `count` Wasm pages from the Wasm page number `start` on read zero and gives their frames back: 0
    /// where all are free again, 1 where the host kept some. Traps if a page is outside of the memory.
    ///
    /// # Safety
    /// No live value of the program has a byte in these pages, unless zeros are valid for it and no reference
    /// to it is used afterwards as if it had not changed.
    pub fn clear_pages(start: usize, count: usize) -> i32;

    /// The same for `length` bytes at `address`, both multiples of a Wasm page; traps if one is not.
    ///
    /// # Safety
    /// As for [`clear_pages`].
    pub fn discard(address: *mut u8, length: usize) -> i32;

    /// A block of at least `size` bytes, aligned to 16 bytes if it has as many and to 8 otherwise; null if
    /// the memory cannot grow that far.
    pub safe fn malloc(size: usize) -> *mut u8;

    /// A block of `count * size` bytes that read zero, aligned likewise; null also if the product overflows.
    pub safe fn calloc(count: usize, size: usize) -> *mut u8;

    /// A block of at least `size` bytes at a multiple of `alignment`; null also if that is no power of two.
    pub safe fn aligned_alloc(alignment: usize, size: usize) -> *mut u8;

    /// Changes the size of a block, which may move, aligned as by [`malloc`]; null, and the block is as it
    /// was, if the memory cannot grow that far.
    ///
    /// # Safety
    /// `block` is null or came from a function here and was not freed. If the result is not null, the old
    /// pointer is not used again.
    pub fn realloc(block: *mut u8, size: usize) -> *mut u8;

    /// Ends a block; null is ignored.
    ///
    /// # Safety
    /// `block` is null or came from a function here and was not freed; it is not used again.
    pub fn free(block: *mut u8);

    /// How many bytes a block has, at least as many as were asked for; 0 for null. Traps if there is no block.
    pub safe fn usable_size(block: *mut u8) -> usize;
}
