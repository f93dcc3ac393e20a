//! Makes images of memories for snapshots.

use alloc::sync::Arc;
use wasmi::StoreContextMut;

use super::{MemoryRecord, region::live_bytes};
use crate::{
    backing::{DataImage, FreezeRefused},
    store::{SnapshotError, StoreState},
    units::Span,
};

/// Makes an image of the memory, whose bytes do not change. Returns its size in bytes as well. The
/// guest does not run, and no page is lent.
///
/// # Errors
///
/// [`SnapshotError::ImageFrames`], [`SnapshotError::OutOfHeap`] or [`SnapshotError::OutOfFrames`].
/// No byte has changed then.
pub(crate) fn freeze<T: 'static>(
    ctx: &mut StoreContextMut<'_, StoreState<T>>,
    record: &MemoryRecord,
) -> Result<(u64, Arc<dyn DataImage>), SnapshotError> {
    ctx.data().touch();
    let frozen = freeze_touched(ctx, record);
    ctx.data().end_touch();
    frozen
}

/// As [`freeze`], on the CPU that uses the memory.
fn freeze_touched<T: 'static>(
    ctx: &mut StoreContextMut<'_, StoreState<T>>,
    record: &MemoryRecord,
) -> Result<(u64, Arc<dyn DataImage>), SnapshotError> {
    let size = record.wasmi().data_size(&*ctx) as u64;
    let needed = record.region().with(|region| region.freezable_frames());
    let engine = &ctx.data().engine;
    let limit = engine.limits().image_frames;
    let charge = engine.images().charge(needed).ok_or(SnapshotError::ImageFrames { needed, limit })?;
    let live = live_bytes(record.wasmi(), ctx, Span::growth(0, size));
    let image = record.region().with(|region| region.freeze(charge, live));
    let image = image.map_err(|refused| match refused {
        FreezeRefused::NoHeap => SnapshotError::OutOfHeap,
        FreezeRefused::OutOfFrames(cause) => SnapshotError::OutOfFrames(cause),
    })?;
    Ok((size, image))
}
