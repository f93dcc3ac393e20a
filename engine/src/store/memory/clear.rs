//! Clearing: the one routine for the host call, the guest's imports and the instruction.
//!
//! It takes a checked [`Span`] and allocates nothing, so it cannot fail.

use alloc::sync::Arc;
use wasmi::{AsContextMut, StoreContextMut};

use super::{MemoryRecord, region::live_bytes};
use crate::{
    backing::{Cleared, Guest, LendError, LinearRegion, LiveBytes},
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
    ctx.data().touch();
    let guest = ctx.data().guest();
    let live = live_bytes(record.wasmi(), &mut ctx, span);
    let cleared = record.region().with(|region| region.clear(span, strategy, live, guest));
    let has_loan = record.can_lend() && record_loans(ctx.data_mut(), record);
    // Lent pages were zeroed in place before they were released.
    let release_units = if has_loan { ZEROED_UNITS } else { 1 };
    let units = cleared.frames_released * release_units
        + (cleared.frames_retained + cleared.frames_committed) * ZEROED_UNITS
        + (cleared.tables_released + cleared.tables_waiting) * TABLE_UNITS;
    charge(&mut ctx, units.max(1));
    ctx.data().end_touch();
    cleared
}

/// Records in the store's state what a clear of the memory has lent, or has left to be lent when
/// the guest has stopped. Returns whether pages are lent.
fn record_loans<T>(state: &mut StoreState<T>, record: &MemoryRecord) -> bool {
    let (has_loan, must_settle) = record.region().with(|region| (region.has_loan(), region.must_settle()));
    state.has_loan |= has_loan;
    state.must_settle |= must_settle;
    has_loan
}

/// Passes `span` of the memory to `lend`, which zeroes and lends it.
///
/// # Errors
///
/// See [`LendError`].
pub(crate) fn lend<T: 'static, L>(
    mut ctx: impl AsContextMut<Data = StoreState<T>>,
    record: &Arc<MemoryRecord>,
    span: Span,
    lend: impl FnOnce(&mut dyn LinearRegion, LiveBytes<'_>) -> Result<L, LendError>,
) -> Result<L, LendError> {
    let mut ctx = ctx.as_context_mut();
    if ctx.data().guest() == Guest::Running {
        return Err(LendError::Running);
    }
    let live = live_bytes(record.wasmi(), &mut ctx, span);
    let lent = record.region().with(|region| lend(region, live));
    ctx.data_mut().has_loan |= lent.is_ok();
    lent
}

/// Lends what the guest has cleared while it ran. It has stopped.
pub(crate) fn settle<T: 'static>(ctx: &mut StoreContextMut<'_, StoreState<T>>) {
    ctx.data_mut().must_settle = false;
    for index in 0..ctx.data().memories.len() {
        let record = Arc::clone(&ctx.data().memories[index]);
        let size = record.wasmi().data_size(&*ctx) as u64;
        let live = live_bytes(record.wasmi(), ctx, Span::growth(0, size));
        let has_loan = record.region().with(|region| {
            region.settle(live);
            region.has_loan()
        });
        ctx.data_mut().has_loan |= has_loan;
    }
}
