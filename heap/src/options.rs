//! The options of a guest's heap, and its report.

use core::ops::Add;

/// How a [`Heap`](crate::Heap) works.
///
/// # Examples
///
/// ```
/// use palimpsest_heap::{BadPointer, Heap, HeapOptions};
///
/// let mut options = HeapOptions::default();
/// options.idle_pages = 64;
/// options.bad_pointer = BadPointer::Ignore;
/// let heap = Heap::new(options);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeapOptions {
    /// Pages of 4 KiB that may keep their frames without containing a live block. Default: 16.
    ///
    /// One page more, and the page that has been empty for the longest time is released. With 0 a
    /// page is released as soon as its last block is freed.
    pub idle_pages: u64,
    /// The number of heap calls after which an empty page is released. Default: 0, which disables
    /// this rule.
    ///
    /// Nothing is released while the guest makes no heap calls.
    pub idle_operations: u64,
    /// The maximum number of large blocks, slabs of small blocks, and free runs of pages, together,
    /// for each memory. Default: 16,384.
    ///
    /// An entry takes at most 350 bytes of the kernel's heap. At the limit the functions return 0,
    /// except that small blocks are still allocated while an existing slab has room.
    pub entries: usize,
    /// The response to a bad pointer. Default: [`BadPointer::Trap`].
    pub bad_pointer: BadPointer,
}

impl HeapOptions {
    /// Returns the default options, with as many entries as fit `bytes` of the kernel's heap.
    ///
    /// The bound is for the blocks of one memory. It holds for any sequence of calls, from 4 KiB
    /// on.
    ///
    /// # Examples
    ///
    /// ```
    /// use palimpsest_heap::HeapOptions;
    ///
    /// assert_eq!(HeapOptions::for_heap(64 << 10).entries, 178);
    /// ```
    #[must_use]
    pub fn for_heap(bytes: usize) -> Self {
        const FIXED_BYTES: usize = 3 << 10;
        const ENTRY_BYTES: usize = 350;
        Self { entries: bytes.saturating_sub(FIXED_BYTES) / ENTRY_BYTES, ..Self::default() }
    }
}

impl Default for HeapOptions {
    fn default() -> Self {
        Self { idle_pages: 16, idle_operations: 0, entries: 1 << 14, bad_pointer: BadPointer::default() }
    }
}

/// What `free`, `realloc` and `usable_size` do with a pointer that is not the start of a live
/// block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BadPointer {
    /// End the guest with a [`HeapError`](crate::HeapError).
    #[default]
    Trap,
    /// Do nothing; `realloc` and `usable_size` return 0.
    Ignore,
}

/// The contents of a heap. All figures are zero before the first call of a heap function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeapReport {
    /// Blocks that are allocated.
    pub live_blocks: u64,
    /// Bytes of those blocks, as `usable_size` counts them.
    pub live_bytes: u64,
    /// Pages of 4 KiB that contain a byte of a live block.
    pub live_pages: u64,
    /// Pages that contain none and keep their frames. See [`HeapOptions::idle_pages`].
    pub idle_pages: u64,
    /// Slabs, which contain the small blocks.
    pub slabs: u64,
    /// Pages that belong to no block and no slab. They hold no frame.
    pub free_pages: u64,
}

impl Add for HeapReport {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            live_blocks: self.live_blocks + other.live_blocks,
            live_bytes: self.live_bytes + other.live_bytes,
            live_pages: self.live_pages + other.live_pages,
            idle_pages: self.idle_pages + other.idle_pages,
            slabs: self.slabs + other.slabs,
            free_pages: self.free_pages + other.free_pages,
        }
    }
}
