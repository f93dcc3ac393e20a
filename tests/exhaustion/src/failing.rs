//! The allocator that fails.

use core::{
    alloc::{GlobalAlloc, Layout},
    ptr::null_mut,
    sync::atomic::{AtomicBool, AtomicIsize, AtomicUsize, Ordering::Relaxed},
};

/// Which allocations fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Only this one, counted from 0.
    Once(usize),
    /// This one and all later ones, until as many bytes have been freed as they take.
    From(usize),
    /// None.
    Never,
}

/// An allocator that counts what another one allocates, and fails when a test requests it.
///
/// It is meant for one thread: [`arm`](Self::arm) counts the allocations of all threads.
#[derive(Debug)]
pub struct Failing<A> {
    inner: A,
    is_armed: AtomicBool,
    /// Allocations since the last call of [`arm`](Self::arm).
    allocations: AtomicUsize,
    /// The allocation that fails, if it is only one.
    once: AtomicUsize,
    /// The first allocation of those that fail until bytes are free.
    from: AtomicUsize,
    used_bytes: AtomicIsize,
    /// The bytes in use when all allocations began to fail.
    full_bytes: AtomicIsize,
}

impl<A> Failing<A> {
    /// Wraps `inner`. No allocation fails.
    #[must_use]
    pub const fn new(inner: A) -> Self {
        Self {
            inner,
            is_armed: AtomicBool::new(false),
            allocations: AtomicUsize::new(0),
            once: AtomicUsize::new(usize::MAX),
            from: AtomicUsize::new(usize::MAX),
            used_bytes: AtomicIsize::new(0),
            full_bytes: AtomicIsize::new(isize::MAX),
        }
    }

    /// Returns the wrapped allocator, for example to initialize it.
    #[must_use]
    pub const fn inner(&self) -> &A {
        &self.inner
    }

    /// Counts from 0 again, and lets `failure` happen.
    pub fn arm(&self, failure: Failure) {
        let (once, from) = match failure {
            Failure::Once(number) => (number, usize::MAX),
            Failure::From(number) => (usize::MAX, number),
            Failure::Never => (usize::MAX, usize::MAX),
        };
        self.once.store(once, Relaxed);
        self.from.store(from, Relaxed);
        self.full_bytes.store(isize::MAX, Relaxed);
        self.allocations.store(0, Relaxed);
        self.is_armed.store(true, Relaxed);
    }

    /// Ends the failures. The count of allocations stops.
    pub fn disarm(&self) {
        self.is_armed.store(false, Relaxed);
    }

    /// Returns the number of allocations since [`arm`](Self::arm).
    #[must_use]
    pub fn allocations(&self) -> usize {
        self.allocations.load(Relaxed)
    }

    /// Returns the bytes in use.
    #[must_use]
    pub fn used_bytes(&self) -> isize {
        self.used_bytes.load(Relaxed)
    }

    /// Counts an allocation of `bytes` more, and returns whether it fails.
    fn fails(&self, bytes: usize) -> bool {
        if !self.is_armed.load(Relaxed) {
            return false;
        }
        let number = self.allocations.fetch_add(1, Relaxed);
        let used = self.used_bytes.load(Relaxed);
        if number == self.from.load(Relaxed) {
            self.full_bytes.store(used, Relaxed);
        }
        number == self.once.load(Relaxed)
            || used.saturating_add_unsigned(bytes) > self.full_bytes.load(Relaxed)
    }

    fn count(&self, block: *mut u8, bytes: usize) -> *mut u8 {
        if !block.is_null() {
            self.used_bytes.fetch_add(bytes.cast_signed(), Relaxed);
        }
        block
    }
}

// SAFETY: every call is passed to the wrapped allocator unchanged, or fails without an effect.
#[allow(unsafe_code, reason = "it is an allocator")]
unsafe impl<A: GlobalAlloc> GlobalAlloc for Failing<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if self.fails(layout.size()) {
            return null_mut();
        }
        // SAFETY: the caller keeps the contract, which is the same.
        let block = unsafe { self.inner.alloc(layout) };
        self.count(block, layout.size())
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        self.used_bytes.fetch_sub(layout.size().cast_signed(), Relaxed);
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { self.inner.dealloc(block, layout) };
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if self.fails(new_size.saturating_sub(layout.size())) {
            return null_mut();
        }
        // SAFETY: the caller keeps the contract, which is the same.
        let moved = unsafe { self.inner.realloc(block, layout, new_size) };
        if !moved.is_null() {
            self.used_bytes.fetch_sub(layout.size().cast_signed(), Relaxed);
        }
        self.count(moved, new_size)
    }
}
