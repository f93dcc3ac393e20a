//! The system's allocator with counts and a limit, for tests that measure the heap.
//!
//! Each thread has its own counts, because the threads of a test program allocate at any time:
//! those of other tests, and the one that collects the results.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    ptr,
};

/// The system's allocator. It counts the bytes that a thread allocates, and fails beyond the
/// thread's capacity.
#[derive(Debug)]
pub struct CountingHeap(());

/// By how many bytes the heap of a thread grew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Growth {
    /// At most, while the work ran.
    pub peak: usize,
    /// When the work had ended.
    pub left: usize,
}

thread_local! {
    /// What the thread has allocated, less what it has freed. A thread may free what another one
    /// has allocated, so it can be negative.
    static USED: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
    static CAPACITY: Cell<isize> = const { Cell::new(isize::MAX) };
}

impl CountingHeap {
    /// A heap without a limit.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it is the value of a static")]
    pub const fn new() -> Self {
        Self(())
    }

    /// Lets the heap of this thread grow by `bytes` from here on. Then allocations fail.
    pub fn limit_to(&self, bytes: usize) {
        CAPACITY.set(USED.get().saturating_add_unsigned(bytes));
    }

    /// Removes the limit of this thread.
    pub fn lift_limit(&self) {
        CAPACITY.set(isize::MAX);
    }

    /// Runs `work`, and returns by how many bytes the heap of this thread grew, with the result.
    pub fn measure<R>(&self, work: impl FnOnce() -> R) -> (Growth, R) {
        let before = USED.get();
        PEAK.set(before);
        let result = work();
        let [peak, left] = [PEAK.get(), USED.get()].map(|count| usize::try_from(count - before).unwrap_or(0));
        (Growth { peak, left }, result)
    }

    /// Counts an allocation. Returns whether there is room for it.
    fn take(&self, bytes: usize) -> bool {
        let used = USED.get().saturating_add_unsigned(bytes);
        let fits = used <= CAPACITY.get();
        if fits {
            USED.set(used);
            PEAK.set(PEAK.get().max(used));
        }
        fits
    }
}

// SAFETY: every call is passed to the system's allocator unchanged, or fails.
unsafe impl GlobalAlloc for CountingHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !self.take(layout.size()) {
            return ptr::null_mut();
        }
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !self.take(layout.size()) {
            return ptr::null_mut();
        }
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        USED.set(USED.get().saturating_sub_unsigned(layout.size()));
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.dealloc(block, layout) };
    }
}
