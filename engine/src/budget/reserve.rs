//! The block that is set aside for allocations which must not fail.

use core::{
    alloc::{GlobalAlloc, Layout},
    fmt,
    ptr::null_mut,
    sync::atomic::{AtomicPtr, AtomicUsize, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed},
};
use thiserror::Error;

/// The alignment of the block in bytes.
const ALIGNMENT: usize = 16;

/// A block of the wrapped allocator that no one else uses.
///
/// It is one block, because a heap with as many free bytes in many pieces could not serve a large
/// allocation.
pub(super) struct Reserve {
    /// The block, or null while it is in use or if none was asked for.
    block: AtomicPtr<u8>,
    /// The size in bytes, or 0 if none was asked for.
    bytes: AtomicUsize,
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
        Self { block: AtomicPtr::new(null_mut()), bytes: AtomicUsize::new(0) }
    }

    /// Returns whether nothing is missing: the block is set aside, or none was asked for.
    pub(super) fn is_held(&self) -> bool {
        !self.block.load(Relaxed).is_null() || self.bytes.load(Relaxed) == 0
    }

    /// Replaces the reserve by one of `bytes`.
    ///
    /// # Errors
    ///
    /// See [`HeapBudget::set_reserve`](super::HeapBudget::set_reserve).
    pub(super) fn set(&self, inner: &impl GlobalAlloc, bytes: usize) -> Result<(), ReserveError> {
        self.release(inner);
        self.bytes.store(bytes, Relaxed);
        self.restore(inner);
        if self.is_held() {
            return Ok(());
        }
        self.bytes.store(0, Relaxed);
        Err(ReserveError { bytes })
    }

    /// Frees the block. Returns whether there was one.
    #[allow(unsafe_code, reason = "it frees a block")]
    pub(super) fn release(&self, inner: &impl GlobalAlloc) -> bool {
        let block = self.block.swap(null_mut(), AcqRel);
        if block.is_null() {
            return false;
        }
        // SAFETY: `allocate` wrote the size to the start of the block before it stored the block.
        let bytes = unsafe { block.cast::<usize>().read() };
        let layout = layout(bytes).expect("a block of this layout was allocated");
        // SAFETY: 1. `allocate` allocated the block here with this layout. 2. The swap took the
        //            block out, so it is freed once.
        unsafe { inner.dealloc(block, layout) };
        true
    }

    /// Sets the block aside again if it is missing and the allocator has one.
    #[inline]
    pub(super) fn restore(&self, inner: &impl GlobalAlloc) {
        if !self.is_held() {
            self.allocate(inner);
        }
    }

    #[cold]
    #[allow(unsafe_code, reason = "it allocates a block")]
    fn allocate(&self, inner: &impl GlobalAlloc) {
        // The size may change meanwhile, so it is kept in the block.
        let bytes = self.bytes.load(Relaxed);
        let Some(layout) = layout(bytes).filter(|_| bytes > 0) else { return };
        // SAFETY: the size of the layout is at least that of its header.
        let block = unsafe { inner.alloc(layout) };
        if block.is_null() {
            return;
        }
        // SAFETY: the block is aligned for a `usize`, has room for it, and is not in use.
        unsafe { block.cast::<usize>().write(bytes) };
        if self.block.compare_exchange(null_mut(), block, AcqRel, Acquire).is_err() {
            // SAFETY: the block was allocated above with this layout, and is not stored elsewhere.
            unsafe { inner.dealloc(block, layout) };
        }
    }
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
            .field("is_held", &self.is_held())
            .finish()
    }
}
