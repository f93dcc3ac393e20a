//! The block that is set aside for allocations which must not fail.
//!
//! Its size is what the embedder asks for, plus the largest of the [claims](claims) of the engines.
//! The largest is enough, because a store that finds the reserve in use is not entered.

mod claims;

use core::{
    alloc::{GlobalAlloc, Layout},
    fmt,
    ptr::null_mut,
    sync::atomic::{
        AtomicPtr, AtomicUsize,
        Ordering::{AcqRel, Acquire, Relaxed, SeqCst},
    },
};
use thiserror::Error;

use self::claims::Claims;

/// The alignment of the block in bytes.
const ALIGNMENT: usize = 16;

/// A block of the wrapped allocator that no one else uses.
///
/// It is one block, because a heap with as many free bytes in many pieces could not serve a large
/// allocation.
pub(super) struct Reserve {
    /// The block, or null while it is in use or if its size is 0.
    block: AtomicPtr<u8>,
    /// The size that the block must have, in bytes.
    bytes: AtomicUsize,
    /// The part of it that the embedder asked for.
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
            bytes: AtomicUsize::new(0),
            floor_bytes: AtomicUsize::new(0),
            claims: Claims::none(),
        }
    }

    /// Returns whether nothing is missing: the block is set aside, or its size is 0.
    pub(super) fn is_held(&self) -> bool {
        !self.block.load(Relaxed).is_null() || self.bytes.load(Relaxed) == 0
    }

    /// Returns the size of the block that is set aside, in bytes.
    pub(super) fn held_bytes(&self) -> usize {
        if self.block.load(Relaxed).is_null() { 0 } else { self.bytes.load(Relaxed) }
    }

    /// Sets the part of the reserve that does not depend on claims.
    ///
    /// # Errors
    ///
    /// See [`HeapBudget::set_reserve`](super::HeapBudget::set_reserve).
    pub(super) fn set(&self, inner: &impl GlobalAlloc, bytes: usize) -> Result<(), ReserveError> {
        self.floor_bytes.store(bytes, SeqCst);
        self.resize(inner);
        if self.is_held() {
            return Ok(());
        }
        self.floor_bytes.store(0, SeqCst);
        self.resize(inner);
        Err(ReserveError { bytes })
    }

    /// Makes the reserve large enough for one more claim of `bytes`. Returns the class of the
    /// claim, or `None` if the allocator has no block of that size or the reserve is in use.
    pub(super) fn claim(&self, inner: &impl GlobalAlloc, bytes: usize) -> Option<usize> {
        let class = self.claims.add(bytes)?;
        self.resize(inner);
        if self.is_held() {
            return Some(class);
        }
        self.release_claim(inner, class);
        None
    }

    /// Ends a claim of this class.
    pub(super) fn release_claim(&self, inner: &impl GlobalAlloc, class: usize) {
        self.claims.remove(class);
        self.resize(inner);
    }

    /// Sets the block aside in the size that the floor and the claims require.
    fn resize(&self, inner: &impl GlobalAlloc) {
        loop {
            let bytes = self.floor_bytes.load(SeqCst).saturating_add(self.claims.largest_bytes());
            if self.bytes.swap(bytes, SeqCst) == bytes && self.is_held() {
                return;
            }
            // While the present block is still allocated, so that a failure leaves it in place.
            let replacement = allocate(inner, bytes);
            free(inner, self.block.swap(replacement, AcqRel));
            self.restore(inner);
            // Another thread may have changed the size meanwhile.
            let now = self.floor_bytes.load(SeqCst).saturating_add(self.claims.largest_bytes());
            if now == bytes {
                return;
            }
        }
    }

    /// Frees the block. Returns whether there was one.
    pub(super) fn release(&self, inner: &impl GlobalAlloc) -> bool {
        let block = self.block.swap(null_mut(), AcqRel);
        free(inner, block);
        !block.is_null()
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
        let bytes = self.bytes.load(SeqCst);
        let block = allocate(inner, bytes);
        if block.is_null() {
            return;
        }
        if self.block.compare_exchange(null_mut(), block, AcqRel, Acquire).is_err() {
            free(inner, block);
        } else if self.bytes.load(SeqCst) != bytes {
            // The size has changed meanwhile. The thread that changed it may have looked for a
            // block before this one was stored.
            self.release(inner);
        }
    }
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

/// Frees a block that [`allocate`] returned, and that is not stored elsewhere. It may be null.
#[allow(unsafe_code, reason = "it frees a block")]
fn free(inner: &impl GlobalAlloc, block: *mut u8) {
    if block.is_null() {
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
