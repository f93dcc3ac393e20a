//! A global allocator over the host's heap.
//!
//! `malloc` aligns to 16 bytes, and blocks of less than 16 bytes to 8. Layouts that need more use
//! `aligned_alloc`. The allocator has no state in the guest that a stray write could damage.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr;

use crate::imports;

/// Uses the host's heap as Rust's global allocator. Dropping a large value releases its frames.
///
/// # Examples
/// ```
/// # #[cfg(target_family = "wasm")]
/// #[global_allocator]
/// static HEAP: palimpsest_guest::HostHeap = palimpsest_guest::HostHeap;
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct HostHeap;

/// Returns whether the alignment of `malloc` is enough for this layout.
const fn is_aligned_by_malloc(layout: Layout) -> bool {
    layout.align() <= 8 || (layout.align() == 16 && layout.size() >= 16)
}

// SAFETY:
// 1. The host returns blocks that do not overlap and have at least the requested size.
// 2. Blocks have the alignment of the layout, by `is_aligned_by_malloc` or by request.
// 3. No function here unwinds.
// 4. A block is valid until it is freed, because the guest cannot write to the host's records.
unsafe impl GlobalAlloc for HostHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_aligned_by_malloc(layout) {
            imports::malloc(layout.size())
        } else {
            imports::aligned_alloc(layout.align(), layout.size())
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, _layout: Layout) {
        // SAFETY: the caller guarantees that the block is from this allocator and not used again.
        unsafe { imports::free(block) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_aligned_by_malloc(layout) {
            return imports::calloc(1, layout.size());
        }
        let block = imports::aligned_alloc(layout.align(), layout.size());
        if !block.is_null() {
            // SAFETY: the block is new and has at least `layout.size()` bytes.
            unsafe { ptr::write_bytes(block, 0, layout.size()) };
        }
        block
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller guarantees that the new size, rounded up to the alignment, does not
        // overflow `isize`.
        let new_layout = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        if is_aligned_by_malloc(new_layout) {
            // SAFETY: the caller guarantees that the block is from this allocator, and does not use
            // the old pointer again if the result is not null.
            return unsafe { imports::realloc(block, size) };
        }
        let moved = imports::aligned_alloc(layout.align(), size);
        if moved.is_null() {
            return moved;
        }
        // SAFETY: 1. The old block has `layout.size()` bytes, the new one `size`. 2. Allocated
        // blocks do not overlap.
        unsafe { ptr::copy_nonoverlapping(block, moved, layout.size().min(size)) };
        // SAFETY: the result is not null, so the caller does not use the old pointer again.
        unsafe { imports::free(block) };
        moved
    }
}
