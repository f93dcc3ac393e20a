//! A guest, and the calls of it.

use alloc::boxed::Box;
use core::error::Error;

use palimpsest_engine::{Config, Engine, Linker, Module, NativeStack, Paged, Store, TypedFunc};

use crate::memory::{HEAP, Space};
use crate::threads;

/// `guest.wat`, assembled by `build.rs`.
const GUEST: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/guest.wasm"));

/// A guest with its store. Dropping it releases everything that it used.
pub(crate) struct Guest {
    store: Store<()>,
    round: TypedFunc<u64, u64>,
}

impl Guest {
    /// Loads and instantiates the guest, with an engine for it. This takes more stack than the
    /// threads have, so the boot does it.
    ///
    /// # Errors
    ///
    /// Returns the first error of loading and linking it.
    pub(crate) fn new(space: &'static Space) -> Result<Self, Box<dyn Error>> {
        let config = Config::default().heap(&HEAP).stack(NativeStack::Probe(threads::stack_end));
        let engine = Engine::new(config, Paged::new(space))?;
        let module = Module::new(&engine, GUEST)?;
        let mut store = Store::new(&engine, ());
        let instance = Linker::new().instantiate(&mut store, &module)?;
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
