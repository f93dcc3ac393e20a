//! The engine's record of a linear memory: its type, its region, and wasmi's handle.
//!
//! A memory is created in two steps. An instantiation first reserves all of its regions, which may
//! fail and then leaves nothing in the store. Afterwards it puts wasmi's memories over them.

use alloc::sync::Arc;
use spin::Mutex;
use wasmi::{AsContext, AsContextMut};

use super::{Memory, region::AnchoredRegion};
use crate::{
    backing::{MemoryResidency, Reservation, SharedRegion},
    config::{Limits, Strategy},
    module::MemoryType,
    store::{MemoryError, StoreState, limiter::Growth},
};

/// One linear memory of a store.
#[derive(Debug)]
pub(crate) struct MemoryRecord {
    memory: Memory,
    /// wasmi's handle of the same memory.
    inner: wasmi::Memory,
    ty: MemoryType,
    /// The address of the first byte, which identifies the memory within its store.
    base: usize,
    /// Bytes of reserved address space.
    capacity: u64,
    /// The size that it can reach, in Wasm pages: its type's maximum, or what was reserved.
    maximum_wasm_pages: u64,
    region: AnchoredRegion,
    /// Whether the region ever lends pages.
    can_lend: bool,
    /// The strategy of clears that name none.
    strategy: Mutex<Strategy>,
}

/// A region without a memory. Dropping it releases everything.
#[derive(Debug)]
pub(crate) struct Reserved {
    region: SharedRegion,
    ty: MemoryType,
    wasmi_ty: wasmi::MemoryType,
}

impl Reserved {
    /// Reserves a region for a memory of type `ty`. `pending` are the capacities of other regions
    /// that are reserved and not yet part of the store, in bytes.
    ///
    /// # Errors
    ///
    /// See [`Memory::new`].
    pub(crate) fn new<T: 'static>(
        ctx: impl AsContext<Data = StoreState<T>>,
        ty: MemoryType,
        pending: impl Iterator<Item = u64> + Clone,
    ) -> Result<Self, MemoryError> {
        let ctx = ctx.as_context();
        let limits = ctx.data().limits();
        let wasmi_ty = ty.to_wasmi().map_err(MemoryError::Refused)?;
        let records = &ctx.data().memories;
        if records.len() + pending.clone().count() >= limits.memories {
            return Err(MemoryError::TooMany { limit: limits.memories });
        }
        let capacities = records.iter().map(|record| record.capacity).chain(pending);
        let taken = capacities.map(addresses_of).fold(0, u64::saturating_add);
        let region = ctx.data().arena.reserve(reservation(ty, limits, ctx.data().address_bytes, taken)?)?;
        Ok(Self { region, ty, wasmi_ty })
    }

    /// Returns the number of bytes of address space that are reserved.
    pub(crate) fn capacity(&self) -> u64 {
        self.region.lock().capacity()
    }

    /// Puts a wasmi memory over the region and adds its record to the store.
    ///
    /// # Errors
    ///
    /// Fails if wasmi refuses the type. The region is then released with the store.
    pub(crate) fn establish<T: 'static>(
        self,
        mut ctx: impl AsContextMut<Data = StoreState<T>>,
    ) -> Result<Arc<MemoryRecord>, MemoryError> {
        let mut ctx = ctx.as_context_mut();
        ctx.data().touch();
        ctx.data_mut().limiter.growth = Growth::Open;
        let made = AnchoredRegion::with_memory(&mut ctx, self.wasmi_ty, self.ty.initial_bytes(), self.region);
        ctx.data_mut().limiter.growth = Growth::Closed;
        ctx.data().end_touch();
        let (inner, region) = made.map_err(MemoryError::Refused)?;
        let base = inner.data_ptr(&ctx).addr();
        let memory = Memory::from_wasmi(inner, ctx.data());
        let strategy = Mutex::new(ctx.data().engine.config().strategy);
        let (capacity, can_lend) = region.with(|region| (region.capacity(), region.can_lend()));
        let maximum_wasm_pages = self.ty.page_size().pages_in(capacity.min(self.ty.maximum_bytes()));
        let record = Arc::new(MemoryRecord {
            memory,
            inner,
            ty: self.ty,
            base,
            capacity,
            maximum_wasm_pages,
            region,
            can_lend,
            strategy,
        });
        ctx.data_mut().memories.push(Arc::clone(&record));
        Ok(record)
    }
}

/// Returns how many bytes of addresses a region of `bytes` takes. A paged region has a power of
/// two.
fn addresses_of(bytes: u64) -> u64 {
    bytes.checked_next_power_of_two().unwrap_or(u64::MAX)
}

/// Returns the size of a new region in a store that may reserve `address_bytes` bytes of addresses
/// and has `taken`.
///
/// A memory gets its declared maximum if that is left. All others get at most half of what is left,
/// so that a later memory finds addresses as well.
fn reservation(
    ty: MemoryType,
    limits: &Limits,
    address_bytes: u64,
    taken: u64,
) -> Result<Reservation, MemoryError> {
    let initial = ty.initial_bytes();
    if initial > limits.memory_bytes {
        return Err(MemoryError::TooLarge { bytes: initial, limit: limits.memory_bytes });
    }
    let left = address_bytes.saturating_sub(taken);
    if initial > 0 && addresses_of(initial) > left {
        return Err(MemoryError::NoAddresses { bytes: initial, left, limit: address_bytes });
    }
    let fits = ty.maximum().is_some() && addresses_of(ty.maximum_bytes()) <= left;
    let most = if fits { left } else { (left / 2).checked_ilog2().map_or(0, |log2| 1 << log2) };
    let maximum = ty.maximum_bytes().min(limits.memory_bytes).min(most).max(initial);
    Ok(Reservation { initial, maximum })
}

impl MemoryRecord {
    /// Returns the record of `memory`.
    ///
    /// # Panics
    ///
    /// Panics if `memory` does not belong to the store `ctx`.
    pub(crate) fn of<T: 'static>(memory: Memory, ctx: impl AsContext<Data = StoreState<T>>) -> Arc<Self> {
        Self::with_size(memory, ctx).0
    }

    /// Returns the record of `memory`, and the size of the memory in bytes.
    ///
    /// # Panics
    ///
    /// As [`of`](Self::of).
    pub(crate) fn with_size<T: 'static>(
        memory: Memory,
        ctx: impl AsContext<Data = StoreState<T>>,
    ) -> (Arc<Self>, u64) {
        let ctx = ctx.as_context();
        let memory = memory.wasmi(ctx.data());
        // A slice of the memory would contain bytes that are lent. Without them it is one lookup.
        let (base, size) = if ctx.data().has_loan {
            (memory.data_ptr(ctx).addr(), memory.data_size(ctx))
        } else {
            let bytes = memory.data(ctx);
            (bytes.as_ptr().addr(), bytes.len())
        };
        let record = ctx.data().memories.iter().find(|record| record.base == base);
        let record = record.expect("a `Memory` is used with the store that it belongs to");
        (Arc::clone(record), size as u64)
    }

    pub(crate) fn memory(&self) -> Memory {
        self.memory
    }

    /// Returns wasmi's handle, for use with the store that has this record.
    pub(crate) fn wasmi(&self) -> wasmi::Memory {
        self.inner
    }

    pub(crate) fn ty(&self) -> MemoryType {
        self.ty
    }

    /// Returns the number of records of this store that are older.
    pub(crate) fn ordinal<T>(&self, state: &StoreState<T>) -> usize {
        state.memories.iter().take_while(|other| other.base != self.base).count()
    }

    /// Returns the number of bytes of address space that are reserved.
    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Returns the size of the memory in bytes.
    pub(crate) fn size_bytes<T: 'static>(&self, ctx: impl AsContext<Data = StoreState<T>>) -> u64 {
        self.inner.data_size(ctx) as u64
    }

    pub(crate) fn strategy(&self) -> Strategy {
        *self.strategy.lock()
    }

    pub(crate) fn set_strategy(&self, strategy: Strategy) {
        *self.strategy.lock() = strategy;
    }

    /// Returns the size that the memory can reach, in Wasm pages: its type's maximum, or what was
    /// reserved.
    pub(crate) fn maximum_wasm_pages(&self) -> u64 {
        self.maximum_wasm_pages
    }

    /// Returns whether pages of the memory may ever be lent.
    pub(crate) fn can_lend(&self) -> bool {
        self.can_lend
    }

    pub(crate) fn region(&self) -> &AnchoredRegion {
        &self.region
    }

    pub(crate) fn residency(&self) -> MemoryResidency {
        self.region.with(|region| region.residency())
    }
}
