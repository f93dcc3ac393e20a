//! Blocks out of the slice of the fixed backing.

use alloc::sync::Arc;
use core::{alloc::Layout, fmt, mem::MaybeUninit, ptr::NonNull};
use linked_list_allocator::Heap;
use spin::Mutex;

/// The heap that blocks are allocated from.
#[derive(Clone)]
pub(super) struct BlockHeap(Arc<Mutex<Heap>>);

impl BlockHeap {
    /// A heap of all of `bytes`. It is empty if they do not fit one free range, which has a header
    /// of two words at an aligned address.
    pub(super) fn new(bytes: &'static mut [MaybeUninit<u8>]) -> Self {
        const LEAST: usize = 3 * size_of::<usize>();
        let heap = if bytes.len() < LEAST { Heap::empty() } else { Heap::from_slice(bytes) };
        Self(Arc::new(Mutex::new(heap)))
    }

    /// Returns the number of bytes that are in no block.
    pub(super) fn free_bytes(&self) -> u64 {
        self.0.lock().free() as u64
    }

    /// Allocates a block, or returns `None` if no free range is large enough.
    pub(super) fn allocate(&self, layout: Layout) -> Option<Block> {
        let start = self.0.lock().allocate_first_fit(layout).ok()?;
        Some(Block { start, layout, heap: self.clone() })
    }
}

impl fmt::Debug for BlockHeap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockHeap").field("free_bytes", &self.free_bytes()).finish()
    }
}

/// A block of bytes, freed on drop.
#[derive(Debug)]
pub(super) struct Block {
    start: NonNull<u8>,
    layout: Layout,
    heap: BlockHeap,
}

// SAFETY: 1. The bytes are used by the block's owner alone, like those of a `Box`.
//         2. The heap that they are freed to is locked.
#[allow(unsafe_code, reason = "a pointer is not `Send`, and the block owns what it points to")]
unsafe impl Send for Block {}

impl Block {
    /// Returns the number of bytes.
    pub(super) fn len(&self) -> u64 {
        self.layout.size() as u64
    }

    /// Returns the bytes, which are uninitialised at first.
    pub(super) fn bytes(&self) -> NonNull<[u8]> {
        NonNull::slice_from_raw_parts(self.start, self.layout.size())
    }
}

impl Drop for Block {
    #[allow(unsafe_code, reason = "the heap frees what it is told to")]
    fn drop(&mut self) {
        // SAFETY: `start` and `layout` are those of the `allocate_first_fit` in
        //         [`BlockHeap::allocate`], on the same heap. The block is not `Clone`, so it is
        //         freed once.
        unsafe { self.heap.0.lock().deallocate(self.start, self.layout) };
    }
}
