//! The kernel heap.
//!
//! Owns the global allocator: a first-fit list over one contiguous range of frames, which `memory` takes from
//! the pool at boot and which is never given back. Before that every allocation fails, which is a panic.

use linked_list_allocator::LockedHeap;

#[global_allocator]
static HEAP: LockedHeap = LockedHeap::empty();

/// How full the kernel heap is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeapUsage {
    /// Bytes that are allocated now, as the allocator rounds them.
    pub used_bytes: usize,
    /// Bytes that the heap has altogether.
    pub size_bytes: usize,
}

/// How full the kernel heap is now.
pub(crate) fn usage() -> HeapUsage {
    let heap = HEAP.lock();
    HeapUsage { used_bytes: heap.used(), size_bytes: heap.size() }
}

/// Gives the heap its memory.
///
/// # Safety
///
/// 1. `size_bytes` bytes from `start` on are mapped, writable and used by nobody else, for good.
/// 2. It is called once.
pub(crate) unsafe fn init(start: *mut u8, size_bytes: usize) {
    // SAFETY: the caller's facts 1 and 2 are what the allocator asks for.
    unsafe { HEAP.lock().init(start, size_bytes) };
}
