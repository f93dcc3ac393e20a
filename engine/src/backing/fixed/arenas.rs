//! The arenas of a fixed backing: slices of the embedder, and chunks of the global allocator.

use alloc::{
    alloc::{alloc, dealloc},
    sync::Arc,
    vec::Vec,
};
use core::{alloc::Layout, mem::MaybeUninit, ptr::NonNull};
use spin::Mutex;

use super::books::{Books, GRANULE};

/// All arenas of a backing. They are asked for room in their order.
#[derive(Clone, Debug, Default)]
pub(super) struct Arenas {
    list: Arc<Mutex<Vec<Arena>>>,
    /// Bytes of a chunk of the global allocator, if the backing may take such.
    chunk_bytes: Option<usize>,
}

/// The free bytes of all arenas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// Bytes that no memory owns.
    pub(super) free: u64,
    /// Bytes of the largest range of them.
    pub(super) largest: u64,
    /// Bytes of the largest arena, or [`u64::MAX`] if the global allocator has more.
    pub(super) longest: u64,
}

impl Arenas {
    /// Arenas that are taken from the global allocator, of `chunk_bytes` or more.
    pub(super) fn on_heap(chunk_bytes: usize) -> Self {
        Self { chunk_bytes: Some(chunk_bytes), ..Self::default() }
    }

    /// Adds an arena over `bytes`.
    pub(super) fn add(&self, bytes: &'static mut [MaybeUninit<u8>]) {
        self.list.lock().push(Arena::over(bytes));
    }

    pub(super) fn room(&self) -> Room {
        let list = self.list.lock();
        let largest = list.iter().map(|arena| arena.books.largest_hole()).max();
        let longest = list.iter().map(|arena| arena.books.len()).max();
        Room {
            free: list.iter().map(|arena| arena.books.free_bytes() as u64).sum(),
            largest: largest.unwrap_or(0) as u64,
            longest: if self.chunk_bytes.is_some() { u64::MAX } else { longest.unwrap_or(0) as u64 },
        }
    }

    /// Allocates a block of `len` bytes that may grow to `most`, or returns `None` if no arena has
    /// room.
    pub(super) fn allocate(&self, len: u64, most: u64) -> Option<Block> {
        let len = rounded(len)?;
        let most = rounded(most).unwrap_or(usize::MAX / GRANULE * GRANULE);
        let mut list = self.list.lock();
        let found = list.iter_mut().find_map(|arena| arena.books.place(len, most));
        let address = match (found, self.chunk_bytes) {
            (None, Some(chunk_bytes)) => {
                list.try_reserve(1).ok()?;
                let mut chunk = Arena::on_heap(chunk_bytes.max(len))?;
                let address = chunk.books.place(len, most)?;
                list.push(chunk);
                address
            }
            (found, _) => found?,
        };
        Some(Block { address, len, arenas: self.clone() })
    }

    fn with<R>(&self, address: usize, use_arena: impl FnOnce(&mut Arena) -> R) -> R {
        let mut list = self.list.lock();
        let arena = list.iter_mut().find(|arena| arena.books.contains(address));
        use_arena(arena.expect("an arena stays as long as a block of it"))
    }
}

/// Rounds up to granules, at least one.
fn rounded(bytes: u64) -> Option<usize> {
    usize::try_from(bytes).ok()?.max(1).checked_next_multiple_of(GRANULE)
}

/// Consecutive bytes, and who owns them.
#[derive(Debug)]
struct Arena {
    /// Points to all bytes. Every pointer into the arena is derived from it.
    base: NonNull<u8>,
    books: Books,
    /// The allocation that the bytes are, if they are from the global allocator.
    chunk: Option<Layout>,
}

// SAFETY: The bytes are exclusively the arena's. It came as a `&'static mut`, or is an allocation
//         that the arena frees, and neither is bound to a thread.
#[allow(unsafe_code, reason = "a pointer is not `Send`, and the arena owns what it points to")]
unsafe impl Send for Arena {}

impl Arena {
    fn over(bytes: &'static mut [MaybeUninit<u8>]) -> Self {
        let books = Books::new(bytes.as_ptr_range().start.addr()..bytes.as_ptr_range().end.addr());
        Self { base: NonNull::from(bytes).cast(), books, chunk: None }
    }

    /// Takes `bytes` from the global allocator, or returns `None` if it has no such block.
    #[allow(unsafe_code, reason = "the global allocator is called as it demands")]
    fn on_heap(bytes: usize) -> Option<Self> {
        let layout = Layout::from_size_align(bytes.checked_next_multiple_of(GRANULE)?, GRANULE).ok()?;
        // SAFETY: The size is not 0, because it was rounded up from at least one granule.
        let base = NonNull::new(unsafe { alloc(layout) })?;
        let start = base.addr().get();
        Some(Self { base, books: Books::new(start..start + layout.size()), chunk: Some(layout) })
    }

    /// Returns the bytes from the start of the block at `address` to its reach.
    #[allow(unsafe_code, reason = "an address of the arena is an offset from its base")]
    fn span(&self, address: usize) -> NonNull<[u8]> {
        let span = self.books.span(address);
        // SAFETY: By [`Books::new`] every block lies inside the range that `base` points to, so the
        //         offset is within it and not negative.
        let start = unsafe { self.base.add(span.start - self.base.addr().get()) };
        NonNull::slice_from_raw_parts(start, span.len())
    }
}

impl Drop for Arena {
    #[allow(unsafe_code, reason = "the global allocator frees what it allocated")]
    fn drop(&mut self) {
        if let Some(layout) = self.chunk {
            // SAFETY: `base` and `layout` are those of the `alloc` in [`Arena::on_heap`], and an
            //         arena is dropped once. It has no block then: a [`Block`] keeps the list alive
            //         that it came from, and takes an arena out only when it was the last.
            unsafe { dealloc(self.base.as_ptr(), layout) };
        }
    }
}

/// A block of bytes, freed on drop.
#[derive(Debug)]
pub(super) struct Block {
    address: usize,
    /// Bytes that it owns.
    len: usize,
    arenas: Arenas,
}

impl Block {
    /// Returns the number of bytes that it owns.
    pub(super) fn len(&self) -> u64 {
        self.len as u64
    }

    /// Returns the number of bytes up to its reach.
    pub(super) fn reach(&self) -> u64 {
        self.arenas.with(self.address, |arena| arena.books.span(self.address).len() as u64)
    }

    /// Passes all bytes up to its reach to `take`. No other block is placed there until `take`
    /// returns.
    pub(super) fn with_span(&self, take: &mut dyn FnMut(NonNull<[u8]>)) {
        self.arenas.with(self.address, |arena| take(arena.span(self.address)));
    }

    /// Makes it own `bytes`. Returns whether that is within its reach; if not, nothing has changed.
    #[must_use]
    pub(super) fn resize(&mut self, bytes: u64) -> bool {
        let Some(len) = rounded(bytes) else {
            return false;
        };
        let resized = self.arenas.with(self.address, |arena| arena.books.resize(self.address, len));
        if resized {
            self.len = len;
        }
        resized
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let address = self.address;
        self.arenas.with(address, |arena| arena.books.free(address));
        let mut list = self.arenas.list.lock();
        list.retain(|arena| arena.chunk.is_none() || !arena.books.is_unused());
    }
}
