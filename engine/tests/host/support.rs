//! Engines over leaked byte slices, and instances of text modules.

use palimpsest_engine::{Config, Engine, Fixed, Instance, Linker, Module, ModuleError, Store};
use std::{boxed::Box, mem::MaybeUninit};

/// Bytes of the slice of each test's engine.
pub(crate) const SLICE_BYTES: usize = 16 << 20;

/// Creates an engine over a new slice, and returns its backing as well.
pub(crate) fn engine_with(config: Config) -> (Engine, Fixed) {
    let bytes = Box::leak(vec![MaybeUninit::uninit(); SLICE_BYTES].into_boxed_slice());
    let backing = Fixed::new(bytes);
    let engine = Engine::new(config, backing.clone()).expect("a test build's dispatch is flat");
    (engine, backing)
}

/// Creates an engine with the default configuration.
pub(crate) fn engine() -> Engine {
    engine_with(Config::default()).0
}

/// Assembles and loads `wat`.
pub(crate) fn module(engine: &Engine, wat: &str) -> Module {
    let wasm = wat::parse_str(wat).expect("the test's text is well-formed");
    Module::new(engine, &wasm).expect("the test's module is valid")
}

/// Loads a copy of `file`, a prepared module. The copy is leaked.
pub(crate) fn load_prepared(engine: &Engine, file: &[u8]) -> Result<Module, ModuleError> {
    let file: &'static [u8] = file.to_vec().leak();
    // SAFETY: the tests prepare their files. Those that change one change what the engine checks
    //         before it trusts the rest.
    unsafe { Module::from_prepared(engine, file) }
}

/// Creates a store with one instance of `wat`, which imports only what the engine provides.
pub(crate) fn instance(wat: &str) -> (Store<()>, Instance) {
    let engine = engine();
    let module = module(&engine, wat);
    let mut store = Store::new(&engine, ());
    let instance = Linker::new().instantiate(&mut store, &module).expect("the test's module links");
    (store, instance)
}
