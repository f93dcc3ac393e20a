//! Clearing: the one routine for the host call, the guest's imports and the instruction.
//!
//! It takes a checked [`Span`] and allocates nothing, so it cannot fail.

use alloc::sync::Arc;
use wasmi::AsContextMut;

use super::MemoryRecord;
use crate::{
    backing::{Cleared, LiveBytes},
    config::Strategy,
    store::{StoreState, charge},
    units::Span,
};

/// The price of a table that a clear empties and releases, in units of fuel. It takes about 2,500
/// instructions of the CPU, and interpreting takes about 10 for each unit.
const TABLE_UNITS: u64 = 256;

/// The price of a frame that a clear keeps and zeroes, or replaces by a zeroed one: a unit for 64
/// bytes, as in `memory.fill`.
const ZEROED_UNITS: u64 = 64;

/// Clears `span` of the memory, and charges fuel by the number of frames and tables that it worked
/// on.
pub(crate) fn clear<T: 'static>(
    mut ctx: impl AsContextMut<Data = StoreState<T>>,
    record: &Arc<MemoryRecord>,
    span: Span,
    strategy: Strategy,
) -> Cleared {
    let mut ctx = ctx.as_context_mut();
    let live = LiveBytes::new(record.wasmi().data_mut(&mut ctx), span);
    let cleared = record.region().with(|region| region.clear(span, strategy, live));
    let units = cleared.frames_released
        + (cleared.frames_retained + cleared.frames_committed) * ZEROED_UNITS
        + cleared.tables_released * TABLE_UNITS;
    charge(&mut ctx, units.max(1));
    cleared
}
