//! The second of the engine's two files with `unsafe`: bytes that wasmi and the engine both name.
//!
//! wasmi holds a pointer to each linear memory for as long as its store lives. [`memory_over`] makes that
//! pointer, [`LiveBytes`] writes through it while its holder has the store to itself, and [`Block`] owns what
//! the `fixed` backing puts behind it. The region's life time is decided here too: it is anchored in the store.

#![allow(unsafe_code)]

use alloc::{boxed::Box, sync::Arc};
use core::{alloc::Layout, fmt, marker::PhantomData, mem::MaybeUninit, ptr::NonNull, slice};
use linked_list_allocator::Heap;
use spin::Mutex;
use wasmi::{ExternRef, StoreContextMut};

use crate::{backing::Region, store::StoreState, units::Span};

/// A range of a linear memory, named by wasmi's own pointer, while its holder has the store to itself.
#[derive(Debug)]
pub struct LiveBytes<'a> {
    start: NonNull<u8>,
    len: usize,
    exclusive: PhantomData<&'a mut [u8]>,
}

impl<'a> LiveBytes<'a> {
    /// The part `span` of `memory`, a slice that the caller has borrowed from its store exclusively.
    ///
    /// # Panics
    ///
    /// If `span` is not inside `memory`: spans are checked against the size of the memory they are for.
    pub(crate) fn new(memory: &'a mut [u8], span: Span) -> Self {
        let range = usize::try_from(span.start()).ok().zip(usize::try_from(span.end()).ok());
        let part = range
            .and_then(|(start, end)| memory.get_mut(start..end))
            .expect("a span is checked against its memory's size");
        Self { len: part.len(), start: NonNull::from(part).cast(), exclusive: PhantomData }
    }

    /// All of `memory`, a slice that the caller has borrowed from its store exclusively.
    pub(crate) fn all(memory: &'a mut [u8]) -> Self {
        Self { len: memory.len(), start: NonNull::from(memory).cast(), exclusive: PhantomData }
    }

    /// The number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no byte in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first `len` bytes and the rest. `len` is cut down to what there is.
    #[must_use]
    pub fn split_at(self, len: u64) -> (Self, Self) {
        let len = usize::try_from(len).map_or(self.len, |len| len.min(self.len));
        // SAFETY: `len` bytes from `start` on are in the borrowed slice, so the end is in it or right behind it.
        let rest = unsafe { self.start.add(len) };
        (Self { len, ..self }, Self { start: rest, len: self.len - len, exclusive: PhantomData })
    }

    /// Writes zeros over the range.
    pub fn zero(self) {
        // SAFETY: 1. `start` and `len` come from one `&'a mut [u8]`, which `exclusive` keeps borrowed.
        //         2. every bit pattern, zero included, is a `u8`.
        unsafe { self.start.write_bytes(0, self.len) };
    }

    /// Writes `bytes` to `offset`, or nothing where they do not fit, and tells which.
    #[must_use]
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> bool {
        // SAFETY: `start` and `len` come from one `&'a mut [u8]`, which `exclusive` keeps borrowed; the slice ends
        //         with this call.
        let all = unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) };
        let target =
            usize::try_from(offset).ok().and_then(|start| all.get_mut(start..)?.get_mut(..bytes.len()));
        target.map(|target| target.copy_from_slice(bytes)).is_some()
    }

    /// Writes zeros where there are none yet, and tells whether there were such bytes. A page that was never
    /// written is read and stays so.
    #[must_use]
    pub fn scrub(self) -> bool {
        // SAFETY: `start` and `len` come from one `&'a mut [u8]`, which `exclusive` keeps borrowed; the slice
        //         ends with this call.
        let bytes = unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) };
        let mut found = false;
        for byte in bytes.iter_mut().filter(|byte| **byte != 0) {
            *byte = 0;
            found = true;
        }
        found
    }
}

/// The region of a linear memory, shared by the engine's records and the wasmi store that points into it.
#[derive(Debug)]
pub(crate) struct RegionCell(Mutex<Box<dyn Region>>);

impl RegionCell {
    /// Lets `use_region` work on the region. The region itself stays where it is: a `&mut dyn Region` can be
    /// neither replaced nor dropped.
    pub(crate) fn with<R>(&self, use_region: impl FnOnce(&mut dyn Region) -> R) -> R {
        use_region(&mut **self.0.lock())
    }
}

/// Makes a wasmi memory of `initial_bytes` over `region`.
///
/// # Errors
///
/// If wasmi refuses the type or the store's limiter the size; the region is then freed with the store.
pub(crate) fn memory_over<T: 'static>(
    ctx: &mut StoreContextMut<'_, StoreState<T>>,
    ty: wasmi::MemoryType,
    initial_bytes: u64,
    region: Box<dyn Region>,
) -> Result<(wasmi::Memory, Arc<RegionCell>), wasmi::Error> {
    let mut bytes = region.bytes();
    let cell = Arc::new(RegionCell(Mutex::new(region)));
    // wasmi drops host objects with the store and not before: this is what keeps the region alive for as long
    // as the memory, whatever becomes of the store's data.
    ExternRef::new(&mut *ctx, Arc::clone(&cell));
    // SAFETY: 1. contract 1 of `Region`: the bytes are valid and nobody else's until the region is dropped,
    //            which is not before the wasmi store (the anchor above).
    //         2. `region` was passed by value and has not been here before, so this is the only slice of it;
    //            `Region::decommit` works on the range that wasmi's own pointer names.
    let slice = unsafe { bytes.as_mut() };
    let mut slice = Some(slice);
    let mut made = None;
    let span = Span::growth(0, initial_bytes);
    cell.with(|region| {
        region.zero_fill(span, &mut || {
            made = slice.take().map(|slice| wasmi::Memory::new_static(&mut *ctx, ty, slice));
        });
    });
    let memory = made.expect("`Region::zero_fill` runs its closure")?;
    Ok((memory, cell))
}

/// The heap that the blocks of the `fixed` backing come from.
#[derive(Clone)]
pub(crate) struct BlockHeap(Arc<Mutex<Heap>>);

impl BlockHeap {
    /// A heap of all of `bytes`.
    pub(crate) fn new(bytes: &'static mut [MaybeUninit<u8>]) -> Self {
        Self(Arc::new(Mutex::new(Heap::from_slice(bytes))))
    }

    /// Bytes that no block has.
    pub(crate) fn free_bytes(&self) -> u64 {
        self.0.lock().free() as u64
    }

    /// Takes a block, or nothing if there is none that large.
    pub(crate) fn allocate(&self, layout: Layout) -> Option<Block> {
        let start = self.0.lock().allocate_first_fit(layout).ok()?;
        Some(Block { start, layout, heap: self.clone() })
    }
}

impl fmt::Debug for BlockHeap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockHeap").field("free_bytes", &self.free_bytes()).finish()
    }
}

/// A block of bytes out of a heap; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Block {
    start: NonNull<u8>,
    layout: Layout,
    heap: BlockHeap,
}

// SAFETY: the block is used by its owner alone, and the heap it goes back to is behind a lock.
unsafe impl Send for Block {}

impl Block {
    /// The number of bytes.
    pub(crate) fn len(&self) -> u64 {
        self.layout.size() as u64
    }

    /// The bytes themselves. They are uninitialised at first.
    pub(crate) fn bytes(&self) -> NonNull<[u8]> {
        NonNull::slice_from_raw_parts(self.start, self.layout.size())
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: `start` and `layout` are those of `allocate_first_fit` on this heap, in `allocate` alone, and
        //         the block is not `Clone`, so it goes back once.
        unsafe { self.heap.0.lock().deallocate(self.start, self.layout) };
    }
}
