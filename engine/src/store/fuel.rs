//! Fuel for the engine's own work, done for a guest inside a host function.

use wasmi::AsContextMut;

use super::StoreState;
use crate::config::Fuel;

/// Takes `units` of fuel for what was done already. It could not fail, so a guest that cannot pay is left with
/// nothing and stops at its next instruction.
pub(crate) fn charge<T: 'static>(mut ctx: impl AsContextMut<Data = StoreState<T>>, units: u64) {
    let mut ctx = ctx.as_context_mut();
    match ctx.data().engine.config().fuel {
        Fuel::Unmetered => {}
        Fuel::Metered => {
            const METERED: &str = "the engine is metered";
            let left = ctx.get_fuel().expect(METERED);
            ctx.set_fuel(left.saturating_sub(units)).expect(METERED);
        }
    }
}
