//! The kernel heap: the global allocator.
//!
//! It is a first-fit list over one contiguous range of frames. `memory` takes the range from the
//! pool at boot, and it is never released. Before that, every allocation fails.

use linked_list_allocator::LockedHeap;

#[global_allocator]
static HEAP: LockedHeap = LockedHeap::empty();

/// The use of the kernel heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeapUsage {
    /// Allocated bytes, as rounded by the allocator.
    pub used_bytes: usize,
    /// The size of the heap in bytes.
    pub size_bytes: usize,
}

/// Returns the current use of the kernel heap.
pub(crate) fn usage() -> HeapUsage {
    let heap = HEAP.lock();
    HeapUsage { used_bytes: heap.used(), size_bytes: heap.size() }
}

/// Initializes the heap.
///
/// # Safety
///
/// The caller guarantees that
/// 1. `size_bytes` bytes at `start` are always mapped and writable, and have no other use, and
/// 2. this function is called once.
pub(crate) unsafe fn init(start: *mut u8, size_bytes: usize) {
    // SAFETY: the caller guarantees both requirements of the allocator, by 1 and 2.
    unsafe { HEAP.lock().init(start, size_bytes) };
}
