//! A WASI command: `_start` runs in slices, and its exit code is that of the run.

use palimpsest_engine::{Engine, Fuel, Paged, Store};

use super::{Ended, Guest, Measured, RunError};
use crate::{
    slices::Sliced,
    world::{self, Waiting, World},
};

/// The function that a command exports (WASI application ABI).
const ENTRY: &str = "_start";

pub(super) fn run(guest: Guest<'_>, measured: &mut Measured) -> Result<Ended, RunError> {
    let config = guest.config()?.fuel(Fuel::Metered);
    let engine = Engine::new(config, Paged::new(guest.machine.space()))?;
    let module = guest.load(&engine)?;
    let time = world::start_clock();
    let wasi = world::of(guest, time, Waiting::Pause, &measured.output)?;
    let linker = world::linker(&module)?;
    let mut sliced = Sliced::new(Store::new(&engine, World::new(wasi)), guest.machine.space(), time);
    let ended = sliced.start(&linker, &module, ENTRY);
    sliced.conclude(measured);
    ended.map(|_| Ended::Exited(0)).map_err(|error| RunError::of_call(ENTRY, error))
}
