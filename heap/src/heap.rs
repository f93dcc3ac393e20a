//! The heap of a store: one set of books for each memory.

use alloc::{boxed::Box, vec::Vec};

use crate::{
    book::Book,
    options::{HeapOptions, HeapReport},
};

/// The heap of the guests in one store, which belongs in the store's data.
///
/// A heap that has been used must not be moved to another store, because its books describe
/// memories of the first one.
#[derive(Debug, Default)]
pub struct Heap {
    options: HeapOptions,
    /// The books of each memory, by the address of its first byte, which never changes.
    books: Vec<(usize, Box<Book>)>,
}

impl Heap {
    /// Returns a heap without blocks.
    #[must_use]
    pub fn new(options: HeapOptions) -> Self {
        Self { options, books: Vec::new() }
    }

    /// Returns the figures of all memories together. Takes linear time in the number of large
    /// blocks and slabs.
    #[must_use]
    pub fn report(&self) -> HeapReport {
        self.books.iter().fold(HeapReport::default(), |sum, (_, book)| sum + book.report())
    }

    /// Removes and returns the books of the memory at `base`, if there are any.
    ///
    /// A call owns the books while it is served, because it needs the store's data and the store at
    /// the same time.
    pub(crate) fn take(&mut self, base: usize) -> Option<Box<Book>> {
        let index = self.books.iter().position(|(book_base, _)| *book_base == base)?;
        Some(self.books.swap_remove(index).1)
    }

    /// Returns books for a memory that has none yet.
    pub(crate) fn new_book(&self) -> Box<Book> {
        Box::new(Book::new(self.options))
    }

    /// Stores the books of the memory at `base`, which has none here.
    pub(crate) fn put(&mut self, base: usize, book: Box<Book>) {
        self.books.push((base, book));
    }
}
