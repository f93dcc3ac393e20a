//! Modules and instances to measure with.
//!
//! Each module has its own engine, whose limits are larger than any module of a benchmark needs.

use kernel_demo::Machine;
use palimpsest_engine::{
    Config, Engine, Images, Instance, Limits, Linker, Memory, MemoryResidency, Module, Paged, Store,
    WasmParams, WasmResults,
};
use palimpsest_heap::Heap;

use crate::{BenchError, doing};

/// The bytes of a guest in `bench/kernel/guests`.
macro_rules! guest {
    ($name:literal) => {
        include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".wasm"))
    };
}
pub(crate) use guest;

/// An engine of this machine.
pub(crate) fn engine(machine: &Machine) -> Result<Engine, BenchError> {
    engine_with(machine, Images::default())
}

fn engine_with(machine: &Machine, images: Images) -> Result<Engine, BenchError> {
    let config = config().images(images);
    doing("making an engine", Engine::new(config, Paged::new(machine.space())))
}

/// The configuration of the engines, which takes large modules.
pub(crate) fn config() -> Config {
    let mut limits = Limits::default();
    limits.module_bytes = 64 << 20;
    limits.header_bytes = 16 << 20;
    limits.code_bytes = 64 << 20;
    limits.function_bytes = 4 << 20;
    limits.section_entries = 1 << 20;
    limits.module_entries = 1 << 22;
    limits.store_entries = 1 << 24;
    limits.element_items = 1 << 20;
    limits.resident_frames = Some(u64::MAX);
    limits.image_frames = u64::MAX;
    Config::default().limits(limits)
}

/// A module that can be instantiated again and again.
pub(crate) struct Loaded<T: 'static = ()> {
    module: Module,
    linker: Linker<T>,
}

impl Loaded {
    /// Loads `wasm` with its own engine, and defines the function that the Wasm kernels import.
    pub(crate) fn new(machine: &Machine, wasm: &[u8]) -> Result<Self, BenchError> {
        Self::with_images(machine, wasm, Images::default())
    }

    /// Like [`new`](Self::new), with a choice of how data segments are initialized.
    pub(crate) fn with_images(machine: &Machine, wasm: &[u8], images: Images) -> Result<Self, BenchError> {
        let module = doing("loading", Module::new(&engine_with(machine, images)?, wasm))?;
        let mut linker = Linker::new();
        doing("defining an import", linker.func_wrap("env", "nop", |value: i32| value.wrapping_add(1)))?;
        Ok(Self { module, linker })
    }
}

impl Loaded<Heap> {
    /// Loads `wasm` with its own engine, for instances that allocate with `palimpsest.malloc`.
    pub(crate) fn with_heap(machine: &Machine, wasm: &[u8]) -> Result<Self, BenchError> {
        let module = doing("loading", Module::new(&engine(machine)?, wasm))?;
        let mut linker = Linker::new();
        doing("defining the heap", palimpsest_heap::add_to_linker(&mut linker, |heap| heap))?;
        Ok(Self { module, linker })
    }
}

impl<T: Default + 'static> Loaded<T> {
    /// An empty store for it.
    pub(crate) fn store(&self) -> Store<T> {
        Store::new(self.module.engine(), T::default())
    }

    /// An instance in its own store.
    pub(crate) fn instantiate(&self) -> Result<Running<T>, BenchError> {
        self.instantiate_in(self.store())
    }

    /// An instance in `store`.
    pub(crate) fn instantiate_in(&self, mut store: Store<T>) -> Result<Running<T>, BenchError> {
        let instance = doing("instantiating", self.linker.instantiate(&mut store, &self.module))?;
        Ok(Running { store, instance })
    }
}

/// A store with one instance.
pub(crate) struct Running<T: 'static = ()> {
    pub(crate) store: Store<T>,
    instance: Instance,
}

impl<T: 'static> Running<T> {
    /// Calls the export `name`.
    pub(crate) fn call<P: WasmParams, R: WasmResults>(
        &mut self,
        name: &str,
        params: P,
    ) -> Result<R, BenchError> {
        let func = doing("looking for an export", self.instance.get_typed_func::<P, R>(&self.store, name))?;
        doing("calling a guest", func.call(&mut self.store, params))
    }

    /// The exported memory.
    pub(crate) fn memory(&self) -> Result<Memory, BenchError> {
        let memory = self.instance.get_memory(&self.store, "memory");
        doing("memory", memory.ok_or("the guest exports none"))
    }

    /// The frames of the exported memory.
    pub(crate) fn residency(&self) -> Result<MemoryResidency, BenchError> {
        Ok(self.memory()?.residency(&self.store))
    }
}
