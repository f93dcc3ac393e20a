//! Makes images of memories for snapshots.

use alloc::sync::Arc;
use wasmi::StoreContextMut;

use super::{MemoryRecord, region::live_bytes};
use crate::{
    backing::{DataImage, FreezeRefused, ImageCharge, LiveBytes, SnapshotBudget},
    engine::Engine,
    store::{SnapshotError, StoreState},
    units::Span,
};

/// Makes images of memories, whose bytes do not change. Passes the size of each in bytes and its
/// image to `take`. The guest does not run, and no page is lent.
///
/// The frames of all of them are charged before the first image is made: to `budget`, or to the
/// engine if there is none.
///
/// # Errors
///
/// - [`SnapshotError::Budget`] or [`SnapshotError::ImageFrames`]. Nothing has changed then.
/// - [`SnapshotError::OutOfHeap`] or [`SnapshotError::OutOfFrames`]. No byte has changed then.
pub(crate) fn freeze<'a, T: 'static>(
    ctx: &mut StoreContextMut<'_, StoreState<T>>,
    records: impl Iterator<Item = &'a MemoryRecord> + Clone,
    budget: Option<&SnapshotBudget>,
    take: impl FnMut(u64, Arc<dyn DataImage>),
) -> Result<(), SnapshotError> {
    ctx.data().touch();
    let frozen = freeze_touched(ctx, records, budget, take);
    ctx.data().end_touch();
    frozen
}

/// As [`freeze`], on the CPU that uses the memories.
fn freeze_touched<'a, T: 'static>(
    ctx: &mut StoreContextMut<'_, StoreState<T>>,
    records: impl Iterator<Item = &'a MemoryRecord> + Clone,
    budget: Option<&SnapshotBudget>,
    mut take: impl FnMut(u64, Arc<dyn DataImage>),
) -> Result<(), SnapshotError> {
    let needed = records.clone().map(|record| freezable_frames(ctx, record)).sum();
    let mut charge = charge(&ctx.data().engine, budget, needed)?;
    for record in records {
        let charge = charge.split_off(freezable_frames(ctx, record));
        let (size, live) = all_bytes(ctx, record);
        let image = record.region().with(|region| region.freeze(charge, live));
        let image = image.map_err(|refused| match refused {
            FreezeRefused::NoHeap => SnapshotError::OutOfHeap,
            FreezeRefused::OutOfFrames(cause) => SnapshotError::OutOfFrames(cause),
        })?;
        take(size, image);
    }
    Ok(())
}

/// Returns the number of frames for which a freeze of the memory needs a charge.
fn freezable_frames<T: 'static>(ctx: &mut StoreContextMut<'_, StoreState<T>>, record: &MemoryRecord) -> u64 {
    let (_, live) = all_bytes(ctx, record);
    record.region().with(|region| region.freezable_frames(live))
}

/// Checks that `budget`, or the engine if there is none, has as many frames left.
///
/// # Errors
///
/// [`SnapshotError::Budget`] or [`SnapshotError::ImageFrames`].
pub(crate) fn require_room(
    engine: &Engine,
    budget: Option<&SnapshotBudget>,
    needed: u64,
) -> Result<(), SnapshotError> {
    charge(engine, budget, needed).map(drop)
}

/// Charges frames to `budget`, or to the engine if there is none.
fn charge(
    engine: &Engine,
    budget: Option<&SnapshotBudget>,
    needed: u64,
) -> Result<ImageCharge, SnapshotError> {
    let Some(budget) = budget else {
        let limit = engine.limits().image_frames;
        return engine.images().charge(needed).ok_or(SnapshotError::ImageFrames { needed, limit });
    };
    budget.charge(needed).ok_or_else(|| {
        let charged = budget.charged_frames();
        let limit = budget.limit_frames();
        SnapshotError::Budget { needed, charged, limit }
    })
}

/// Returns the size of the memory in bytes, and its bytes.
fn all_bytes<'a, T: 'static>(
    ctx: &'a mut StoreContextMut<'_, StoreState<T>>,
    record: &MemoryRecord,
) -> (u64, LiveBytes<'a>) {
    let size = record.wasmi().data_size(&*ctx) as u64;
    (size, live_bytes(record.wasmi(), ctx, Span::growth(0, size)))
}
