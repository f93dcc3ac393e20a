//! Fuel for work that the host does for a guest.

use wasmi::AsContextMut;

use super::StoreState;
use crate::config::Fuel;

/// Charges `units` of fuel for work of a bounded amount. It cannot fail: a guest that has fewer
/// units keeps none, and stops at its next instruction that costs fuel. In a task it owes the rest,
/// which the next slices pay before the guest continues.
pub(crate) fn charge<T: 'static>(mut ctx: impl AsContextMut<Data = StoreState<T>>, units: u64) {
    let mut ctx = ctx.as_context_mut();
    match ctx.data().engine.config().fuel {
        Fuel::Unmetered => {}
        Fuel::Metered => {
            const METERED: &str = "the engine is metered";
            let left = ctx.get_fuel().expect(METERED);
            ctx.set_fuel(left.saturating_sub(units)).expect(METERED);
            let state = ctx.data_mut();
            if state.in_task {
                state.owed = state.owed.saturating_add(units.saturating_sub(left));
            }
        }
    }
}
