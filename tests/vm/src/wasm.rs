//! Guests in the kernel: each has an engine, a store and an instance in the kernel's address space.
//!
//! They are instantiated and called on [any CPU](errands::anywhere).

use kernel_demo::{Machine, errands};
use palimpsest_engine::{
    Config, Engine, Images, Instance, InstantiateError, Limits, Linker, Memory, MemoryResidency, Module,
    Paged, Store, WasmParams, WasmResults,
};
use palimpsest_paging::Policies;

/// The Wasm binary of `tests/vm/guests/<name>.wat`.
macro_rules! guest {
    ($name:literal) => {
        include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".wasm"))
    };
}
pub(crate) use guest;

/// An instance with everything that belongs to it.
pub(crate) struct Program<T: 'static = ()> {
    pub(crate) store: Store<T>,
    instance: Instance,
}

/// Returns the default configuration, with the [`limits`] of the tests. In a boot with the policies
/// off it has no images, because they are a policy of the engine.
pub(crate) fn config(machine: &Machine) -> Config {
    let images = if machine.space().policies() == Policies::OFF { Images::Off } else { Images::CopyOnWrite };
    Config::default().images(images).limits(limits())
}

/// Returns the default limits, except that a guest may take all frames.
pub(crate) fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.resident_frames = Some(u64::MAX);
    limits
}

/// An engine with this configuration, over the kernel's address space.
pub(crate) fn engine(machine: &Machine, config: Config) -> Engine {
    Engine::new(config, Paged::new(machine.space())).expect("the kernel's build has a flat dispatch")
}

/// Loads `wasm` for `engine`.
pub(crate) fn module(engine: &Engine, wasm: &[u8]) -> Module {
    Module::new(engine, wasm).expect("the guest is valid")
}

impl Program {
    /// Loads and instantiates `wasm` on its own engine.
    pub(crate) fn start(machine: &Machine, wasm: &[u8]) -> Self {
        Self::try_start(machine, wasm).expect("the guest links")
    }

    /// The same, for a guest that cannot be instantiated.
    pub(crate) fn try_start(machine: &Machine, wasm: &[u8]) -> Result<Self, InstantiateError> {
        errands::anywhere(|| {
            let engine = engine(machine, config(machine));
            let module = module(&engine, wasm);
            let mut store = Store::new(&engine, ());
            let instance = Linker::new().instantiate(&mut store, &module)?;
            Ok(Self { store, instance })
        })
    }
}

impl<T: Send + 'static> Program<T> {
    /// An instance in a store that the test has made itself.
    pub(crate) fn new(store: Store<T>, instance: Instance) -> Self {
        Self { store, instance }
    }

    /// Calls the export `name`.
    pub(crate) fn call<P: WasmParams + Send, R: WasmResults + Send>(
        &mut self,
        name: &str,
        params: P,
    ) -> Result<R, palimpsest_engine::Error> {
        let Self { store, instance } = self;
        errands::anywhere(|| instance.get_typed_func::<P, R>(&*store, name)?.call(store, params))
    }

    /// Calls the export `name`, which must return.
    pub(crate) fn must<P: WasmParams + Send, R: WasmResults + Send>(&mut self, name: &str, params: P) -> R {
        self.call(name, params).expect("the guest's function returns")
    }

    /// The memory that the guest exports as `memory`.
    pub(crate) fn memory(&self) -> Memory {
        self.instance.get_memory(&self.store, "memory").expect("the guest exports its memory")
    }

    /// The figures of that memory.
    pub(crate) fn residency(&self) -> MemoryResidency {
        self.memory().residency(&self.store)
    }
}
