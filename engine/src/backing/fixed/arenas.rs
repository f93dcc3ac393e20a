//! The arenas of a fixed backing: slices of the embedder, chunks of the global allocator, and
//! cleared pages that memories of idle stores have lent.
//!
//! The pointer to lent pages is derived from that of the lender's wasmi memory, which is used again
//! when they have come back. Meanwhile the engine makes no slice over them.

use alloc::{
    alloc::{alloc, dealloc},
    sync::Arc,
    vec::Vec,
};
use core::{alloc::Layout, mem::MaybeUninit, ops::Range, ptr::NonNull};
use spin::Mutex;

use super::books::{Books, GRANULE};

/// All arenas of a backing. They are searched for room in this order.
#[derive(Clone, Debug, Default)]
pub(super) struct Arenas {
    list: Arc<Mutex<List>>,
    /// Bytes of a chunk of the global allocator, if the backing may take such.
    chunk_bytes: Option<usize>,
}

#[derive(Debug, Default)]
struct List {
    arenas: Vec<Arena>,
    /// The number of the next arena.
    next: u64,
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
        let largest = list.arenas.iter().map(|arena| arena.books.largest_hole()).max();
        let longest = list.arenas.iter().map(|arena| arena.books.len()).max();
        Room {
            free: list.arenas.iter().map(|arena| arena.books.free_bytes() as u64).sum(),
            largest: largest.unwrap_or(0) as u64,
            longest: if self.chunk_bytes.is_some() { u64::MAX } else { longest.unwrap_or(0) as u64 },
        }
    }

    /// Allocates a block of `len` bytes that may grow to `most`. Lent pages come last. Returns
    /// `None` if no arena has room.
    pub(super) fn allocate(&self, len: u64, most: u64) -> Option<Block> {
        let len = rounded(len)?;
        let most = rounded(most).unwrap_or(usize::MAX / GRANULE * GRANULE);
        let mut list = self.list.lock();
        let owned = list.arenas.iter_mut().filter(|arena| !arena.is_lent());
        let found = place_in(owned, len, most);
        let found =
            found.or_else(|| self.chunk_bytes.and_then(|chunk| list.place_in_chunk(chunk, len, most)));
        let (arena, address) = found.or_else(|| place_in(list.arenas.iter_mut(), len, most))?;
        Some(Block { arena, address, arenas: self.clone() })
    }

    /// Makes the whole granules of `bytes` an arena. They are zero, and belong to `lender`. Returns
    /// `None` if there are none, or if the heap has no room for the record.
    pub(super) fn lend(&self, bytes: NonNull<[u8]>, lender: &Arc<Block>) -> Option<Loan> {
        let (arena, loan) = Arena::lent(bytes, lender)?;
        let mut list = self.list.lock();
        list.arenas.try_reserve(1).ok()?;
        let id = list.push(arena);
        Some(Loan { id, ..loan })
    }

    /// As [`lend`](Self::lend), with a block over all of the arena from the start.
    pub(super) fn lend_to_owner(&self, bytes: NonNull<[u8]>, lender: &Arc<Block>) -> Option<(Loan, Block)> {
        let (mut arena, loan) = Arena::lent(bytes, lender)?;
        let (_, address) = place_in([&mut arena].into_iter(), loan.range.len(), loan.range.len())?;
        let mut list = self.list.lock();
        list.arenas.try_reserve(1).ok()?;
        let id = list.push(arena);
        Some((Loan { id, ..loan }, Block { arena: id, address, arenas: self.clone() }))
    }

    /// Ends a loan. The bytes are zero then, and the lender's again. Returns whether they are all
    /// free; if not, nothing has changed.
    pub(super) fn recall(&self, loan: &Loan) -> bool {
        let mut list = self.list.lock();
        let Some(index) = list.arenas.iter().position(|arena| arena.id == loan.id) else {
            return true;
        };
        if !list.arenas[index].books.is_unused() {
            return false;
        }
        let mut arena = list.arenas.swap_remove(index);
        drop(list);
        arena.zero();
        true
    }

    /// Gives up a loan, because the lender is dropped. The bytes become free when the last block
    /// there is dropped.
    pub(super) fn abandon(&self, loan: &Loan) {
        if !self.recall(loan) {
            let mut list = self.list.lock();
            let arena = list.arenas.iter_mut().find(|arena| arena.id == loan.id);
            if let Some(Arena { source: Source::Lent { is_abandoned, .. }, .. }) = arena {
                *is_abandoned = true;
            }
            let removed = list.remove_unused(loan.id);
            drop(list);
            drop(removed);
        }
    }

    fn with<R>(&self, id: u64, use_arena: impl FnOnce(&mut Arena) -> R) -> R {
        let mut list = self.list.lock();
        let arena = list.arenas.iter_mut().find(|arena| arena.id == id);
        use_arena(arena.expect("an arena stays as long as a block of it"))
    }
}

impl List {
    /// Adds an arena and returns its number.
    fn push(&mut self, mut arena: Arena) -> u64 {
        self.next += 1;
        arena.id = self.next;
        self.arenas.push(arena);
        self.next
    }

    /// Places a block into a new chunk of the global allocator. Returns the number of the arena and
    /// the address.
    fn place_in_chunk(&mut self, chunk_bytes: usize, len: usize, most: usize) -> Option<(u64, usize)> {
        self.arenas.try_reserve(1).ok()?;
        let mut chunk = Arena::on_heap(chunk_bytes.max(len))?;
        let address = chunk.books.place(len, most)?;
        Some((self.push(chunk), address))
    }

    /// Takes the arena out if it is not used any more. The caller drops it without the lock.
    fn remove_unused(&mut self, id: u64) -> Option<Arena> {
        let index = self.arenas.iter().position(|arena| arena.id == id && arena.is_done())?;
        let removed = self.arenas.remove(index);
        if self.arenas.is_empty() {
            // A backing on the heap without a memory takes nothing.
            self.arenas = Vec::new();
        }
        Some(removed)
    }
}

/// Places a block into the first arena that has room. Returns the number of the arena and the
/// address.
fn place_in<'a>(
    mut arenas: impl Iterator<Item = &'a mut Arena>,
    len: usize,
    most: usize,
) -> Option<(u64, usize)> {
    arenas.find_map(|arena| {
        let address = arena.books.place(len, most)?;
        arena.is_written = true;
        Some((arena.id, address))
    })
}

/// Pages that a memory has lent. It is ended by [`Arenas::recall`] or [`Arenas::abandon`].
#[derive(Debug)]
pub(super) struct Loan {
    /// The number of the arena.
    id: u64,
    /// The addresses.
    range: Range<usize>,
}

impl Loan {
    /// Returns the addresses.
    pub(super) fn range(&self) -> Range<usize> {
        self.range.clone()
    }
}

/// Rounds up to granules, at least one.
fn rounded(bytes: u64) -> Option<usize> {
    usize::try_from(bytes).ok()?.max(1).checked_next_multiple_of(GRANULE)
}

/// Consecutive bytes, and who owns them.
#[derive(Debug)]
struct Arena {
    id: u64,
    /// Points to all bytes. Every pointer into the arena is derived from it.
    base: NonNull<u8>,
    books: Books,
    source: Source,
    /// Whether a block was placed in it.
    is_written: bool,
}

/// Where the bytes of an arena come from.
#[derive(Debug)]
enum Source {
    /// The embedder's slice.
    Slice,
    /// An allocation of the global allocator.
    Heap(Layout),
    /// Pages of a memory.
    Lent {
        /// Keeps the bytes from other memories, even after the lender is dropped.
        _lender: Arc<Block>,
        is_abandoned: bool,
    },
}

// SAFETY: The bytes are exclusively the arena's. They came as a `&'static mut`, are an allocation
//         that the arena frees, or are pages of a block that it keeps. None is bound to a thread.
#[allow(unsafe_code, reason = "a pointer is not `Send`, and the arena owns what it points to")]
unsafe impl Send for Arena {}

impl Arena {
    fn over(bytes: &'static mut [MaybeUninit<u8>]) -> Self {
        let books = Books::new(bytes.as_ptr_range().start.addr()..bytes.as_ptr_range().end.addr());
        let base = NonNull::from(bytes).cast();
        Self { id: 0, base, books, source: Source::Slice, is_written: false }
    }

    /// Takes `bytes` from the global allocator, or returns `None` if it has no such block.
    #[allow(unsafe_code, reason = "the global allocator is called as it demands")]
    fn on_heap(bytes: usize) -> Option<Self> {
        let layout = Layout::from_size_align(bytes.checked_next_multiple_of(GRANULE)?, GRANULE).ok()?;
        // SAFETY: The size is not 0, because it was rounded up from at least one granule.
        let base = NonNull::new(unsafe { alloc(layout) })?;
        let start = base.addr().get();
        let books = Books::new(start..start + layout.size());
        Some(Self { id: 0, base, books, source: Source::Heap(layout), is_written: false })
    }

    /// An arena of the whole granules of `bytes`, which are zero, and its loan. `None` if there are
    /// none.
    fn lent(bytes: NonNull<[u8]>, lender: &Arc<Block>) -> Option<(Self, Loan)> {
        let start = bytes.cast::<u8>().addr().get();
        let books = Books::new(start..start + bytes.len());
        let loan = Loan { id: 0, range: books.range() };
        let source = Source::Lent { _lender: Arc::clone(lender), is_abandoned: false };
        let arena = Self { id: 0, base: bytes.cast(), books, source, is_written: false };
        (!loan.range.is_empty()).then_some((arena, loan))
    }

    fn is_lent(&self) -> bool {
        matches!(self.source, Source::Lent { .. })
    }

    /// Returns whether the arena ends, because no block is in it and no lender can recall it.
    fn is_done(&self) -> bool {
        let ends_unused = match self.source {
            Source::Slice => false,
            Source::Heap(_) => true,
            Source::Lent { is_abandoned, .. } => is_abandoned,
        };
        ends_unused && self.books.is_unused()
    }

    /// Returns the bytes from the start of the block at `address` to its reach.
    fn span(&self, address: usize) -> NonNull<[u8]> {
        self.bytes(self.books.span(address))
    }

    /// Returns the bytes with these addresses, which are inside the arena.
    #[allow(unsafe_code, reason = "an address of the arena is an offset from its base")]
    fn bytes(&self, range: Range<usize>) -> NonNull<[u8]> {
        // SAFETY: By [`Books::new`] every range of the books lies inside the range that `base`
        //         points to, so the offset is within it and not negative.
        let start = unsafe { self.base.add(range.start - self.base.addr().get()) };
        NonNull::slice_from_raw_parts(start, range.len())
    }

    /// Writes zeros over all bytes, if another memory may have written there.
    #[allow(unsafe_code, reason = "the bytes are a pointer and a length")]
    fn zero(&mut self) {
        if self.is_written {
            let bytes = self.bytes(self.books.range());
            // SAFETY: The bytes are the arena's, and no block of it is left: [`Arenas::recall`] has
            //         checked it, and has taken the arena out of the list.
            unsafe { bytes.cast::<u8>().write_bytes(0, bytes.len()) };
        }
    }
}

impl Drop for Arena {
    #[allow(unsafe_code, reason = "the global allocator frees what it allocated")]
    fn drop(&mut self) {
        if let Source::Heap(layout) = self.source {
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
    /// The number of its arena.
    arena: u64,
    address: usize,
    arenas: Arenas,
}

impl Block {
    /// Returns the address of the first byte.
    pub(super) fn address(&self) -> usize {
        self.address
    }

    /// Returns the number of bytes that it owns.
    pub(super) fn len(&self) -> u64 {
        self.with(|arena| arena.books.len_of(self.address) as u64)
    }

    /// Returns the number of bytes up to its reach.
    pub(super) fn reach(&self) -> u64 {
        self.with(|arena| arena.books.span(self.address).len() as u64)
    }

    /// Passes all bytes up to its reach to `take`. No other block is placed there until `take`
    /// returns.
    pub(super) fn with_span<R>(&self, take: impl FnOnce(NonNull<[u8]>) -> R) -> R {
        self.with(|arena| take(arena.span(self.address)))
    }

    /// Makes it own `bytes`. Returns whether that is within its reach; if not, nothing has changed.
    #[must_use]
    pub(super) fn resize(&self, bytes: u64) -> bool {
        rounded(bytes).is_some_and(|len| self.with(|arena| arena.books.resize(self.address, len)))
    }

    fn with<R>(&self, use_arena: impl FnOnce(&mut Arena) -> R) -> R {
        self.arenas.with(self.arena, use_arena)
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.with(|arena| arena.books.free(self.address));
        let removed = self.arenas.list.lock().remove_unused(self.arena);
        // A loan's end may free the block of its lender, which takes the lock again.
        drop(removed);
    }
}
