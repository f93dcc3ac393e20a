//! What an embedder chooses for an engine: Wasm proposals, fuel, limits.
//!
//! The features decide what the validator lets through; wasmi itself is always built and set up with all of
//! them, because a spliced module uses several tables whatever the guest may use.

use bitflags::bitflags;
use wasmi::CustomFuelCosts;
use wasmparser::WasmFeatures;

bitflags! {
    /// The Wasm proposals that a module may use. All are on by default.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Features: u32 {
        /// Floating-point instructions and types.
        const FLOATS = WasmFeatures::FLOATS.bits();
        /// Imports and exports of mutable globals.
        const MUTABLE_GLOBAL = WasmFeatures::MUTABLE_GLOBAL.bits();
        /// Non-trapping float-to-int conversions.
        const SATURATING_FLOAT_TO_INT = WasmFeatures::SATURATING_FLOAT_TO_INT.bits();
        /// Sign-extension operators.
        const SIGN_EXTENSION = WasmFeatures::SIGN_EXTENSION.bits();
        /// Several results of functions and blocks.
        const MULTI_VALUE = WasmFeatures::MULTI_VALUE.bits();
        /// Bulk memory and table operations.
        const BULK_MEMORY = WasmFeatures::BULK_MEMORY.bits();
        /// Reference types and several tables.
        const REFERENCE_TYPES = WasmFeatures::REFERENCE_TYPES.union(WasmFeatures::GC_TYPES).bits();
        /// Tail calls.
        const TAIL_CALL = WasmFeatures::TAIL_CALL.bits();
        /// Arithmetic in constant expressions.
        const EXTENDED_CONST = WasmFeatures::EXTENDED_CONST.bits();
        /// Several memories.
        const MULTI_MEMORY = WasmFeatures::MULTI_MEMORY.bits();
        /// 64-bit memories and tables.
        const MEMORY64 = WasmFeatures::MEMORY64.bits();
        /// Memories with pages of one byte.
        const CUSTOM_PAGE_SIZES = WasmFeatures::CUSTOM_PAGE_SIZES.bits();
        /// 128-bit vectors.
        const SIMD = WasmFeatures::SIMD.bits();
        /// 128-bit vectors, relaxed.
        const RELAXED_SIMD = WasmFeatures::RELAXED_SIMD.bits();
        /// 128-bit integer arithmetic.
        const WIDE_ARITHMETIC = WasmFeatures::WIDE_ARITHMETIC.bits();
        /// The instruction `memory.discard` of the memory-control proposal.
        const MEMORY_CONTROL = WasmFeatures::MEMORY_CONTROL.bits();
    }
}

impl Features {
    /// The same set in the validator's terms.
    pub(crate) fn to_wasmparser(self) -> WasmFeatures {
        WasmFeatures::from_bits_truncate(self.bits())
    }
}

impl Default for Features {
    fn default() -> Self {
        Self::all()
    }
}

/// What a guest may use up. Every limit has a default that is safe for a kernel with 32 MiB of heap.
///
/// Those of modules bound the heap that loading takes: a hostile module can make a validator or an interpreter
/// take more than a hundred bytes for each of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of a module: 8 MiB.
    pub module_bytes: usize,
    /// Bytes of a module's sections but for code, data and custom ones: 1 MiB.
    pub header_bytes: usize,
    /// Entries in each of a module's sections (types, imports, functions, ...): 20,000.
    pub section_entries: u32,
    /// References in all element segments of a module together: 131,072.
    pub element_items: u32,
    /// Bytes of one function body: 512 KiB.
    pub function_bytes: usize,
    /// Blocks, loops and ifs inside each other in a function body: 4,096.
    pub nesting: u32,
    /// Instances in a store: 64.
    pub instances: usize,
    /// Memories in a store: 64.
    pub memories: usize,
    /// Bytes that one memory may grow to: 2 TiB. It is address space, not an allocation.
    pub memory_bytes: u64,
    /// Tables in a store: 128, the engine's own included (one for each instance that grows or discards).
    pub tables: usize,
    /// Elements in one table: 131,072.
    pub table_elements: usize,
    /// Frames that a store may hold, table frames included: as many as there are.
    pub resident_frames: Option<u64>,
    /// Fuel that a store starts with, where the engine is metered: none.
    pub fuel: Option<u64>,
    /// Calls of a guest's functions by its own that may be nested: 10,000. They are kept on the heap, in less than
    /// 2 MiB.
    pub call_depth: usize,
    /// Calls from the host into a guest that may be nested through host functions: 16. Each takes about
    /// 2.3 KB of native stack.
    pub reentry_depth: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            module_bytes: 8 << 20,
            header_bytes: 1 << 20,
            section_entries: 20_000,
            element_items: 1 << 17,
            function_bytes: 512 << 10,
            nesting: 1 << 12,
            instances: 64,
            memories: 64,
            memory_bytes: 2 << 40,
            tables: 128,
            table_elements: 1 << 17,
            resident_frames: None,
            fuel: None,
            call_depth: 10_000,
            reentry_depth: 16,
        }
    }
}

/// What is paid for by size. Translating a function costs nothing: wasmi does it at the first call, where running
/// out of fuel could not be resumed, so that a slice which ends there would end the guest.
const FUEL_COSTS: CustomFuelCosts =
    CustomFuelCosts { bytes_copied_per_fuel: 64, fuel_per_bytes_translated: 0, fuel_per_bytes_validated: 0 };

/// Whether running guest code uses up fuel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Fuel {
    /// Guest code runs until it returns or traps.
    #[default]
    Unmetered,
    /// Running uses up fuel; see [`Limits::fuel`] and [`Store::set_fuel`](crate::Store::set_fuel).
    Metered,
}

/// What becomes of active data segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Images {
    /// Those at constant offsets become an image, made once when a module is loaded. Its instances share the image's
    /// frames until they write to them: making one takes no time and no frame for data that it does not touch.
    #[default]
    CopyOnWrite,
    /// Each instance gets a copy of its own, written when it is made.
    Off,
}

/// What becomes of the frames behind cleared pages. Every strategy leaves zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// Unmap and release; the next touch brings a zeroed frame. For most kernels.
    #[default]
    Decommit,
    /// Release, and map fresh zeroed frames before returning. For guests that must not fault later.
    Recommit,
    /// Zero in place and keep the frames. For tiny ranges, and where there is no MMU or a flush is dear.
    ZeroNow,
    /// Unmap and mark; a touch takes the page back as zero, and [`Store::reclaim`](crate::Store::reclaim)
    /// or a shortage of frames releases it. For callers who cannot wait.
    Deferred,
}

/// When a memory's frames are charged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Commit {
    /// A frame is taken when a page is first written. A write that finds none loses the store.
    #[default]
    OnTouch,
    /// Every frame of the size, tables included, is reserved when the memory is made or grows, which fails if
    /// they cannot be reserved. A first touch cannot fail then.
    Reserved,
}

/// How an [`Engine`](crate::Engine) works. Made with [`Config::default`] and the methods below.
#[derive(Clone, Debug, Default)]
pub struct Config {
    pub(crate) features: Features,
    pub(crate) limits: Limits,
    pub(crate) fuel: Fuel,
    pub(crate) strategy: Strategy,
    pub(crate) images: Images,
}

impl Config {
    /// Lets modules use `features` and no other proposal.
    #[must_use]
    pub fn features(mut self, features: Features) -> Self {
        self.features = features;
        self
    }

    /// Sets what a guest may use up.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets whether guest code uses up fuel.
    #[must_use]
    pub fn fuel(mut self, fuel: Fuel) -> Self {
        self.fuel = fuel;
        self
    }

    /// Sets the clearing strategy that memories start with.
    #[must_use]
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// Sets what becomes of active data segments.
    #[must_use]
    pub fn images(mut self, images: Images) -> Self {
        self.images = images;
        self
    }

    /// The configuration of the interpreter below.
    pub(crate) fn to_wasmi(&self) -> wasmi::Config {
        let mut config = wasmi::Config::default();
        config.consume_fuel(self.fuel == Fuel::Metered);
        config.fuel_cost(FUEL_COSTS);
        config.set_max_recursion_depth(self.limits.call_depth);
        // Both are done on the guest's original bytes, before they are spliced.
        config.compilation_mode(wasmi::CompilationMode::Lazy);
        config.ignore_custom_sections(true);
        config.wasm_custom_page_sizes(true);
        config.wasm_wide_arithmetic(true);
        config
    }
}
