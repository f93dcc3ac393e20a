//! The kernel heap as a resource of stores.
//!
//! wasmi allocates from the global allocator, where a failed allocation ends the kernel. A
//! [`HeapBudget`] is an allocator that wraps the embedder's own and adds three things:
//!
//! 1. Attribution: a [`HeapMeter`] counts what is allocated while a store is served, from the entry
//!    into the store to the return from it. The difference is the store's. Blocks have no header.
//! 2. A ceiling: an allocation that takes the store above
//!    [`Limits::heap_bytes`](crate::Limits::heap_bytes) is still served, because its caller cannot
//!    handle a failure, and it marks the store.
//! 3. A reserve: a block that is set aside. When the wrapped allocator has no block, the reserve is
//!    released into it, the allocation is repeated, and the store that is served is marked. Until
//!    the reserve is set aside again, so is every other store for which something is allocated.
//!
//! A marked store is lost at its next boundary, which is where a call enters or leaves the guest or
//! a host function. So the reserve must cover what a guest can allocate between two boundaries, as
//! often as stores can be served at the same time. Each engine holds a [`Claim`] for that, from
//! which the size of the reserve is computed.

mod meter;
mod reserve;

use core::{
    alloc::{GlobalAlloc, Layout},
    fmt,
    ptr::null_mut,
};

pub(crate) use self::meter::{Stay, Verdict};
use self::reserve::Reserve;
pub use self::{
    meter::{HeapMeter, HeapMeters},
    reserve::ReserveError,
};

/// A global allocator that accounts for the heap of each store and keeps a reserve.
///
/// The embedder makes it the global allocator, sets the reserve aside when the wrapped allocator is
/// ready, and gives it to each engine with [`Config::heap`](crate::Config::heap).
///
/// On a machine with one CPU and no preemption the meter is inside. Otherwise see [`HeapMeters`].
///
/// # Examples
///
/// ```
/// use palimpsest_engine::{Config, HeapBudget, Limits};
/// use std::alloc::System;
///
/// // A kernel wraps its own allocator, for example a `LockedHeap`.
/// #[global_allocator]
/// static HEAP: HeapBudget<System> = HeapBudget::new(System);
///
/// # fn main() -> Result<(), palimpsest_engine::ReserveError> {
/// HEAP.set_reserve(1 << 20)?;
/// let mut limits = Limits::default();
/// limits.heap_bytes = 8 << 20;
/// let config = Config::default().limits(limits).heap(&HEAP);
/// # Ok(())
/// # }
/// ```
pub struct HeapBudget<A, M = HeapMeter> {
    inner: A,
    meters: M,
    reserve: Reserve,
}

impl<A> HeapBudget<A> {
    /// Wraps `inner`, for one CPU. It has no reserve yet.
    #[must_use]
    pub const fn new(inner: A) -> Self {
        Self::with_meters(inner, HeapMeter::new())
    }
}

impl<A, M> HeapBudget<A, M> {
    /// Wraps `inner`, with a meter for each thread of the kernel. It has no reserve yet.
    #[must_use]
    pub const fn with_meters(inner: A, meters: M) -> Self {
        Self { inner, meters, reserve: Reserve::none() }
    }

    /// Returns the wrapped allocator, for example to initialize it.
    #[must_use]
    pub const fn inner(&self) -> &A {
        &self.inner
    }

    /// Returns whether the reserve is set aside.
    ///
    /// It is not after an allocation needed it and before enough is free again. While it is not, no
    /// store is entered: calls fail with [`OutOfHeap::NoReserve`](crate::OutOfHeap::NoReserve).
    #[must_use]
    pub fn has_reserve(&self) -> bool {
        self.reserve.is_held()
    }

    /// Returns how many bytes of the wrapped allocator are set aside at present.
    ///
    /// The number grows and shrinks with what the modules of all engines need.
    #[must_use]
    pub fn reserve_bytes(&self) -> usize {
        self.reserve.held_bytes()
    }
}

impl<A, M: HeapMeters> HeapBudget<A, M> {
    /// Runs `f`, whose allocations are not attributed to the store that is served.
    ///
    /// An interrupt handler that allocates must do so here, and so must a host function that
    /// allocates for the kernel. Otherwise the guest that happens to run is charged. A host
    /// function that drops another store must do so here as well, because the guest is credited
    /// with what is freed.
    pub fn unattributed<R>(&self, f: impl FnOnce() -> R) -> R {
        self.meters.current().unattributed(f)
    }
}

impl<A: GlobalAlloc, M: HeapMeters> HeapBudget<A, M> {
    /// Sets aside `bytes` of the wrapped allocator for the kernel and for host functions, in place
    /// of what was set aside for them before. They may allocate as much after a guest has exhausted
    /// the heap, until the guest is stopped.
    ///
    /// What the guests themselves can allocate until then is set aside in addition, when their
    /// modules are loaded: see [`Module::new`](crate::Module::new).
    ///
    /// # Errors
    ///
    /// Fails if the wrapped allocator has no block of this size. Then only what the guests need is
    /// set aside.
    pub fn set_reserve(&self, bytes: usize) -> Result<(), ReserveError> {
        self.reserve.set(&self.inner, bytes, self.meters.stores_at_once())
    }

    /// Retries an allocation that failed, with the reserve released.
    #[cold]
    fn retry(&self, allocate: impl FnMut() -> *mut u8) -> *mut u8 {
        let Some(block) = self.reserve.serve(&self.inner, allocate) else { return null_mut() };
        self.meters.current().mark_exhausted();
        block
    }

    fn count_allocation(&self, block: *mut u8, bytes: usize) -> *mut u8 {
        if !block.is_null() {
            self.meter_of_allocation().add(bytes);
        }
        block
    }

    /// Returns the meter that counts an allocation, and marks the store that is served if the block
    /// may be from the reserve.
    #[inline]
    fn meter_of_allocation(&self) -> &HeapMeter {
        let meter = self.meters.current();
        if self.reserve.is_drawn() {
            meter.mark_exhausted();
        }
        meter
    }
}

// SAFETY: 1. Every block that is returned comes from the wrapped allocator with the caller's own
//            layout, and is freed there with it. Blocks are not changed on the way.
//         2. Nothing unwinds: the wrapped allocator and [`HeapMeters::current`] do not, by their
//            contracts, [`HeapMeter`] counts in atomics, and [`Reserve`] frees a block with the
//            layout that it was allocated with.
#[allow(unsafe_code, reason = "it is an allocator")]
unsafe impl<A: GlobalAlloc, M: HeapMeters> GlobalAlloc for HeapBudget<A, M> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller guarantees that the size is not 0.
        let allocate = || unsafe { self.inner.alloc(layout) };
        let mut block = allocate();
        if block.is_null() {
            block = self.retry(allocate);
        }
        self.count_allocation(block, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller guarantees that the size is not 0.
        let allocate = || unsafe { self.inner.alloc_zeroed(layout) };
        let mut block = allocate();
        if block.is_null() {
            block = self.retry(allocate);
        }
        self.count_allocation(block, layout.size())
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        self.meters.current().subtract(layout.size());
        // SAFETY: the caller guarantees that the block was allocated with this layout, which
        //         happened in the wrapped allocator, and that it is freed once.
        unsafe { self.inner.dealloc(block, layout) };
        self.reserve.restore(&self.inner);
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller guarantees that the block was allocated with this layout, which
        //         happened in the wrapped allocator, and that the new size is valid. An attempt
        //         that fails leaves the block as it was, so that a second one may follow.
        let reallocate = || unsafe { self.inner.realloc(block, layout, new_size) };
        let mut moved = reallocate();
        if moved.is_null() {
            moved = self.retry(reallocate);
        }
        if !moved.is_null() {
            let meter = self.meter_of_allocation();
            meter.subtract(layout.size());
            meter.add(new_size);
        }
        moved
    }
}

impl<A, M> fmt::Debug for HeapBudget<A, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeapBudget").field("reserve", &self.reserve).finish_non_exhaustive()
    }
}

/// What the engine needs of a [`HeapBudget`] over any allocator.
pub(crate) trait Ledger: fmt::Debug + Sync {
    /// Returns the meter of the running thread.
    fn meter(&self) -> &HeapMeter;

    /// Returns whether the reserve is set aside.
    fn has_reserve(&self) -> bool;

    /// Makes the reserve large enough for a claim of `bytes`, and returns the claim's class, or
    /// `None` if the heap has no block of that size.
    fn claim(&self, bytes: usize) -> Option<usize>;

    /// Ends a claim of this class.
    fn release_claim(&self, class: usize);
}

impl<A: GlobalAlloc + Sync, M: HeapMeters> Ledger for HeapBudget<A, M> {
    fn meter(&self) -> &HeapMeter {
        self.meters.current()
    }

    fn has_reserve(&self) -> bool {
        self.reserve.is_held()
    }

    fn claim(&self, bytes: usize) -> Option<usize> {
        self.reserve.claim(&self.inner, bytes, self.meters.stores_at_once())
    }

    fn release_claim(&self, class: usize) {
        self.reserve.release_claim(&self.inner, class, self.meters.stores_at_once());
    }
}

/// A part of the reserve that is kept for the guests of an engine, until this is dropped.
///
/// Claims overlap: the reserve has room for the largest, as often as stores can be served at the
/// same time.
#[must_use = "a dropped claim ends"]
#[derive(Debug)]
pub(crate) struct Claim {
    ledger: &'static dyn Ledger,
    class: usize,
}

impl Claim {
    /// Returns a claim of `bytes`, or `None` if the heap has no block of that size.
    pub(crate) fn new(ledger: &'static dyn Ledger, bytes: usize) -> Option<Self> {
        ledger.claim(bytes).map(|class| Self { ledger, class })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.ledger.release_claim(self.class);
    }
}

/// Runs `work`, which may take `limit` bytes. Returns its result, the bytes that it has taken, and
/// the verdict, or `None` if the reserve is in use.
///
/// What it has taken is charged to the store that is served, if there is one.
pub(crate) fn measure<R>(
    ledger: &'static dyn Ledger,
    limit: usize,
    work: impl FnOnce() -> R,
) -> Option<(R, usize, Verdict)> {
    if !ledger.has_reserve() {
        return None;
    }
    let meter = ledger.meter();
    let stay = meter.enter(isize::try_from(limit).unwrap_or(isize::MAX));
    let result = work();
    let (taken, verdict) = meter.leave(&stay);
    let taken = usize::try_from(taken).unwrap_or(0);
    meter.add(taken);
    Some((result, taken, verdict))
}
