//! What an embedder chooses for guests' heaps, and what it is told about one.

use crate::config::Config;

/// How the heap behind `palimpsest.malloc` and its like works. Set with [`Config::heap`].
///
/// # Examples
///
/// ```
/// use palimpsest_engine::{BadPointer, Config, HeapOptions};
///
/// let mut options = HeapOptions::default();
/// options.idle_pages = 64;
/// options.bad_pointer = BadPointer::Ignore;
/// let config = Config::default().heap(options);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeapOptions {
    /// Pages of 4 KiB that may stay without a live object before the one that is empty for longest is released:
    /// 16. With 0 every page is released when its last object is freed.
    pub idle_pages: u64,
    /// Calls of the heap's functions after which an empty page is released: 0, which means never for this
    /// reason. Nothing is released while the guest does not call.
    pub idle_operations: u64,
    /// What a bad pointer does: [`BadPointer::Trap`].
    pub bad_pointer: BadPointer,
}

impl Default for HeapOptions {
    fn default() -> Self {
        Self { idle_pages: 16, idle_operations: 0, bad_pointer: BadPointer::default() }
    }
}

/// What `free`, `realloc` and `usable_size` do with a pointer that is not that of a live block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BadPointer {
    /// They end the guest with a [`HeapError`](crate::HeapError).
    #[default]
    Trap,
    /// They do nothing; `realloc` and `usable_size` return 0.
    Ignore,
}

impl Config {
    /// Sets how guests' heaps work.
    #[must_use]
    pub fn heap(mut self, options: HeapOptions) -> Self {
        self.heap = options;
        self
    }
}

/// What the heap of a memory holds. All zero where no guest has called one of its functions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeapReport {
    /// Blocks that were handed out and not freed.
    pub live_blocks: u64,
    /// Their bytes, as `usable_size` counts them.
    pub live_bytes: u64,
    /// Pages of 4 KiB with a byte of a live block.
    pub live_pages: u64,
    /// Pages without one that were not released yet. See [`HeapOptions::idle_pages`].
    pub idle_pages: u64,
    /// Slabs that small blocks are in.
    pub slabs: u64,
    /// Pages that no block and no slab has: addresses, no frames.
    pub free_pages: u64,
}
