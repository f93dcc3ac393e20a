//! The system's allocator with counts and a limit, for tests that measure the heap.
//!
//! A test program has one global allocator, so its tests share the counts. Those that measure must
//! run one at a time.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    ptr,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

/// The system's allocator. It counts the bytes that are allocated, and fails beyond its capacity.
#[derive(Debug)]
pub struct CountingHeap {
    used: AtomicUsize,
    peak: AtomicUsize,
    capacity: AtomicUsize,
}

/// By how many bytes the heap grew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Growth {
    /// At most, while the work ran.
    pub peak: usize,
    /// When the work had ended.
    pub left: usize,
}

impl CountingHeap {
    /// A heap without a limit.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it is the value of a static")]
    pub const fn new() -> Self {
        let [used, peak] = [const { AtomicUsize::new(0) }; 2];
        Self { used, peak, capacity: AtomicUsize::new(usize::MAX) }
    }

    /// Lets the heap grow by `bytes` from here on. Then allocations fail.
    pub fn limit_to(&self, bytes: usize) {
        self.capacity.store(self.used.load(Relaxed).saturating_add(bytes), Relaxed);
    }

    /// Removes the limit.
    pub fn lift_limit(&self) {
        self.capacity.store(usize::MAX, Relaxed);
    }

    /// Runs `work`, and returns by how many bytes the heap grew, with the result.
    pub fn measure<R>(&self, work: impl FnOnce() -> R) -> (Growth, R) {
        let before = self.used.load(Relaxed);
        self.peak.store(before, Relaxed);
        let result = work();
        let [peak, used] = [&self.peak, &self.used].map(|count| count.load(Relaxed));
        (Growth { peak: peak - before, left: used.saturating_sub(before) }, result)
    }

    /// Counts an allocation. Returns whether there is room for it.
    fn take(&self, bytes: usize) -> bool {
        let used = self.used.fetch_add(bytes, Relaxed) + bytes;
        let fits = used <= self.capacity.load(Relaxed);
        if fits {
            self.peak.fetch_max(used, Relaxed);
        } else {
            self.used.fetch_sub(bytes, Relaxed);
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
        self.used.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.dealloc(block, layout) };
    }
}
