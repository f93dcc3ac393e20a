//! A global allocator over the host's heap.
//!
//! Owns the choice between the heap's functions: `malloc` and its kin align to 16 bytes (8 for blocks of less
//! than 16), and whatever wants more goes through `aligned_alloc`. Holds no state, so it cannot be damaged.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr;

use crate::imports;

/// The host's heap as Rust's global allocator. Dropping a large value gives its frames back to the machine.
///
/// # Examples
/// ```
/// # #[cfg(target_family = "wasm")]
/// #[global_allocator]
/// static HEAP: palimpsest_guest::HostHeap = palimpsest_guest::HostHeap;
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct HostHeap;

/// Whether `malloc` aligns a block of this layout well enough.
const fn is_aligned_by_malloc(layout: Layout) -> bool {
    layout.align() <= 8 || (layout.align() == 16 && layout.size() >= 16)
}

// SAFETY: 1. The host gives out blocks that do not overlap, of at least the size asked for. 2. Their alignment
// is the layout's, by `is_aligned_by_malloc` or by request. 3. No function here unwinds. 4. A block lives until
// it is freed; the host's book-keeping is out of the guest's reach.
unsafe impl GlobalAlloc for HostHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_aligned_by_malloc(layout) {
            imports::malloc(layout.size())
        } else {
            imports::aligned_alloc(layout.align(), layout.size())
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, _layout: Layout) {
        // SAFETY: the caller's promise: the block came from this allocator and is not used again.
        unsafe { imports::free(block) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_aligned_by_malloc(layout) {
            return imports::calloc(1, layout.size());
        }
        let block = imports::aligned_alloc(layout.align(), layout.size());
        if !block.is_null() {
            // SAFETY: the block is new and has at least this many bytes.
            unsafe { ptr::write_bytes(block, 0, layout.size()) };
        }
        block
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise: rounded up to its alignment, the new size does not overflow `isize`.
        let new_layout = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        if is_aligned_by_malloc(new_layout) {
            // SAFETY: the caller's promise: the block came from this allocator, and the old pointer is not
            // used again if the result is not null.
            return unsafe { imports::realloc(block, size) };
        }
        let moved = imports::aligned_alloc(layout.align(), size);
        if moved.is_null() {
            return moved;
        }
        // SAFETY: 1. The old block has `layout.size()` bytes, the new one `size`. 2. Live blocks are disjoint.
        unsafe { ptr::copy_nonoverlapping(block, moved, layout.size().min(size)) };
        // SAFETY: the caller's promise: the old pointer is not used again, the result not being null.
        unsafe { imports::free(block) };
        moved
    }
}
