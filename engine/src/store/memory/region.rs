//! The region of a linear memory, anchored in the wasmi store that points into it.

use alloc::{boxed::Box, sync::Arc};
use spin::Mutex;
use wasmi::{ExternRef, StoreContextMut};

use crate::{backing::LinearRegion, store::StoreState};

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
        let anchored = Arc::new(Self(Mutex::new(region)));
        // wasmi drops host objects together with the store. This one keeps the region alive as long
        // as the memory, even if the store's data is replaced.
        ExternRef::new(&mut *ctx, Arc::clone(&anchored));
        let mut made = None;
        anchored.with(|region| {
            region.establish(initial_bytes, &mut |mut bytes| {
                // SAFETY: 1. By contract 1 of [`LinearRegion`] the bytes are valid and have no
                //            other user now. Those below the limit have none until the region is
                //            dropped. The anchor above keeps the region alive until the wasmi store
                //            is dropped.
                //         2. wasmi keeps a pointer and a length of the slice. It makes slices of it
                //            up to the size of its memory, and [`grow`](super::grow()) lets that
                //            size rise no further than the limit.
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
