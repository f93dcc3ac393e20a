//! One call of a heap function: what the books leave to be done in the guest's memory.
//!
//! A [`Call`] grows the memory when the books have no room, releases the pages that they free,
//! zeroes and copies bytes, and charges fuel: one unit for the call, one for each page that it
//! releases, and one for each 64 bytes that it zeroes or copies.

use alloc::{boxed::Box, vec::Vec};
use core::ops::Range;
use palimpsest_engine::{Caller, Error, IndexType, Memory, Mutability, Pause, Val};

use crate::{
    block::Block,
    book::{Book, Drain, Moving, NoRoom, Request, Resized},
    error::{HeapError, HeapFunction, NotABlock},
    heap::{Entry, Heap},
    options::BadPointer,
    pages::{PAGE_BYTES, PAGE_LEN, Pages, first_usable},
};

/// The constant global with which wasm-ld marks the end of a module's own data.
const HEAP_BASE: &str = "__heap_base";

/// The maximum number of bytes of a moving block that are in both places at the same time, and that
/// one call of a task moves.
const CHUNK_BYTES: u64 = 1 << 16;

/// The bytes that are zeroed or copied for one unit of fuel, as by wasmi's own instructions.
const BYTES_PER_UNIT: u64 = 64;

const INSIDE: &str = "the heap's pages are inside its memory, which never shrinks";

/// A page that reads zero.
static ZEROS: [u8; PAGE_LEN] = [0; PAGE_LEN];

/// A call that is being served.
pub(crate) struct Call<'a, T: 'static> {
    caller: Caller<'a, T>,
    /// The arguments, which a task repeats if the call is divided.
    arguments: &'a [u64],
    memory: Memory,
    /// The ordinal of the memory.
    ordinal: usize,
    book: Box<Book>,
    /// The fuel that the call has cost so far, apart from what [`Memory::release`] charges itself.
    units: u64,
}

/// Serves a call with `function`. The first call for a memory makes its books.
///
/// # Errors
///
/// [`HeapError::NoMemory`], and those of `function`.
pub(crate) fn serve<T: 'static>(
    mut caller: Caller<'_, T>,
    heap: &impl Fn(&mut T) -> &mut Heap,
    arguments: &[u64],
    function: impl FnOnce(&mut Call<'_, T>) -> Result<u64, Error>,
) -> Result<u64, Error> {
    let progress = caller.take_progress();
    let memory = caller.memory().ok_or_else(|| Error::host(HeapError::NoMemory))?;
    let base = memory.data(&caller).as_ptr().addr();
    let mut call = match heap(caller.data_mut()).take(base) {
        Some(Entry { ordinal, book, .. }) => Call { caller, arguments, memory, ordinal, book, units: 1 },
        None => Call::first(caller, heap, arguments, memory),
    };
    let served = call.run(progress, function);
    let Call { mut caller, ordinal, book, units, .. } = call;
    caller.charge_fuel(units);
    heap(caller.data_mut()).put(Entry { base, ordinal, book });
    served
}

impl<'a, T: 'static> Call<'a, T> {
    /// Returns the first call for a memory, or the first of a fork: with a copy of the books of its
    /// snapshot, or with new books.
    #[cold]
    #[inline(never)]
    fn first(
        mut caller: Caller<'a, T>,
        heap: &impl Fn(&mut T) -> &mut Heap,
        arguments: &'a [u64],
        memory: Memory,
    ) -> Self {
        let ordinal = memory.ordinal(&caller);
        let size = memory.size_bytes(&caller);
        let heap = heap(caller.data_mut());
        if let Some(book) = heap.take_shared(ordinal, size) {
            let units = 1 + book.entries();
            return Self { caller, arguments, memory, ordinal, book, units };
        }
        let book = heap.new_book();
        let mut call = Self { caller, arguments, memory, ordinal, book, units: 1 };
        call.adopt();
        call
    }
}

impl<T: 'static> Call<'_, T> {
    /// Runs `function` between two releases. The first one is of what an earlier call has left: its
    /// own rest, or that of a guest that was ended in between.
    ///
    /// `progress` is 0 until `function` has returned, and then its result plus 1.
    ///
    /// # Errors
    ///
    /// Those of `function`, and [`Pause`] if another call continues.
    fn run(
        &mut self,
        progress: u64,
        function: impl FnOnce(&mut Self) -> Result<u64, Error>,
    ) -> Result<u64, Error> {
        if self.book.has_released() {
            self.release_in_parts(Drain::Due, progress)?;
        }
        if let Some(result) = progress.checked_sub(1) {
            return Ok(result);
        }
        self.book.tick();
        let result = function(self)?;
        self.release_in_parts(Drain::Due, result + 1)?;
        Ok(result)
    }

    /// Allocates a block of `bytes` bytes. Returns its address, or 0 if the heap is full.
    pub(crate) fn malloc(&mut self, bytes: u64) -> u64 {
        self.allocate(Request::new(bytes, 1)).map_or(0, |block| block.address)
    }

    /// Allocates a block of `count * size` bytes that reads zero.
    pub(crate) fn calloc(&mut self, count: u64, size: u64) -> u64 {
        let request = count.checked_mul(size).and_then(|bytes| Request::new(bytes, 1));
        let Some(block) = self.allocate(request) else { return 0 };
        self.zero(block.stale);
        block.address
    }

    /// Allocates a block of `bytes` bytes at a multiple of `alignment`. Returns 0 if that is not a
    /// power of two.
    pub(crate) fn aligned_alloc(&mut self, alignment: u64, bytes: u64) -> u64 {
        if !alignment.is_power_of_two() {
            return 0;
        }
        self.allocate(Request::new(bytes, alignment)).map_or(0, |block| block.address)
    }

    /// Frees the block at `pointer`.
    ///
    /// # Errors
    ///
    /// [`HeapError`] for a bad pointer, if the options require it.
    pub(crate) fn free(&mut self, pointer: u64) -> Result<u64, Error> {
        if pointer == 0 {
            return Ok(0);
        }
        let freed = self.book.free(pointer);
        freed.or_else(|cause| self.bad_pointer(HeapFunction::Free, pointer, cause)).map(|()| 0)
    }

    /// Returns the length of the block at `pointer`.
    ///
    /// # Errors
    ///
    /// [`HeapError`] for a bad pointer, if the options require it.
    pub(crate) fn usable_size(&self, pointer: u64) -> Result<u64, Error> {
        if pointer == 0 {
            return Ok(0);
        }
        let found = self.book.usable_size(pointer);
        found.or_else(|cause| self.bad_pointer(HeapFunction::UsableSize, pointer, cause).map(|()| 0))
    }

    /// Changes the size of the block at `pointer` to `bytes`, and returns its new address, or 0 if
    /// the heap is full.
    ///
    /// # Errors
    ///
    /// [`HeapError`] for a bad pointer, if the options require it.
    pub(crate) fn realloc(&mut self, pointer: u64, bytes: u64) -> Result<u64, Error> {
        if pointer == 0 {
            return Ok(self.malloc(bytes));
        }
        if let Some(moving) = self.book.take_moving(pointer) {
            return self.proceed(moving);
        }
        let resized = self.book.resize(pointer, bytes);
        // If this is divided, the next call resizes in the same way, and has less to release.
        self.release_in_parts(Drain::Due, 0)?;
        match resized {
            Ok(Resized::InPlace) => Ok(pointer),
            Ok(Resized::Elsewhere { bytes: old }) => {
                let extended = self.extend(pointer, bytes);
                extended.map_or_else(|| self.relocate(pointer, old, bytes), Ok)
            }
            Err(cause) => self.bad_pointer(HeapFunction::Realloc, pointer, cause).map(|()| 0),
        }
    }

    fn bad_pointer(&self, function: HeapFunction, pointer: u64, cause: NotABlock) -> Result<(), Error> {
        match self.book.options().bad_pointer {
            BadPointer::Trap => Err(Error::host(cause.at(function, pointer))),
            BadPointer::Ignore => Ok(()),
        }
    }

    /// Adds the pages between the guest's own data and the end of its memory to the new books. They
    /// are to be cleared, because the guest may have written to them.
    fn adopt(&mut self) {
        let size = self.size_bytes();
        let pages = Pages::inside(self.heap_base().unwrap_or(size), size);
        self.book.adopt(pages);
    }

    /// Returns the value of the global [`HEAP_BASE`], if the instance exports it as a constant
    /// address.
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

    /// Allocates a block. If the heap is full and cannot grow, releases the idle pages and tries
    /// again.
    fn allocate(&mut self, request: Option<Request>) -> Option<Block> {
        let request = request?;
        self.allocate_or_grow(request).or_else(|| {
            self.release(Drain::All);
            self.allocate_or_grow(request)
        })
    }

    fn allocate_or_grow(&mut self, request: Request) -> Option<Block> {
        match self.book.allocate(request) {
            Ok(block) => Some(block),
            Err(NoRoom::Entries) => None,
            Err(NoRoom::Addresses { pages, align_pages }) => {
                let missing = self.book.missing(pages, align_pages, first_usable(self.size_bytes()))?;
                self.grow(missing)?;
                self.book.allocate(request).ok()
            }
        }
    }

    /// Extends the large block at `pointer` to `bytes` by growing the memory. Returns `None` unless
    /// it is the last block.
    fn extend(&mut self, pointer: u64, bytes: u64) -> Option<u64> {
        let missing = self.book.missing_after(pointer, bytes, first_usable(self.size_bytes()))?;
        self.grow(missing)?;
        (self.book.resize(pointer, bytes) == Ok(Resized::InPlace)).then_some(pointer)
    }

    /// Moves the block at `pointer`, of `old` bytes, into a new block of `bytes`, and returns the
    /// new address. If the heap is full the block stays, and the result is 0 if it is too small.
    ///
    /// # Errors
    ///
    /// [`Pause`] if the move is continued by another call.
    fn relocate(&mut self, pointer: u64, old: u64, bytes: u64) -> Result<u64, Error> {
        let Some(to) = self.allocate(Request::new(bytes, 1)) else {
            return Ok(if bytes <= old { pointer } else { 0 });
        };
        let left = old.min(to.bytes);
        self.proceed(Moving { pointer, left, to })
    }

    /// Moves what is left of a block, and returns its new address.
    ///
    /// A long block moves in chunks, the last one first. Each chunk is released before the next one
    /// is copied, so that the move takes at most a chunk of additional frames. In a task each chunk
    /// is a call.
    ///
    /// # Errors
    ///
    /// [`Pause`] if the move is continued by another call.
    fn proceed(&mut self, mut moving: Moving) -> Result<u64, Error> {
        let pointer = moving.pointer;
        while moving.left > CHUNK_BYTES {
            moving.left -= CHUNK_BYTES;
            let left = moving.left;
            self.copy(pointer + left, &moving.to, left..left + CHUNK_BYTES);
            let cut = self.book.resize(pointer, left);
            debug_assert_eq!(cut, Ok(Resized::InPlace), "a block longer than a chunk is a large block");
            self.release(Drain::Due);
            if self.caller.can_pause() {
                self.book.set_moving(moving);
                return Err(self.again(0));
            }
        }
        self.copy(pointer, &moving.to, 0..moving.left);
        self.book.free(pointer).expect("the block was found at the start of the call");
        Ok(moving.to.address)
    }

    /// Returns the pause after which the task repeats the call with `progress`.
    fn again(&self, progress: u64) -> Error {
        let arguments: Vec<_> = self.arguments.iter().map(|number| self.value(*number)).collect();
        Error::host(Pause::again(&arguments, progress))
    }

    /// Returns a number as a value of the memory's index type.
    fn value(&self, number: u64) -> Val {
        match self.memory.ty(&self.caller).index() {
            IndexType::I32 => {
                let number = u32::try_from(number).expect("the guest passed it in 32 bits");
                Val::I32(number.cast_signed())
            }
            IndexType::I64 => Val::I64(number.cast_signed()),
        }
    }

    /// Copies bytes at `from` to the part `part` of a new block, page by page. Pages of zeros are
    /// skipped if the block reads zero, because writing them would take frames.
    fn copy(&mut self, from: u64, block: &Block, part: Range<u64>) {
        let bytes = self.memory.data_mut(&mut self.caller);
        let from = offset(from);
        let to = offset(block.address + part.start);
        let len = offset(part.end - part.start);
        for start in (0..len).step_by(PAGE_LEN) {
            let end = len.min(start + PAGE_LEN);
            let source = from + start..from + end;
            if block.stale.is_empty() && bytes[source.clone()] == ZEROS[..end - start] {
                continue;
            }
            bytes.copy_within(source, to + start);
        }
        self.units += (part.end - part.start).div_ceil(BYTES_PER_UNIT);
    }

    fn zero(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let bytes = self.memory.data_mut(&mut self.caller);
        bytes[offset(range.start)..offset(range.end)].fill(0);
        self.units += (range.end - range.start).div_ceil(BYTES_PER_UNIT);
    }

    /// Releases the pages that the books no longer need. In a task it releases a bounded number of
    /// frames, and the slice can end before the next part.
    ///
    /// Inlined because every heap call runs it, and most calls release nothing.
    ///
    /// # Errors
    ///
    /// [`Pause`] if another call continues with `progress`.
    #[inline]
    fn release_in_parts(&mut self, drain: Drain, progress: u64) -> Result<(), Error> {
        match self.book.next_release(drain) {
            Some(pages) => self.release_from(pages, drain, progress),
            None => Ok(()),
        }
    }

    /// Releases `first`, which the books no longer need, and then what
    /// [`release_in_parts`](Self::release_in_parts) releases.
    ///
    /// # Errors
    ///
    /// [`Pause`] if another call continues with `progress`.
    #[inline(never)]
    fn release_from(&mut self, first: Pages, drain: Drain, progress: u64) -> Result<(), Error> {
        let mut next = Some(first);
        while let Some(pages) = next {
            if self.caller.can_pause() {
                self.release_part(pages, progress)?;
            } else {
                self.clear(pages);
            }
            next = self.book.next_release(drain);
        }
        Ok(())
    }

    /// Releases a part of `pages` with a bounded number of frames, which may be all of them.
    ///
    /// # Errors
    ///
    /// [`Pause`] if another call continues with the rest and `progress`.
    fn release_part(&mut self, pages: Pages, progress: u64) -> Result<(), Error> {
        let part = self.memory.release_part(&mut self.caller, pages.address(), pages.bytes());
        let (_, bytes) = part.expect(INSIDE);
        let done = bytes / PAGE_BYTES;
        if done == pages.count {
            return Ok(());
        }
        self.book.postpone(Pages::new(pages.first + done, pages.count - done));
        Err(self.again(progress))
    }

    /// Releases the pages that the books no longer need, which are few.
    fn release(&mut self, drain: Drain) {
        while let Some(pages) = self.book.next_release(drain) {
            self.clear(pages);
        }
    }

    fn clear(&mut self, pages: Pages) {
        if pages.count == 0 {
            return;
        }
        let released = self.memory.release(&mut self.caller, pages.address(), pages.bytes());
        released.expect(INSIDE);
    }

    /// Grows the memory by at least `missing` pages and adds them to the books. Returns `None` if
    /// that fails.
    fn grow(&mut self, missing: u64) -> Option<()> {
        let end = self.size_bytes();
        let grown = first_usable(end).checked_add(missing)?.checked_mul(PAGE_BYTES)?;
        let wasm_pages = (grown - end).div_ceil(self.memory.ty(&self.caller).page_size().bytes());
        self.memory.grow(&mut self.caller, wasm_pages).ok()?;
        self.book.extend(Pages::inside(end, self.size_bytes()));
        Some(())
    }

    fn size_bytes(&self) -> u64 {
        self.memory.size_bytes(&self.caller)
    }
}

/// Returns `number`, an address or a length inside the memory, as an offset in its slice.
fn offset(number: u64) -> usize {
    usize::try_from(number).expect("a memory is inside the address space")
}
