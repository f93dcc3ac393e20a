//! The region of a linear memory, anchored in the wasmi store that points into it.

use core::{ptr::NonNull, slice};
use wasmi::{AsContext, ExternRef, StoreContext, StoreContextMut};

use crate::{
    backing::{LinearRegion, LiveBytes, SharedRegion},
    store::StoreState,
    units::Span,
};

/// A region that the engine's record and the wasmi store own together, so that it outlives both.
#[derive(Clone, Debug)]
pub(crate) struct AnchoredRegion(SharedRegion);

impl AnchoredRegion {
    /// Passes the region to `use_region`. The region stays where it is, because a `&mut dyn
    /// LinearRegion` can be neither replaced nor dropped.
    pub(crate) fn with<R>(&self, use_region: impl FnOnce(&mut dyn LinearRegion) -> R) -> R {
        use_region(&mut *self.0.lock())
    }

    /// Makes a wasmi memory of `initial_bytes` over `region`.
    ///
    /// # Errors
    ///
    /// Fails if wasmi refuses the type, or the store's limiter the size. The region is then freed
    /// with the store.
    #[allow(unsafe_code, reason = "wasmi takes a `&'static mut [u8]`, whose real life time is decided here")]
    pub(super) fn with_memory<T: 'static>(
        ctx: &mut StoreContextMut<'_, StoreState<T>>,
        ty: wasmi::MemoryType,
        initial_bytes: u64,
        region: SharedRegion,
    ) -> Result<(wasmi::Memory, Self), wasmi::Error> {
        let anchored = Self(region);
        // wasmi drops host objects together with the store. This one keeps the region alive as long
        // as the memory, even if the store's data is replaced.
        ExternRef::new(&mut *ctx, anchored.clone());
        let mut made = None;
        anchored.with(|region| {
            region.establish(initial_bytes, &mut |mut bytes| {
                // SAFETY: 1. By contract 1 of [`LinearRegion`] the bytes are valid and have no
                //            other user now. Those below the limit have none until the region is
                //            dropped. The anchor above keeps the region alive until the wasmi store
                //            is dropped.
                //         2. wasmi keeps the slice's pointer and length, and makes slices up to
                //            the size of its memory. [`grow`](super::grow()) keeps that size within
                //            the limit.
                //         3. [`LinearRegion::clear`] and [`LinearRegion::attach`] work on the range
                //            that wasmi's own pointer names.
                let slice = unsafe { bytes.as_mut() };
                made = Some(wasmi::Memory::new_static(&mut *ctx, ty, slice));
            });
        });
        let memory = made.expect("`LinearRegion::establish` runs its closure")?;
        Ok((memory, anchored))
    }
}

/// Returns `span` of `memory` by wasmi's own pointer.
///
/// # Panics
///
/// Panics if `span` is not inside the memory. A span is checked against the size of its memory when
/// it is made.
#[allow(unsafe_code, reason = "a slice of the memory would contain bytes that are lent")]
pub(super) fn live_bytes<'a, T: 'static>(
    memory: wasmi::Memory,
    ctx: &'a mut StoreContextMut<'_, StoreState<T>>,
    span: Span,
) -> LiveBytes<'a> {
    assert!(span.end() <= memory.data_size(&*ctx) as u64, "a span is inside its memory");
    let base = NonNull::new(memory.data_ptr(&*ctx)).expect("a slice is not at address 0");
    // SAFETY: The span is inside the memory. `ctx` is borrowed exclusively for `'a`, so that
    //         neither the guest nor the host uses the memory.
    unsafe { LiveBytes::of_span(base, span) }
}

/// Returns the bytes of `memory` before `end`, where lent ones begin.
#[allow(unsafe_code, reason = "a slice of the memory would contain bytes that are lent")]
pub(super) fn bytes_before<'a, T: 'static>(
    memory: wasmi::Memory,
    ctx: StoreContext<'a, StoreState<T>>,
    end: u64,
) -> &'a [u8] {
    let len = memory.data_size(ctx).min(usize::try_from(end).unwrap_or(usize::MAX));
    // SAFETY: wasmi's pointer is valid for the size of the memory. None of the bytes before `end`
    //         is lent, and `ctx` is borrowed for `'a`, so that none is written or lent.
    unsafe { slice::from_raw_parts(memory.data_ptr(ctx), len) }
}

/// As [`bytes_before`], exclusively.
#[allow(unsafe_code, reason = "a slice of the memory would contain bytes that are lent")]
pub(super) fn bytes_before_mut<'a, T: 'static>(
    memory: wasmi::Memory,
    ctx: StoreContextMut<'a, StoreState<T>>,
    end: u64,
) -> &'a mut [u8] {
    let len = memory.data_size(&ctx).min(usize::try_from(end).unwrap_or(usize::MAX));
    // SAFETY: As in [`bytes_before`]. `ctx` is passed by value, and exclusive for `'a`.
    unsafe { slice::from_raw_parts_mut(memory.data_ptr(ctx.as_context()), len) }
}
