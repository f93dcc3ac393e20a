//! One call of a heap function: the thin part between the books and the memory.
//!
//! Owns the books of each memory ([`HeapCell`]) and what the books leave to others: the memory grows when no
//! address is left, what they release is cleared by the memory's strategy, bytes are zeroed and copied. A
//! call costs at least one unit of fuel, and one for each page that it releases, zeroes or copies.

use alloc::{boxed::Box, sync::Arc};
use core::ops::Range;
use spin::Mutex;
use wasmi::{AsContext, Caller, Mutability, Val};

use super::{
    book::{Block, Book, NoRoom, Resized, Retention, Wanted},
    error::{HeapFunction, NotABlock},
    options::{BadPointer, HeapOptions, HeapReport},
    pages::{PAGE_BYTES, PAGE_LEN, Pages, first_at},
};
use crate::{
    fuel::charge,
    memory::{Memory, MemoryRecord, grow},
    store::StoreState,
};

/// The global by which a linker tells where a module's own data ends.
const HEAP_BASE: &str = "__heap_base";

/// Bytes that a moving block has in both places at a time, at most.
const CHUNK_BYTES: u64 = 1 << 20;

/// The heap of a memory, from the first call of one of its functions on. Instances that share the memory share
/// the heap.
#[derive(Debug)]
pub(crate) struct HeapCell {
    options: HeapOptions,
    most_entries: usize,
    book: Mutex<Option<Box<Book>>>,
}

impl HeapCell {
    /// A heap without books yet. `most_entries` is the limit `heap_entries`.
    pub(crate) fn new(options: HeapOptions, most_entries: usize) -> Self {
        Self { options, most_entries, book: Mutex::new(None) }
    }
}

impl Memory {
    /// What the heap holds that guests have in this memory through `palimpsest.malloc` and its like. Takes time
    /// by the number of blocks.
    pub fn heap_report<T: 'static>(&self, ctx: impl AsContext<Data = StoreState<T>>) -> HeapReport {
        let record = MemoryRecord::of(*self, &ctx);
        let book = record.heap().book.lock();
        book.as_ref().map(|book| book.report()).unwrap_or_default()
    }
}

/// A call that is being served.
pub(super) struct Call<'a, T: 'static> {
    caller: Caller<'a, StoreState<T>>,
    record: &'a Arc<MemoryRecord>,
    book: &'a mut Book,
    /// Fuel that it costs so far, but for what clears have charged.
    units: u64,
}

impl<T: 'static> Call<'_, T> {
    /// Serves a call on the heap of the memory of `record`, which it founds if it is the first one.
    pub(super) fn run<R>(
        caller: Caller<'_, StoreState<T>>,
        record: &Arc<MemoryRecord>,
        serve: impl FnOnce(&mut Call<'_, T>) -> Result<R, wasmi::Error>,
    ) -> Result<R, wasmi::Error> {
        let heap = record.heap();
        let mut book = heap.book.lock();
        let is_founded = book.is_some();
        let book = book.get_or_insert_with(|| Box::new(Book::new(heap.options, heap.most_entries)));
        let mut call = Call { caller, record, book, units: 1 };
        if !is_founded {
            call.adopt();
        }
        call.book.tick();
        let served = serve(&mut call);
        call.release(Retention::AsConfigured);
        charge(&mut call.caller, call.units);
        served
    }

    pub(super) fn malloc(&mut self, bytes: u64) -> u64 {
        self.allocate(Wanted::new(bytes, 1)).map_or(0, |block| block.address)
    }

    pub(super) fn calloc(&mut self, count: u64, size: u64) -> u64 {
        let wanted = count.checked_mul(size).and_then(|bytes| Wanted::new(bytes, 1));
        let Some(block) = self.allocate(wanted) else { return 0 };
        self.zero(block.stale);
        block.address
    }

    pub(super) fn aligned_alloc(&mut self, alignment: u64, bytes: u64) -> u64 {
        if !alignment.is_power_of_two() {
            return 0;
        }
        self.allocate(Wanted::new(bytes, alignment)).map_or(0, |block| block.address)
    }

    /// # Errors
    ///
    /// A bad pointer, if the options say so.
    pub(super) fn free(&mut self, pointer: u64) -> Result<(), wasmi::Error> {
        if pointer == 0 {
            return Ok(());
        }
        let freed = self.book.free(pointer);
        freed.or_else(|cause| self.bad_pointer(HeapFunction::Free, pointer, cause))
    }

    /// # Errors
    ///
    /// A bad pointer, if the options say so.
    pub(super) fn usable_size(&self, pointer: u64) -> Result<u64, wasmi::Error> {
        if pointer == 0 {
            return Ok(0);
        }
        let found = self.book.usable_size(pointer);
        found.or_else(|cause| self.bad_pointer(HeapFunction::UsableSize, pointer, cause).map(|()| 0))
    }

    /// # Errors
    ///
    /// A bad pointer, if the options say so.
    pub(super) fn realloc(&mut self, pointer: u64, bytes: u64) -> Result<u64, wasmi::Error> {
        if pointer == 0 {
            return Ok(self.malloc(bytes));
        }
        let resized = self.book.resize(pointer, bytes);
        self.release(Retention::AsConfigured);
        match resized {
            Ok(Resized::InPlace) => Ok(pointer),
            Ok(Resized::Elsewhere { bytes: old }) => {
                Ok(self.extend(pointer, bytes).unwrap_or_else(|| self.relocate(pointer, old, bytes)))
            }
            Err(cause) => self.bad_pointer(HeapFunction::Realloc, pointer, cause).map(|()| 0),
        }
    }

    fn bad_pointer(
        &self,
        function: HeapFunction,
        pointer: u64,
        cause: NotABlock,
    ) -> Result<(), wasmi::Error> {
        match self.book.options().bad_pointer {
            BadPointer::Trap => Err(wasmi::Error::host(cause.at(function, pointer))),
            BadPointer::Ignore => Ok(()),
        }
    }

    /// Takes over what lies between the guest's own data and the end of its memory, which may have been used
    /// before and is to read zero.
    fn adopt(&mut self) {
        let size = self.size_bytes();
        let pages = Pages::inside(self.heap_base().unwrap_or(size), size);
        self.clear(pages);
        self.book.extend(pages);
    }

    /// What the calling instance exports as [`HEAP_BASE`], if it is a constant address.
    fn heap_base(&self) -> Option<u64> {
        let global = self.caller.get_export(HEAP_BASE)?.into_global()?;
        if global.ty(&self.caller).mutability() != Mutability::Const {
            return None;
        }
        match global.get(&self.caller) {
            Val::I32(base) => Some(base.cast_unsigned().into()),
            Val::I64(base) => Some(base.cast_unsigned()),
            Val::F32(_) | Val::F64(_) | Val::V128(_) | Val::FuncRef(_) | Val::ExternRef(_) => None,
        }
    }

    /// Hands out a block: of what there is, or of what the memory can grow by, or after everything that is
    /// kept for later use was released.
    fn allocate(&mut self, wanted: Option<Wanted>) -> Option<Block> {
        let wanted = wanted?;
        self.allocate_or_grow(wanted).or_else(|| {
            self.release(Retention::Nothing);
            self.allocate_or_grow(wanted)
        })
    }

    fn allocate_or_grow(&mut self, wanted: Wanted) -> Option<Block> {
        match self.book.allocate(wanted) {
            Ok(block) => Some(block),
            Err(NoRoom::Entries) => None,
            Err(NoRoom::Addresses { pages, align_pages }) => {
                let missing = self.book.missing(pages, align_pages, first_at(self.size_bytes()))?;
                self.grow(missing)?;
                self.book.allocate(wanted).ok()
            }
        }
    }

    /// Makes the large block at `pointer` longer by growing the memory, if it is the last one.
    fn extend(&mut self, pointer: u64, bytes: u64) -> Option<u64> {
        let missing = self.book.missing_behind(pointer, bytes, first_at(self.size_bytes()))?;
        self.grow(missing)?;
        (self.book.resize(pointer, bytes) == Ok(Resized::InPlace)).then_some(pointer)
    }

    /// Moves the block at `pointer`, of `old` bytes, into a new one of `bytes`, and returns the new one's address.
    /// If there is none the block stays, which is a failure if it is too small.
    ///
    /// A long block moves in pieces, the last one first, each of which is released before the next is copied.
    fn relocate(&mut self, pointer: u64, old: u64, bytes: u64) -> u64 {
        let Some(block) = self.allocate(Wanted::new(bytes, 1)) else {
            return if bytes <= old { pointer } else { 0 };
        };
        let mut left = old.min(block.bytes);
        while left > CHUNK_BYTES {
            left -= CHUNK_BYTES;
            self.copy(pointer + left, &block, left..left + CHUNK_BYTES);
            let cut = self.book.resize(pointer, left);
            debug_assert_eq!(cut, Ok(Resized::InPlace), "what is longer than a piece is a large block");
            self.release(Retention::AsConfigured);
        }
        self.copy(pointer, &block, 0..left);
        self.book.free(pointer).expect("the block was found, and is still there");
        block.address
    }

    /// Copies bytes from `from` to the part `part` of a new block, page by page. What is zero is not written
    /// where it would only take up a frame.
    fn copy(&mut self, from: u64, block: &Block, part: Range<u64>) {
        let bytes = self.record.memory().wasmi().data_mut(&mut self.caller);
        let offset = |address: u64| usize::try_from(address).expect("it is inside the memory");
        let (from, to, len) =
            (offset(from), offset(block.address + part.start), offset(part.end - part.start));
        for start in (0..len).step_by(PAGE_LEN) {
            let end = len.min(start + PAGE_LEN);
            let source = from + start..from + end;
            if block.stale.is_empty() && bytes[source.clone()] == ZEROS[..end - start] {
                continue;
            }
            bytes.copy_within(source, to + start);
        }
        self.units += len.div_ceil(PAGE_LEN) as u64;
    }

    fn zero(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let offset = |address: u64| usize::try_from(address).expect("it is inside the memory");
        let bytes = self.record.memory().wasmi().data_mut(&mut self.caller);
        bytes[offset(range.start)..offset(range.end)].fill(0);
        self.units += range.end.div_ceil(PAGE_BYTES) - range.start / PAGE_BYTES;
    }

    /// Releases what the books say.
    fn release(&mut self, retention: Retention) {
        while let Some(pages) = self.book.next_release(retention) {
            self.clear(pages);
        }
    }

    fn clear(&mut self, pages: Pages) {
        if pages.count == 0 {
            return;
        }
        let released = self.record.memory().release(&mut self.caller, pages.address(), pages.bytes());
        released.expect("the heap's pages are inside its memory");
    }

    /// Grows the memory by at least `missing` pages, which become the heap's.
    fn grow(&mut self, missing: u64) -> Option<()> {
        let end = self.size_bytes();
        let grown = first_at(end).checked_add(missing)?.checked_mul(PAGE_BYTES)?;
        let wasm_pages = (grown - end).div_ceil(self.record.ty().page_size().bytes());
        grow(&mut self.caller, self.record, wasm_pages).ok()?;
        self.book.extend(Pages::inside(end, self.size_bytes()));
        Some(())
    }

    fn size_bytes(&self) -> u64 {
        self.record.memory().wasmi().data_size(&self.caller) as u64
    }
}

/// A page that reads zero.
static ZEROS: [u8; PAGE_LEN] = [0; PAGE_LEN];
