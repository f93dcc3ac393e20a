//! Runs a guest in the thread that calls it.

use alloc::boxed::Box;
use core::error::Error;

use palimpsest_engine::{Config, Engine, Linker, Module, Paged, Store, TypedFunc};

use crate::memory::{HEAP, Space};

/// `guest.wat`, assembled by `build.rs`.
const GUEST: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/guest.wasm"));

/// Loads the program of a guest, with an engine for it. This takes more stack than the threads
/// have, so the boot does it.
///
/// # Errors
///
/// Returns the first error of loading it.
pub(crate) fn load(space: &'static Space) -> Result<Module, Box<dyn Error>> {
    let engine = Engine::new(Config::default().heap(&HEAP), Paged::new(space))?;
    Ok(Module::new(&engine, GUEST)?)
}

/// A guest with its store. Dropping it releases everything that it used.
pub(crate) struct Guest {
    store: Store<()>,
    round: TypedFunc<u64, u64>,
}

impl Guest {
    /// Instantiates the guest.
    ///
    /// # Errors
    ///
    /// Returns the first error of linking it.
    pub(crate) fn new(module: &Module) -> Result<Self, Box<dyn Error>> {
        let mut store = Store::new(module.engine(), ());
        let instance = Linker::new().instantiate(&mut store, module)?;
        let round = instance.get_typed_func(&store, "round")?;
        Ok(Self { store, round })
    }

    /// Calls the guest once.
    ///
    /// # Errors
    ///
    /// Fails if the guest traps or is lost.
    pub(crate) fn round(&mut self, seed: u64) -> Result<u64, palimpsest_engine::Error> {
        self.round.call(&mut self.store, seed)
    }
}
