//! The heap of a store: one set of books for each memory.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use palimpsest_engine::{DataError, SnapshotData, StateBytes};

use crate::{
    book::{Book, number},
    error::StateError,
    options::{HeapOptions, HeapReport},
};

/// The heap of the guests in one store, which belongs in the store's data.
///
/// A heap that has been used must not be moved to another store, because its books describe
/// memories of the first one. Snapshots and forks copy it as [`SnapshotData`].
#[derive(Debug, Default)]
pub struct Heap {
    options: HeapOptions,
    own: Vec<Entry>,
    /// The books that snapshots and forks use too, by the ordinals of their memories. A call copies
    /// those of its memory.
    shared: Vec<(usize, Arc<Book>)>,
}

/// The books of a memory.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The address of the memory's first byte, which never changes.
    pub(crate) base: usize,
    /// The [ordinal](palimpsest_engine::Memory::ordinal) of the memory.
    pub(crate) ordinal: usize,
    pub(crate) book: Box<Book>,
}

/// The recorded books of all memories of a store.
#[derive(Clone, Debug)]
pub struct HeapState {
    /// By the ordinals of the memories.
    books: Vec<(usize, Arc<Book>)>,
}

impl Heap {
    /// Returns a heap without blocks.
    #[must_use]
    pub fn new(options: HeapOptions) -> Self {
        Self { options, ..Self::default() }
    }

    /// Returns the figures of all memories together. Takes linear time in the number of large
    /// blocks and slabs.
    #[must_use]
    pub fn report(&self) -> HeapReport {
        let own = self.own.iter().map(|entry| entry.book.report());
        let shared = self.shared.iter().map(|(_, book)| book.report());
        own.chain(shared).fold(HeapReport::default(), |sum, report| sum + report)
    }

    /// Removes and returns the books of the memory at `base`, unless they are shared or missing.
    ///
    /// A call owns the books while it is served, because it needs the store's data and the store at
    /// the same time.
    pub(crate) fn take(&mut self, base: usize) -> Option<Entry> {
        let index = self.own.iter().position(|entry| entry.base == base)?;
        Some(self.own.swap_remove(index))
    }

    /// Returns a copy of the shared books of a memory with this ordinal and this size, and stops
    /// sharing them. Returns `None` if there are none.
    pub(crate) fn take_shared(&mut self, ordinal: usize, size_bytes: u64) -> Option<Box<Book>> {
        let index = self.shared.iter().position(|(shared, _)| *shared == ordinal)?;
        let (_, book) = self.shared.swap_remove(index);
        let book = Arc::unwrap_or_clone(book).with_options(self.options);
        // Books of another memory would lead out of this one.
        (book.end_bytes() <= size_bytes).then(|| Box::new(book))
    }

    /// Returns books for a memory that has none yet.
    pub(crate) fn new_book(&self) -> Box<Book> {
        Box::new(Book::new(self.options))
    }

    /// Stores the books of a memory, which has none here.
    pub(crate) fn put(&mut self, entry: Entry) {
        self.own.push(entry);
    }
}

/// A fork has the blocks of its snapshot, at the same addresses. The heap that it replaces gives it
/// the options.
///
/// The books are copied when the fork, or the store that was snapshotted, next calls the heap. That
/// costs the guest a unit of fuel for each large block, slab and run of free pages. Books belong to
/// a memory by its [ordinal](palimpsest_engine::Memory::ordinal), so the instance that is
/// snapshotted must be the first of its store that has memories, and the fork the first of the new
/// store.
impl SnapshotData for Heap {
    type State = HeapState;

    fn save(&mut self) -> Result<HeapState, DataError> {
        let own = self.own.drain(..).map(|entry| (entry.ordinal, Arc::from(entry.book)));
        self.shared.extend(own);
        Ok(HeapState { books: self.shared.clone() })
    }

    fn restore(&mut self, state: &HeapState) -> Result<(), DataError> {
        self.own.clear();
        self.shared.clone_from(&state.books);
        Ok(())
    }
}

/// The version of the bytes.
const VERSION: u64 = 1;

/// The most memories of a module. An instance that is recorded is the first of its store, so its
/// memories have lower ordinals, and books of others mean nothing to a fork.
///
/// Books without a block take few bytes when they are written, and much heap when they are read.
const MEMORIES_MAX: usize = 100;

impl StateBytes for HeapState {
    /// # Errors
    ///
    /// [`StateError::Moving`], and those of the sink.
    fn write_to(&self, sink: &mut dyn FnMut(&[u8]) -> Result<(), DataError>) -> Result<(), DataError> {
        let books = || self.books.iter().filter(|(ordinal, _)| *ordinal < MEMORIES_MAX);
        sink(&VERSION.to_le_bytes())?;
        sink(&(books().count() as u64).to_le_bytes())?;
        books().try_for_each(|(ordinal, book)| {
            sink(&(*ordinal as u64).to_le_bytes())?;
            book.write(sink)
        })
    }

    /// # Errors
    ///
    /// [`StateError`].
    fn read_from(bytes: &[u8]) -> Result<Self, DataError> {
        Ok(read(bytes)?)
    }
}

fn read(mut bytes: &[u8]) -> Result<HeapState, StateError> {
    let version = number(&mut bytes)?;
    if version != VERSION {
        return Err(StateError::Number { what: "version", number: version });
    }
    let mut books: Vec<(usize, Arc<Book>)> = Vec::new();
    for _ in 0..number(&mut bytes)? {
        let ordinal = number(&mut bytes)?;
        let wrong = StateError::Number { what: "ordinal of a memory", number: ordinal };
        let ordinal = usize::try_from(ordinal).map_err(|_| wrong.clone())?;
        if ordinal >= MEMORIES_MAX || books.iter().any(|(other, _)| *other == ordinal) {
            return Err(wrong);
        }
        books.push((ordinal, Arc::new(Book::read(&mut bytes)?)));
    }
    if bytes.is_empty() { Ok(HeapState { books }) } else { Err(StateError::Trailing { count: bytes.len() }) }
}
