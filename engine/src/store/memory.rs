//! Linear memories: wasmi's memory over a region of the backing.
//!
//! A [`MemoryRecord`] owns the region; it is anchored in the wasmi store that points into it, so it cannot be
//! dropped before it. [`Memory`] is the handle that embedders hold. Growing is in [`grow`], clearing in
//! [`clear`].

mod clear;
mod grow;
mod record;
mod region;

use wasmi::{AsContext, AsContextMut, StoreContext, StoreContextMut};

pub(crate) use self::{
    clear::clear,
    grow::grow,
    record::{MemoryRecord, Reserved},
};
use super::{GrowError, MemoryAccessError, MemoryError, StoreState};
use crate::{
    backing::{Cleared, MemoryResidency},
    config::Strategy,
    module::MemoryType,
    units::{ClearError, Span},
};

/// A linear memory of a store.
///
/// # Panics
///
/// All methods panic if the memory is not of the store that is passed.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    inner: wasmi::Memory,
}

impl Memory {
    /// A new memory, to be defined in a [`Linker`](crate::Linker) under the name that a module imports.
    ///
    /// # Errors
    ///
    /// - [`MemoryError::TooLarge`], [`MemoryError::TooMany`]: a limit of the store.
    /// - [`MemoryError::Backing`]: the backing has no room.
    /// - [`MemoryError::Refused`]: `ty` contradicts itself.
    pub fn new<T: 'static>(
        mut ctx: impl AsContextMut<Data = StoreState<T>>,
        ty: MemoryType,
    ) -> Result<Self, MemoryError> {
        let reserved = Reserved::new(&ctx, ty, 0)?;
        Ok(reserved.establish(&mut ctx)?.memory())
    }

    pub(crate) fn from_wasmi(inner: wasmi::Memory) -> Self {
        Self { inner }
    }

    pub(crate) fn wasmi(self) -> wasmi::Memory {
        self.inner
    }

    /// The memory's type, with the size it was made with.
    pub fn ty<T: 'static>(&self, ctx: impl AsContext<Data = StoreState<T>>) -> MemoryType {
        MemoryRecord::of(*self, &ctx).ty()
    }

    /// The size in Wasm pages.
    pub fn size<T: 'static>(&self, ctx: impl AsContext<Data = StoreState<T>>) -> u64 {
        self.inner.size(ctx)
    }

    /// The size in bytes.
    pub fn size_bytes<T: 'static>(&self, ctx: impl AsContext<Data = StoreState<T>>) -> u64 {
        self.inner.data_size(ctx) as u64
    }

    /// Grows by `delta` Wasm pages, and returns the size before, in Wasm pages. Takes no frame.
    ///
    /// # Errors
    ///
    /// - [`GrowError::AboveMaximum`]: above the type's maximum or what was reserved.
    /// - [`GrowError::Refused`]: the backing cannot reserve the frames.
    pub fn grow<T: 'static>(
        &self,
        ctx: impl AsContextMut<Data = StoreState<T>>,
        delta: u64,
    ) -> Result<u64, GrowError> {
        let record = MemoryRecord::of(*self, &ctx);
        grow(ctx, &record, delta)
    }

    /// Zeroes Wasm pages `start..start + count` and gives their frames back before it returns.
    ///
    /// Units are pages of the memory's own page size. The size stays, the pages stay usable, and what they
    /// read next is zero. No slice of the memory can be alive meanwhile, since `ctx` is exclusive.
    ///
    /// A memory with pages of one byte can be cleared at any byte: the frames that lie wholly inside the range are
    /// given back, and the bytes at its ends are zeroed in frames that are retained.
    ///
    /// # Errors
    ///
    /// [`ClearError::OutOfBounds`] if the range ends behind the memory; nothing has changed then. With valid
    /// arguments it cannot fail.
    ///
    /// # Examples
    ///
    /// ```
    /// # use palimpsest_engine::{Config, Engine, Fixed, Memory, MemoryType, Store};
    /// # use std::{boxed::Box, mem::MaybeUninit};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bytes = Box::leak(vec![MaybeUninit::uninit(); 1 << 20].into_boxed_slice());
    /// # let engine = Engine::new(Config::default(), Fixed::new(bytes, 1 << 16))?;
    /// let mut store = Store::new(&engine, ());
    /// let memory = Memory::new(&mut store, MemoryType::new(2, None))?;
    /// memory.write(&mut store, 65_536, b"secret")?;
    /// let cleared = memory.clear_pages(&mut store, 1, 1)?;
    /// assert_eq!(memory.data(&store)[65_536..65_542], [0; 6]);
    /// // The fixed backing has nobody to give frames to, and says so.
    /// assert_eq!((cleared.frames_released, cleared.frames_retained), (0, 16));
    /// # Ok(())
    /// # }
    /// ```
    pub fn clear_pages<T: 'static>(
        &self,
        ctx: impl AsContextMut<Data = StoreState<T>>,
        start: u64,
        count: u64,
    ) -> Result<Cleared, ClearError> {
        let record = MemoryRecord::of(*self, &ctx);
        let span = self.span_of(&ctx, &record, start, count)?;
        let strategy = record.strategy();
        Ok(clear(ctx, &record, span, strategy))
    }

    /// Like [`clear_pages`](Self::clear_pages), with a strategy for this call.
    ///
    /// # Errors
    ///
    /// The same.
    pub fn clear_pages_with<T: 'static>(
        &self,
        ctx: impl AsContextMut<Data = StoreState<T>>,
        start: u64,
        count: u64,
        strategy: Strategy,
    ) -> Result<Cleared, ClearError> {
        let record = MemoryRecord::of(*self, &ctx);
        let span = self.span_of(&ctx, &record, start, count)?;
        Ok(clear(ctx, &record, span, strategy))
    }

    /// The bytes of `count` Wasm pages from `start` on, if the memory has them.
    fn span_of<T: 'static>(
        &self,
        ctx: impl AsContext<Data = StoreState<T>>,
        record: &MemoryRecord,
        start: u64,
        count: u64,
    ) -> Result<Span, ClearError> {
        let size = self.inner.data_size(ctx) as u64;
        Span::of_wasm_pages(start, count, record.ty().page_size(), size)
    }

    /// Zeroes bytes `addr..addr + len`, both multiples of the page size, like [`clear_pages`](Self::clear_pages).
    ///
    /// # Errors
    ///
    /// - [`ClearError::Unaligned`] if one of them is not a multiple of the page size.
    /// - [`ClearError::OutOfBounds`] if the range ends behind the memory.
    pub fn discard<T: 'static>(
        &self,
        ctx: impl AsContextMut<Data = StoreState<T>>,
        addr: u64,
        len: u64,
    ) -> Result<Cleared, ClearError> {
        let record = MemoryRecord::of(*self, &ctx);
        let size = self.inner.data_size(&ctx) as u64;
        let span = Span::of_bytes(addr, len, record.ty().page_size(), size)?;
        let strategy = record.strategy();
        Ok(clear(ctx, &record, span, strategy))
    }

    /// Zeroes bytes `addr..addr + len`, which need no alignment, and releases the frames of the pages that lie wholly
    /// inside the range.
    ///
    /// Pages are the 4 KiB of the backing, not Wasm pages. The bytes at the two ends that share a page with bytes
    /// outside the range are zeroed in place, and their frames are retained. Everything else is as for
    /// [`clear_pages`](Self::clear_pages): the size stays, and no slice of the memory can be alive.
    ///
    /// An allocator that serves a guest uses this for blocks that have been freed.
    ///
    /// # Errors
    ///
    /// [`ClearError::OutOfBounds`] if the range ends past the memory; nothing has changed then. With valid
    /// arguments the call cannot fail.
    ///
    /// # Examples
    ///
    /// ```
    /// # use palimpsest_engine::{Config, Engine, Fixed, Memory, MemoryType, Store};
    /// # use std::{boxed::Box, mem::MaybeUninit};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bytes = Box::leak(vec![MaybeUninit::uninit(); 1 << 20].into_boxed_slice());
    /// # let engine = Engine::new(Config::default(), Fixed::new(bytes, 1 << 16))?;
    /// let mut store = Store::new(&engine, ());
    /// let memory = Memory::new(&mut store, MemoryType::new(1, None))?;
    /// memory.write(&mut store, 4_090, b"secret, kept")?;
    /// memory.release(&mut store, 4_090, 6)?;
    /// assert_eq!(&memory.data(&store)[4_090..4_102], b"\0\0\0\0\0\0, kept");
    /// # Ok(())
    /// # }
    /// ```
    pub fn release<T: 'static>(
        &self,
        ctx: impl AsContextMut<Data = StoreState<T>>,
        addr: u64,
        len: u64,
    ) -> Result<Cleared, ClearError> {
        let record = MemoryRecord::of(*self, &ctx);
        let strategy = record.strategy();
        let span = Span::of_any_bytes(addr, len, self.size_bytes(&ctx))?;
        Ok(clear(ctx, &record, span, strategy))
    }

    /// Like [`release`](Self::release), with a strategy for this call.
    ///
    /// # Errors
    ///
    /// Those of [`release`](Self::release).
    pub fn release_with<T: 'static>(
        &self,
        ctx: impl AsContextMut<Data = StoreState<T>>,
        addr: u64,
        len: u64,
        strategy: Strategy,
    ) -> Result<Cleared, ClearError> {
        let record = MemoryRecord::of(*self, &ctx);
        let span = Span::of_any_bytes(addr, len, self.size_bytes(&ctx))?;
        Ok(clear(ctx, &record, span, strategy))
    }

    /// Sets what clears of this memory do from now on: those of the guest, and those of the host that do not say
    /// it themselves.
    pub fn set_strategy<T: 'static>(&self, ctx: impl AsContextMut<Data = StoreState<T>>, strategy: Strategy) {
        MemoryRecord::of(*self, &ctx).set_strategy(strategy);
    }

    /// The bytes. Reading a page that was never written takes no data frame.
    pub fn data<'a, T: 'static>(&self, ctx: impl Into<StoreContext<'a, StoreState<T>>>) -> &'a [u8] {
        self.inner.data(ctx)
    }

    /// The bytes, exclusively. Writing a page commits it.
    pub fn data_mut<'a, T: 'static>(
        &self,
        ctx: impl Into<StoreContextMut<'a, StoreState<T>>>,
    ) -> &'a mut [u8] {
        self.inner.data_mut(ctx)
    }

    /// The bytes and the embedder's data, both exclusively: for a host function that copies between the two.
    pub fn data_and_store_mut<'a, T: 'static>(
        &self,
        ctx: impl Into<StoreContextMut<'a, StoreState<T>>>,
    ) -> (&'a mut [u8], &'a mut T) {
        let (bytes, state) = self.inner.data_and_store_mut(ctx);
        (bytes, state)
    }

    /// Copies `buffer.len()` bytes at `offset` into `buffer`.
    ///
    /// # Errors
    ///
    /// [`MemoryAccessError`] if the range ends past the memory; `buffer` is then as it was.
    pub fn read<T: 'static>(
        &self,
        ctx: impl AsContext<Data = StoreState<T>>,
        offset: usize,
        buffer: &mut [u8],
    ) -> Result<(), MemoryAccessError> {
        let (len, size) = (buffer.len(), self.inner.data_size(&ctx));
        self.inner.read(ctx, offset, buffer).map_err(|_| MemoryAccessError { offset, len, size })
    }

    /// Copies `bytes` to `offset`.
    ///
    /// # Errors
    ///
    /// [`MemoryAccessError`] if the range ends past the memory; nothing has changed then.
    pub fn write<T: 'static>(
        &self,
        ctx: impl AsContextMut<Data = StoreState<T>>,
        offset: usize,
        bytes: &[u8],
    ) -> Result<(), MemoryAccessError> {
        let (len, size) = (bytes.len(), self.inner.data_size(&ctx));
        self.inner.write(ctx, offset, bytes).map_err(|_| MemoryAccessError { offset, len, size })
    }

    /// What the memory holds, in frames.
    pub fn residency<T: 'static>(&self, ctx: impl AsContext<Data = StoreState<T>>) -> MemoryResidency {
        MemoryRecord::of(*self, &ctx).residency()
    }
}
