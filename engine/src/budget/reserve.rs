//! The block that is set aside for allocations which must not fail.
//!
//! Its size is what the embedder requests, plus the largest of the [`claims`] of the engines
//! for each store that can be served at the same time. That is enough, because a store that finds
//! the reserve in use is not entered.
//!
//! The functions take no lock, because an interrupt handler may allocate while one of them runs.

mod claims;

use core::{
    alloc::{GlobalAlloc, Layout},
    fmt,
    hint::spin_loop,
    ptr::{null_mut, without_provenance_mut},
    sync::atomic::{
        AtomicPtr, AtomicUsize,
        Ordering::{Relaxed, SeqCst},
    },
};
use thiserror::Error;

use self::claims::Claims;

/// The alignment of the block in bytes.
const ALIGNMENT: usize = 16;

/// How often an allocation is repeated while another thread moves the block. That takes few
/// instructions, but the thread may be preempted meanwhile. It does not continue before this one
/// ends if this one is an interrupt handler, so the attempts are counted.
const MOST_ATTEMPTS: usize = 10_000_000;

/// What [`Reserve::block`] is while the block is in use. No allocator returns this address, because
/// of the alignment.
const DRAWN: *mut u8 = without_provenance_mut(1);

/// A block of the wrapped allocator that no other code uses.
///
/// It is one block, because a heap with as many free bytes in many pieces could not serve a large
/// allocation.
pub(super) struct Reserve {
    /// The block; [`DRAWN`] if it was released for an allocation that had failed; or null if its
    /// size is 0 or the allocator had none.
    block: AtomicPtr<u8>,
    /// How many moves of the block have begun: between the allocator and here, in either direction.
    /// In a move neither may have the memory.
    begun_moves: AtomicUsize,
    /// How many moves of the block have ended.
    ended_moves: AtomicUsize,
    /// The number of threads that repeat an allocation.
    served: AtomicUsize,
    /// The size that the block must have, in bytes.
    bytes: AtomicUsize,
    /// The part of it that the embedder requested.
    floor_bytes: AtomicUsize,
    claims: Claims,
}

/// The reserve could not be set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the heap has no block of {bytes} bytes for the reserve; set it aside first, or give the heap more")]
pub struct ReserveError {
    /// The requested size in bytes.
    pub bytes: usize,
}

impl Reserve {
    pub(super) const fn none() -> Self {
        Self {
            block: AtomicPtr::new(null_mut()),
            begun_moves: AtomicUsize::new(0),
            ended_moves: AtomicUsize::new(0),
            served: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            floor_bytes: AtomicUsize::new(0),
            claims: Claims::none(),
        }
    }

    /// Returns whether nothing is missing: the block is set aside, or its size is 0.
    pub(super) fn is_held(&self) -> bool {
        is_block(self.block.load(Relaxed)) || self.bytes.load(Relaxed) == 0
    }

    /// Returns whether the block was released for an allocation, and was not set aside again.
    #[inline]
    pub(super) fn is_drawn(&self) -> bool {
        self.block.load(Relaxed) == DRAWN
    }

    /// Returns the size of the block that is set aside, in bytes.
    pub(super) fn held_bytes(&self) -> usize {
        if is_block(self.block.load(Relaxed)) { self.bytes.load(Relaxed) } else { 0 }
    }

    /// Sets the part of the reserve that does not depend on claims. `stores` can be served at the
    /// same time.
    ///
    /// # Errors
    ///
    /// See [`HeapBudget::set_reserve`](super::HeapBudget::set_reserve).
    pub(super) fn set(
        &self,
        inner: &impl GlobalAlloc,
        bytes: usize,
        stores: usize,
    ) -> Result<(), ReserveError> {
        self.floor_bytes.store(bytes, SeqCst);
        self.resize(inner, stores);
        if self.is_held() {
            return Ok(());
        }
        self.floor_bytes.store(0, SeqCst);
        self.resize(inner, stores);
        Err(ReserveError { bytes })
    }

    /// Makes the reserve large enough for one more claim of `bytes`. Returns the class of the
    /// claim, or `None` if the allocator has no block of that size or the reserve is in use.
    pub(super) fn claim(&self, inner: &impl GlobalAlloc, bytes: usize, stores: usize) -> Option<usize> {
        let class = self.claims.add(bytes)?;
        self.resize(inner, stores);
        if self.is_held() {
            return Some(class);
        }
        self.release_claim(inner, class, stores);
        None
    }

    /// Ends a claim of this class.
    pub(super) fn release_claim(&self, inner: &impl GlobalAlloc, class: usize, stores: usize) {
        self.claims.remove(class);
        self.resize(inner, stores);
    }

    /// Returns the size that the floor and the claims require.
    fn required_bytes(&self, stores: usize) -> usize {
        let claimed = self.claims.largest_bytes().saturating_mul(stores);
        self.floor_bytes.load(SeqCst).saturating_add(claimed)
    }

    /// Sets the block aside in the size that the floor and the claims require.
    fn resize(&self, inner: &impl GlobalAlloc, stores: usize) {
        loop {
            let bytes = self.required_bytes(stores);
            if self.bytes.swap(bytes, SeqCst) == bytes && self.is_held() {
                return;
            }
            self.moving(|| self.replace(inner, bytes));
            self.restore(inner);
            // Another thread may have changed the size meanwhile.
            if self.required_bytes(stores) == bytes {
                return;
            }
        }
    }

    /// Replaces the block by one of `bytes`, or by none if the allocator has none.
    fn replace(&self, inner: &impl GlobalAlloc, bytes: usize) {
        // The present block is still allocated, so the new one is not carved out of it.
        let replacement = allocate(inner, bytes);
        let block = self.block.swap(replacement, SeqCst);
        if block == DRAWN && replacement.is_null() && bytes > 0 {
            // It may have been set aside again meanwhile.
            _ = self.block.compare_exchange(null_mut(), DRAWN, SeqCst, Relaxed);
        }
        free(inner, block);
    }

    /// Repeats an allocation that has failed, with the block released. Returns `None` if the size
    /// of the reserve is 0, and null if the block is missing or too small.
    pub(super) fn serve(
        &self,
        inner: &impl GlobalAlloc,
        mut allocate: impl FnMut() -> *mut u8,
    ) -> Option<*mut u8> {
        if self.bytes.load(SeqCst) == 0 {
            return None;
        }
        // From now on no thread begins to restore the block.
        self.served.fetch_add(1, SeqCst);
        let mut allocated = null_mut();
        for _ in 0..MOST_ATTEMPTS {
            self.moving(|| free(inner, self.block.swap(DRAWN, SeqCst)));
            let begun = self.begun_moves.load(SeqCst);
            let was_still = self.ended_moves.load(SeqCst) == begun;
            allocated = allocate();
            // If the block was moved meanwhile, the allocator may have the memory now. The block is
            // read before the moves, or one that begins between the two reads would be missed.
            let is_drawn = self.block.load(SeqCst) == DRAWN;
            let is_final = was_still && is_drawn && self.begun_moves.load(SeqCst) == begun;
            if !allocated.is_null() || is_final {
                break;
            }
            spin_loop();
        }
        self.served.fetch_sub(1, SeqCst);
        if allocated.is_null() {
            self.restore(inner);
        }
        Some(allocated)
    }

    /// Runs `work`, which moves the block.
    fn moving(&self, work: impl FnOnce()) {
        self.begun_moves.fetch_add(1, SeqCst);
        work();
        self.ended_moves.fetch_add(1, SeqCst);
    }

    /// Sets the block aside again if it is missing and the allocator has one.
    #[inline]
    pub(super) fn restore(&self, inner: &impl GlobalAlloc) {
        if !self.is_held() {
            self.allocate_missing(inner);
        }
    }

    #[cold]
    fn allocate_missing(&self, inner: &impl GlobalAlloc) {
        self.moving(|| {
            if self.served.load(SeqCst) == 0 {
                self.store_missing(inner);
            }
        });
    }

    /// Stores a new block if there is none.
    fn store_missing(&self, inner: &impl GlobalAlloc) {
        let bytes = self.bytes.load(SeqCst);
        let block = allocate(inner, bytes);
        if block.is_null() {
            return;
        }
        let stored = self.block.fetch_update(SeqCst, SeqCst, |present| (!is_block(present)).then_some(block));
        if stored.is_err() {
            free(inner, block);
        } else if self.bytes.load(SeqCst) != bytes {
            // The size has changed meanwhile. The thread that changed it may have looked for a
            // block before this one was stored.
            free(inner, self.block.swap(null_mut(), SeqCst));
        }
    }
}

/// Returns whether `block` is a block, which is neither missing nor in use.
fn is_block(block: *mut u8) -> bool {
    block.addr() > DRAWN.addr()
}

/// Allocates a block of `bytes` that contains its size, or returns null.
#[allow(unsafe_code, reason = "it allocates a block")]
fn allocate(inner: &impl GlobalAlloc, bytes: usize) -> *mut u8 {
    let Some(layout) = layout(bytes).filter(|_| bytes > 0) else { return null_mut() };
    // SAFETY: the size of the layout is at least that of its header.
    let block = unsafe { inner.alloc(layout) };
    if !block.is_null() {
        // SAFETY: the block is aligned for a `usize`, has room for it, and is not in use.
        unsafe { block.cast::<usize>().write(bytes) };
    }
    block
}

/// Frees a block that [`allocate`] returned, and that is not stored elsewhere. It may also be null
/// or [`DRAWN`].
#[allow(unsafe_code, reason = "it frees a block")]
fn free(inner: &impl GlobalAlloc, block: *mut u8) {
    if !is_block(block) {
        return;
    }
    // SAFETY: `allocate` wrote the size to the start of the block.
    let bytes = unsafe { block.cast::<usize>().read() };
    let layout = layout(bytes).expect("a block of this layout was allocated");
    // SAFETY: 1. `allocate` allocated the block with this layout. 2. The caller has taken it out
    //            of the only place that stores it, so it is freed once.
    unsafe { inner.dealloc(block, layout) };
}

/// Returns the layout of a reserve of `bytes`, which contains its size, or `None` if a block cannot
/// be that large.
fn layout(bytes: usize) -> Option<Layout> {
    Layout::from_size_align(bytes.max(size_of::<usize>()), ALIGNMENT).ok()
}

impl fmt::Debug for Reserve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reserve")
            .field("bytes", &self.bytes.load(Relaxed))
            .field("floor_bytes", &self.floor_bytes.load(Relaxed))
            .field("is_held", &self.is_held())
            .finish()
    }
}
