//! Linear memories: wasmi's memory over a region of the backing.
//!
//! [`Memory`] is the handle that embedders hold. Its [`MemoryRecord`] shares the region with the
//! wasmi store that points into it, so the region outlives both.

mod clear;
#[cfg(feature = "snapshots")]
mod freeze;
mod grow;
mod record;
mod region;
#[cfg(feature = "snapshots")]
mod written;

use core::iter;

#[cfg(feature = "snapshots")]
pub(super) use self::freeze::{freeze, require_room};
use self::{
    clear::lend,
    region::{bytes_before, bytes_before_mut},
};
pub(crate) use self::{
    clear::{clear, settle},
    grow::grow,
    record::{MemoryRecord, Reserved},
};
use super::{
    AsContext, AsContextMut, GrowError, MemoryAccessError, MemoryError, StoreContext, StoreContextMut,
    StoreState, owner::Owned,
};
use crate::{
    backing::{Cleared, GuardedPages, LendError, Lent, MemoryResidency},
    config::Strategy,
    module::MemoryType,
    units::{ClearError, Span, WasmPageSize},
};

/// A linear memory of a store.
///
/// # Panics
///
/// All methods panic if the memory does not belong to the store that is passed.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    inner: Owned<wasmi::Memory>,
}

impl Memory {
    /// Creates a memory, which a [`Linker`](crate::Linker) can define under the name that a module
    /// imports.
    ///
    /// # Errors
    ///
    /// - [`MemoryError::TooLarge`], [`MemoryError::NoAddresses`] or [`MemoryError::TooMany`] if a
    ///   limit of the store is exceeded.
    /// - [`MemoryError::Backing`] if the backing has no room.
    /// - [`MemoryError::Refused`] if `ty` is not a valid type.
    pub fn new(mut ctx: impl AsContextMut, ty: MemoryType) -> Result<Self, MemoryError> {
        let mut ctx = ctx.as_context_mut().into_wasmi();
        let reserved = Reserved::new(&ctx, ty, iter::empty())?;
        Ok(reserved.establish(&mut ctx)?.memory())
    }

    pub(crate) fn from_wasmi<T>(inner: wasmi::Memory, state: &StoreState<T>) -> Self {
        Self { inner: Owned::new(inner, state) }
    }

    /// # Panics
    ///
    /// Panics if the memory does not belong to the store with this state.
    pub(crate) fn wasmi<T>(self, state: &StoreState<T>) -> wasmi::Memory {
        self.inner.of(state)
    }

    /// Returns the memory's type. Its minimum is the size at creation.
    pub fn ty(&self, ctx: impl AsContext) -> MemoryType {
        MemoryRecord::of(*self, ctx.as_context().into_wasmi()).ty()
    }

    /// Returns the number of memories of the store that were created before this one, which is its
    /// position in [`Store::memories`](crate::Store::memories).
    ///
    /// An embedder's data that belongs to snapshots can keep what it has for each memory under this
    /// number. The memories that an instance defines are created in the order of their definition,
    /// so that those of a fork have the same numbers if both instances are the first of their
    /// store.
    pub fn ordinal(&self, ctx: impl AsContext) -> usize {
        let ctx = ctx.as_context().into_wasmi();
        MemoryRecord::of(*self, ctx).ordinal(ctx.data())
    }

    /// Returns the size in Wasm pages.
    pub fn size(&self, ctx: impl AsContext) -> u64 {
        let ctx = ctx.as_context().into_wasmi();
        self.inner.of(ctx.data()).size(ctx)
    }

    /// Returns the size in bytes.
    pub fn size_bytes(&self, ctx: impl AsContext) -> u64 {
        let ctx = ctx.as_context().into_wasmi();
        self.inner.of(ctx.data()).data_size(ctx) as u64
    }

    /// Grows by `delta` Wasm pages in constant time, and returns the old size in Wasm pages. It
    /// allocates no frame.
    ///
    /// # Errors
    ///
    /// - [`GrowError::AboveMaximum`] if the new size is above the type's maximum or what was
    ///   reserved.
    /// - [`GrowError::OutOfFrames`] if the frames cannot be reserved.
    /// - [`GrowError::Refused`] if the backing has no room.
    pub fn grow(&self, mut ctx: impl AsContextMut, delta: u64) -> Result<u64, GrowError> {
        let ctx = ctx.as_context_mut().into_wasmi();
        let (record, size) = MemoryRecord::with_size(*self, &ctx);
        grow(ctx, &record, size, delta)
    }

    /// Zeroes Wasm pages `start..start + count`, and releases their frames before it returns.
    ///
    /// The size does not change, and the pages stay usable. No slice of the memory can be alive
    /// during the call, because `ctx` is exclusive. The guest is charged a unit of fuel for each
    /// frame that was released, 64 for each frame that was lent, retained or committed, 256 for
    /// each table that was emptied, and at least 1.
    ///
    /// Wasm pages are of the memory's own page size. If that is one byte, frames that lie wholly
    /// inside the range are released, and the bytes at its ends are zeroed in place.
    ///
    /// # Errors
    ///
    /// [`ClearError::OutOfBounds`] if the range ends past the memory. Nothing has changed then.
    /// With valid arguments the call cannot fail.
    ///
    /// # Examples
    ///
    /// ```
    /// # use palimpsest_engine::{Config, Engine, Fixed, Memory, MemoryType, Store};
    /// # use std::{boxed::Box, mem::MaybeUninit};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bytes = Box::leak(vec![MaybeUninit::uninit(); 1 << 20].into_boxed_slice());
    /// # let engine = Engine::new(Config::default(), Fixed::new(bytes))?;
    /// let mut store = Store::new(&engine, ());
    /// let memory = Memory::new(&mut store, MemoryType::new(2, None))?;
    /// memory.write(&mut store, 65_536, b"secret")?;
    /// let cleared = memory.clear_pages(&mut store, 1, 1)?;
    /// assert_eq!(memory.data(&store)[65_536..65_542], [0; 6]);
    /// assert_eq!((cleared.frames_released, cleared.frames_retained), (16, 0));
    /// # Ok(())
    /// # }
    /// ```
    pub fn clear_pages(&self, ctx: impl AsContextMut, start: u64, count: u64) -> Result<Cleared, ClearError> {
        self.clear(ctx, None, |page_size, size| Span::of_wasm_pages(start, count, page_size, size))
    }

    /// Like [`clear_pages`](Self::clear_pages), with a strategy for this call.
    ///
    /// # Errors
    ///
    /// Those of [`clear_pages`](Self::clear_pages).
    pub fn clear_pages_with(
        &self,
        ctx: impl AsContextMut,
        start: u64,
        count: u64,
        strategy: Strategy,
    ) -> Result<Cleared, ClearError> {
        self.clear(ctx, Some(strategy), |page_size, size| Span::of_wasm_pages(start, count, page_size, size))
    }

    /// Clears bytes `addr..addr + len`, as the instruction `memory.discard` does. Both must be
    /// multiples of the page size.
    ///
    /// # Errors
    ///
    /// - [`ClearError::Unaligned`] if one of them is not a multiple of the page size.
    /// - [`ClearError::OutOfBounds`] if the range ends past the memory.
    ///
    /// Nothing has changed then.
    pub fn discard(&self, ctx: impl AsContextMut, addr: u64, len: u64) -> Result<Cleared, ClearError> {
        self.clear(ctx, None, |page_size, size| Span::of_bytes(addr, len, page_size, size))
    }

    /// Zeroes bytes `addr..addr + len`, which need no alignment, and releases the frames of all
    /// pages that lie wholly inside the range.
    ///
    /// A page here is one of 4 KiB, not a Wasm page. Bytes at the ends of the range that share a
    /// page with bytes outside it are zeroed in place, and their frames are retained. In all other
    /// respects the call is like [`clear_pages`](Self::clear_pages). An allocator that serves a
    /// guest may use it for freed blocks.
    ///
    /// # Errors
    ///
    /// [`ClearError::OutOfBounds`] if the range ends past the memory. Nothing has changed then.
    /// With valid arguments the call cannot fail.
    ///
    /// # Examples
    ///
    /// ```
    /// # use palimpsest_engine::{Config, Engine, Fixed, Memory, MemoryType, Store};
    /// # use std::{boxed::Box, mem::MaybeUninit};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bytes = Box::leak(vec![MaybeUninit::uninit(); 1 << 20].into_boxed_slice());
    /// # let engine = Engine::new(Config::default(), Fixed::new(bytes))?;
    /// let mut store = Store::new(&engine, ());
    /// let memory = Memory::new(&mut store, MemoryType::new(1, None))?;
    /// memory.write(&mut store, 4_090, b"secret, kept")?;
    /// memory.release(&mut store, 4_090, 6)?;
    /// assert_eq!(&memory.data(&store)[4_090..4_102], b"\0\0\0\0\0\0, kept");
    /// # Ok(())
    /// # }
    /// ```
    pub fn release(&self, ctx: impl AsContextMut, addr: u64, len: u64) -> Result<Cleared, ClearError> {
        self.clear(ctx, None, |_, size| Span::of_any_bytes(addr, len, size))
    }

    /// Like [`release`](Self::release), with a strategy for this call.
    ///
    /// # Errors
    ///
    /// Those of [`release`](Self::release).
    pub fn release_with(
        &self,
        ctx: impl AsContextMut,
        addr: u64,
        len: u64,
        strategy: Strategy,
    ) -> Result<Cleared, ClearError> {
        self.clear(ctx, Some(strategy), |_, size| Span::of_any_bytes(addr, len, size))
    }

    /// Like [`release`](Self::release), but clears only the start of the range if that has many
    /// frames: about 8,192 that are released, or 512 that are zeroed. Returns how many bytes were
    /// cleared as well.
    ///
    /// A host function that clears a long range may return [`Pause::again`](crate::Pause::again)
    /// between two parts.
    ///
    /// # Errors
    ///
    /// Those of [`release`](Self::release).
    pub fn release_part(
        &self,
        mut ctx: impl AsContextMut,
        addr: u64,
        len: u64,
    ) -> Result<(Cleared, u64), ClearError> {
        let ctx = ctx.as_context_mut().into_wasmi();
        let (record, size) = MemoryRecord::with_size(*self, &ctx);
        let span = Span::of_any_bytes(addr, len, size)?;
        let strategy = record.strategy();
        let part = record.region().with(|region| region.first_piece(span, strategy));
        Ok((clear(ctx, &record, part, strategy), part.end() - part.start()))
    }

    /// Clears what `span` returns for the page size and the size of the memory, by `strategy` or
    /// else by the memory's own.
    fn clear(
        self,
        mut ctx: impl AsContextMut,
        strategy: Option<Strategy>,
        span: impl FnOnce(WasmPageSize, u64) -> Result<Span, ClearError>,
    ) -> Result<Cleared, ClearError> {
        let ctx = ctx.as_context_mut().into_wasmi();
        let (record, size) = MemoryRecord::with_size(self, &ctx);
        let span = span(record.ty().page_size(), size)?;
        let strategy = strategy.unwrap_or_else(|| record.strategy());
        Ok(clear(ctx, &record, span, strategy))
    }

    /// Sets the strategy of later clears: those of the guest, and those of the host that pass no
    /// strategy.
    pub fn set_strategy(&self, ctx: impl AsContextMut, strategy: Strategy) {
        MemoryRecord::of(*self, ctx.as_context().into_wasmi()).set_strategy(strategy);
    }

    /// Clears Wasm pages `start..start + count`, and returns them as a slice that the embedder may
    /// use until it drops it.
    ///
    /// Only memories of a [`Fixed`](crate::Fixed) backing lend pages. Nothing guards them, so the
    /// store cannot be called meanwhile: that fails with [`EntryError::Lent`](crate::EntryError).
    /// Afterwards the pages are the memory's again, and read as zero.
    ///
    /// # Errors
    ///
    /// See [`LendError`].
    ///
    /// # Examples
    ///
    /// ```
    /// # use palimpsest_engine::{Config, Engine, Fixed, Memory, MemoryType, Store};
    /// # use std::{boxed::Box, mem::MaybeUninit};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bytes = Box::leak(vec![MaybeUninit::uninit(); 1 << 20].into_boxed_slice());
    /// # let engine = Engine::new(Config::default(), Fixed::new(bytes))?;
    /// let mut store = Store::new(&engine, ());
    /// let memory = Memory::new(&mut store, MemoryType::new(3, None))?;
    /// let mut frame_buffer = memory.lend_pages(&mut store, 1, 2)?;
    /// frame_buffer.fill(0xff);
    /// assert_eq!(memory.data(&store).len(), 65_536, "the bytes before the lent ones");
    /// drop(frame_buffer);
    /// assert!(memory.data(&store).iter().all(|byte| *byte == 0));
    /// assert_eq!(memory.data(&store).len(), 3 * 65_536);
    /// # Ok(())
    /// # }
    /// ```
    pub fn lend_pages(&self, mut ctx: impl AsContextMut, start: u64, count: u64) -> Result<Lent, LendError> {
        let ctx = ctx.as_context_mut().into_wasmi();
        let (record, size) = MemoryRecord::with_size(*self, &ctx);
        let span = Span::of_wasm_pages(start, count, record.ty().page_size(), size)?;
        lend(ctx, &record, span, |region, live| region.lend(live))
    }

    /// Clears Wasm pages `start..start + count`, and lends them for hardware, which uses them while
    /// the guest runs: as the buffer of a direct memory access (DMA), for example.
    ///
    /// While a call of the store runs, the [`PageGuard`](crate::PageGuard) of the
    /// [`Fixed`](crate::Fixed) backing closes the pages. A guest that touches them ends with
    /// [`LentPageTouched`](crate::LentPageTouched), and the access has no effect.
    ///
    /// # Errors
    ///
    /// See [`LendError`].
    pub fn lend_guarded(
        &self,
        mut ctx: impl AsContextMut,
        start: u64,
        count: u64,
    ) -> Result<GuardedPages, LendError> {
        let ctx = ctx.as_context_mut().into_wasmi();
        let (record, size) = MemoryRecord::with_size(*self, &ctx);
        let span = Span::of_wasm_pages(start, count, record.ty().page_size(), size)?;
        lend(ctx, &record, span, |region, live| region.lend_guarded(live))
    }

    /// Returns the bytes, or if some of them are lent and in use, those before the first of these.
    /// Reading a page that was never written takes no data frame.
    ///
    /// The slice is empty if the store is [lost](crate::StoreReport::lost), because the last writes
    /// of its guest were not kept. Only a host function gets the bytes then, until its call ends.
    pub fn data<'a, T: 'static>(&self, ctx: impl Into<StoreContext<'a, T>>) -> &'a [u8] {
        let ctx = ctx.into().into_wasmi();
        if ctx.data().hides_bytes() {
            self.inner.of(ctx.data());
            return &[];
        }
        ctx.data().look();
        match self.first_lent(ctx) {
            None => self.inner.of(ctx.data()).data(ctx),
            Some(end) => bytes_before(self.inner.of(ctx.data()), ctx, end),
        }
    }

    /// Returns the bytes that [`data`](Self::data) returns, exclusively. Writing to a page takes a
    /// frame for it.
    pub fn data_mut<'a, T: 'static>(&self, ctx: impl Into<StoreContextMut<'a, T>>) -> &'a mut [u8] {
        let ctx = ctx.into().into_wasmi();
        if ctx.data().hides_bytes() {
            self.inner.of(ctx.data());
            return &mut [];
        }
        ctx.data().touch();
        match self.first_lent(&ctx) {
            None => self.inner.of(ctx.data()).data_mut(ctx),
            Some(end) => bytes_before_mut(self.inner.of(ctx.data()), ctx, end),
        }
    }

    /// Takes back what is lent. Returns the offset of the first byte that is lent and in use, if
    /// there is one.
    #[inline]
    fn first_lent<T: 'static>(self, ctx: impl wasmi::AsContext<Data = StoreState<T>>) -> Option<u64> {
        let ctx = ctx.as_context();
        if ctx.data().has_loan { self.recall(ctx) } else { None }
    }

    #[cold]
    #[inline(never)]
    fn recall<T: 'static>(self, ctx: wasmi::StoreContext<'_, StoreState<T>>) -> Option<u64> {
        let record = MemoryRecord::of(self, ctx);
        record.region().with(|region| region.recall()).err().map(|lent| lent.start)
    }

    /// Returns the bytes and the embedder's data, both exclusively, for a host function that copies
    /// between the two. If [`data`](Self::data) returns no bytes, neither does this.
    ///
    /// # Panics
    ///
    /// Panics if pages of the memory are lent and in use. They never are while a guest runs.
    pub fn data_and_store_mut<'a, T: 'static>(
        &self,
        ctx: impl Into<StoreContextMut<'a, T>>,
    ) -> (&'a mut [u8], &'a mut T) {
        let ctx = ctx.into().into_wasmi();
        let is_hidden = ctx.data().hides_bytes();
        if !is_hidden {
            ctx.data().touch();
            assert_eq!(
                self.first_lent(&ctx),
                None,
                "pages of the memory are lent; drop what uses them first"
            );
        }
        let (bytes, state) = self.inner.of(ctx.data()).data_and_store_mut(ctx);
        (if is_hidden { &mut [] } else { bytes }, &mut state.data)
    }

    /// Copies `buffer.len()` bytes at `offset` into `buffer`.
    ///
    /// # Errors
    ///
    /// - [`MemoryAccessError::Lost`] if the store is lost and no call of it runs.
    /// - [`MemoryAccessError::OutOfBounds`] if the range ends past the bytes of
    ///   [`data`](Self::data).
    ///
    /// `buffer` has not changed then.
    pub fn read(
        &self,
        ctx: impl AsContext,
        offset: usize,
        buffer: &mut [u8],
    ) -> Result<(), MemoryAccessError> {
        let ctx = ctx.as_context();
        refuse_hidden(ctx.into_wasmi().data())?;
        let bytes = self.data(ctx);
        let len = buffer.len();
        let size = bytes.len();
        let found = bytes.get(offset..).and_then(|bytes| bytes.get(..len));
        buffer.copy_from_slice(found.ok_or(MemoryAccessError::OutOfBounds { offset, len, size })?);
        Ok(())
    }

    /// Copies `bytes` to `offset`.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read). Nothing has changed then.
    pub fn write(
        &self,
        mut ctx: impl AsContextMut,
        offset: usize,
        bytes: &[u8],
    ) -> Result<(), MemoryAccessError> {
        let mut ctx = ctx.as_context_mut();
        refuse_hidden(ctx.as_context().into_wasmi().data())?;
        let memory = self.data_mut(ctx.as_context_mut());
        let len = bytes.len();
        let size = memory.len();
        let target = memory.get_mut(offset..).and_then(|memory| memory.get_mut(..len));
        let written = target.map(|target| target.copy_from_slice(bytes));
        ctx.into_wasmi().data().end_touch();
        written.ok_or(MemoryAccessError::OutOfBounds { offset, len, size })
    }

    /// Returns what the memory holds, in frames.
    pub fn residency(&self, ctx: impl AsContext) -> MemoryResidency {
        MemoryRecord::of(*self, ctx.as_context().into_wasmi()).residency()
    }
}

/// Fails if the embedder may not have the bytes of the store's memories.
///
/// # Errors
///
/// [`MemoryAccessError::Lost`].
#[inline]
fn refuse_hidden<T>(state: &StoreState<T>) -> Result<(), MemoryAccessError> {
    if state.hides_bytes()
        && let Some(lost) = state.lost()
    {
        return Err(lost.into());
    }
    Ok(())
}
