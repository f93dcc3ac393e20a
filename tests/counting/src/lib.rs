//! The system's allocator with counts and a limit, for tests that measure the heap.
//!
//! Each thread has its own counts, because the threads of a test program allocate at any time:
//! those of other tests, and the one that collects the results. Where that is not enough, because
//! an allocator around this one has a state that all threads share, [`OneTest`] keeps the others
//! away from it.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    panic, ptr,
    sync::{Mutex, MutexGuard, Once, PoisonError},
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

/// Calls `lift`, which removes the limit of a heap, when a thread panics, before the panic is
/// printed. A program passes one function, at any number of calls.
///
/// A backtrace takes heap. If an allocation fails while one is printed, the process hangs: the
/// backtrace of that failure waits until the first one has been printed.
pub fn lift_at_panics(lift: fn()) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            lift();
            print(info);
        }));
    });
}

thread_local! {
    static HAS_TURN: Cell<bool> = const { Cell::new(false) };
}

/// An allocator that only the thread of one test uses at a time. All other threads use the system's
/// allocator, so what the test harness frees has no effect on the test.
#[derive(Debug)]
pub struct OneTest<A: 'static>(&'static A);

impl<A> OneTest<A> {
    /// # Safety
    ///
    /// `heap` passes all calls that succeed to [`System`], because a block may be freed there.
    #[must_use]
    pub const unsafe fn new(heap: &'static A) -> Self {
        Self(heap)
    }
}

/// The turn of a test, during which its thread uses the allocator of [`OneTest`].
#[must_use = "the turn ends when it is dropped"]
#[derive(Debug)]
pub struct Turn(#[expect(dead_code, reason = "it is locked")] MutexGuard<'static, ()>);

impl Turn {
    /// Waits until no other test has its turn. The turn ends early if the thread panics.
    pub fn wait() -> Self {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        lift_at_panics(|| HAS_TURN.set(false));
        HAS_TURN.set(true);
        Self(guard)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        HAS_TURN.set(false);
    }
}

impl<A: GlobalAlloc> OneTest<A> {
    fn heap(&self) -> &dyn GlobalAlloc {
        if HAS_TURN.get() { self.0 } else { &System }
    }
}

// SAFETY: every call is passed to the system's allocator unchanged, by the contract of `new`, or
//         fails. So it does not matter whether the thread had its turn at another call.
unsafe impl<A: GlobalAlloc> GlobalAlloc for OneTest<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { self.heap().alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { self.heap().alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { self.heap().dealloc(block, layout) };
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { self.heap().realloc(block, layout, new_size) }
    }
}
