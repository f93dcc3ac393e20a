//! Clearing: the one routine behind the host call, the guest's imports and the instruction.
//!
//! Its argument is a checked [`Span`], so it cannot fail: no allocation, no bounds, only the region's
//! clear and what the fuel costs.

use alloc::sync::Arc;
use wasmi::AsContextMut;

use super::MemoryRecord;
use crate::{
    backing::{Cleared, Strategy},
    live::LiveBytes,
    store::StoreState,
    units::Span,
};

/// Clears `span` of the memory of `record`.
pub(crate) fn clear<T: 'static>(
    mut ctx: impl AsContextMut<Data = StoreState<T>>,
    record: &Arc<MemoryRecord>,
    span: Span,
    strategy: Strategy,
) -> Cleared {
    let mut ctx = ctx.as_context_mut();
    let live = LiveBytes::new(record.memory().wasmi().data_mut(&mut ctx), span);
    let cleared = record.region().with(|region| region.clear(span, strategy, live));
    charge(&mut ctx, cleared);
    cleared
}

/// Charges a clear by the frames it worked on, at least one unit. A clear with valid arguments cannot fail, so
/// a guest that cannot pay is left with nothing and stops at its next instruction.
fn charge<T: 'static>(ctx: &mut impl AsContextMut<Data = StoreState<T>>, cleared: Cleared) {
    let units = (cleared.frames_released + cleared.frames_retained).max(1);
    let mut ctx = ctx.as_context_mut();
    // An engine without fuel answers both with an error, and there is nothing to charge.
    if let Ok(left) = ctx.get_fuel() {
        let _ = ctx.set_fuel(left.saturating_sub(units));
    }
}
