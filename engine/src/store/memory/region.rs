//! The region of a linear memory, anchored in the wasmi store that points into it.

use alloc::{boxed::Box, sync::Arc};
use spin::Mutex;
use wasmi::{ExternRef, StoreContextMut};

use crate::{backing::LinearRegion, store::StoreState, units::Span};

/// A region that the engine's record and the wasmi store own together, so that it outlives both.
#[derive(Debug)]
pub(crate) struct AnchoredRegion(Mutex<Box<dyn LinearRegion>>);

impl AnchoredRegion {
    /// Passes the region to `use_region`. The region stays where it is, because a `&mut dyn
    /// LinearRegion` can be neither replaced nor dropped.
    pub(crate) fn with<R>(&self, use_region: impl FnOnce(&mut dyn LinearRegion) -> R) -> R {
        use_region(&mut **self.0.lock())
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
        region: Box<dyn LinearRegion>,
    ) -> Result<(wasmi::Memory, Arc<Self>), wasmi::Error> {
        let mut bytes = region.bytes();
        let anchored = Arc::new(Self(Mutex::new(region)));
        // wasmi drops host objects together with the store. This one keeps the region alive as long
        // as the memory, even if the store's data is replaced.
        ExternRef::new(&mut *ctx, Arc::clone(&anchored));
        // SAFETY: 1. By contract 1 of [`LinearRegion`] the bytes are valid and have no other user
        //            until the region is dropped, and the anchor above keeps the region alive until
        //            the wasmi store is dropped.
        //         2. `region` was passed by value, so no slice of it was made before.
        //            [`LinearRegion::clear`] and [`LinearRegion::attach`] work on the range that
        //            wasmi's own pointer names.
        let slice = unsafe { bytes.as_mut() };
        let mut slice = Some(slice);
        let mut made = None;
        let span = Span::growth(0, initial_bytes);
        anchored.with(|region| {
            region.zero_fill(span, &mut || {
                made = slice.take().map(|slice| wasmi::Memory::new_static(&mut *ctx, ty, slice));
            });
        });
        let memory = made.expect("`LinearRegion::zero_fill` runs its closure")?;
        Ok((memory, anchored))
    }
}
