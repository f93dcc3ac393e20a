//! The configuration of an engine: Wasm proposals, fuel, limits, policies.
//!
//! The features decide what the validator accepts. wasmi itself always has all of them, because a
//! spliced module uses several tables even if the guest may not.

use core::alloc::GlobalAlloc;

use bitflags::bitflags;
use wasmi::{CustomFuelCosts, OperatorCost};
use wasmparser::WasmFeatures;

use crate::budget::{HeapBudget, HeapMeters, Ledger};

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
    /// Returns the same set without the proposals that the crate's own features leave out.
    pub(crate) fn available(self) -> Self {
        let mut features = self;
        if cfg!(not(feature = "memory64")) {
            features.remove(Self::MEMORY64);
        }
        if cfg!(not(feature = "simd")) {
            features.remove(Self::SIMD | Self::RELAXED_SIMD);
        }
        features
    }

    /// Returns the available ones in the validator's terms.
    #[cfg(feature = "splice")]
    pub(crate) fn to_wasmparser(self) -> WasmFeatures {
        WasmFeatures::from_bits_truncate(self.available().bits())
    }
}

impl Default for Features {
    fn default() -> Self {
        Self::all()
    }
}

/// Bounds on the resources of a guest. The defaults suit a kernel with 32 MiB of heap and a
/// [`HeapBudget`].
///
/// Without a budget, [`for_heap`](Self::for_heap) computes limits under which a hostile guest
/// cannot exceed a given heap. A module can make a validator or an interpreter allocate more than a
/// hundred bytes for each byte of the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of a module: 8 MiB.
    pub module_bytes: usize,
    /// Bytes of a module's sections, without code, data and custom sections: 1 MiB.
    pub header_bytes: usize,
    /// Entries in each section of a module (types, imports, functions, ...): 20,000.
    pub section_entries: u32,
    /// Entries in all sections of a module together: 65,536. An entry takes up to 600 bytes while
    /// the module is loaded, and up to 300 afterwards.
    pub module_entries: u32,
    /// References in all element segments of a module together: 131,072.
    pub element_items: u32,
    /// Bytes of all function bodies of a module together: 8 MiB. A body is translated at its first
    /// call. The translation takes up to 12 bytes for each byte of the body. If the engine has a
    /// [`HeapBudget`], what the body's instructions become at most is set aside when the module is
    /// loaded.
    ///
    /// The code that divides the bulk instructions of a metered guest counts: up to 200 bytes for
    /// each instruction and memory.
    pub code_bytes: usize,
    /// Bytes of one function body: 512 KiB. Translating a function takes up to 72 bytes for each,
    /// which the engine reuses for the next one.
    pub function_bytes: usize,
    /// Depth to which the blocks, loops and ifs of a function body may nest: 4,096.
    pub nesting: u32,
    /// Parameters and locals of one function: 10,000. A larger value has the same effect.
    pub locals: u32,
    /// Operands on the stack of one function: 16,384. A larger value has the same effect.
    pub operands: u32,
    /// Instructions of one constant expression, such as the initial value of a global: 32.
    /// Evaluating one takes native stack for each.
    pub constant_operators: u32,
    /// Operands that the branches, blocks, calls and returns of one function move together, with
    /// its parameters, locals and results: 131,072.
    ///
    /// A call moves its parameters and results, a branch what its label takes, and a block three
    /// times its parameters and results. Translation takes time, and up to 100 bytes of heap, for
    /// each. Of 11 programs, among them CPython, esbuild and yosys, no function moves more than
    /// 14,000.
    pub function_work: u32,
    /// The same for all functions of a module together: 8,388,608. Validation takes time for each.
    pub module_work: u64,
    /// Frames that the images of an engine's modules hold together: 2,048. A module whose images
    /// would exceed it gets none, and its segments are written into each instance. See [`Images`].
    pub image_frames: u64,
    /// Instances in a store: 64.
    pub instances: usize,
    /// Entries in all sections of all instances in a store together: 131,072. An entry takes up to
    /// 400 bytes in each instance.
    pub store_entries: usize,
    /// Memories in a store, and in a module with its imports: 64. A module can have 100 at most.
    pub memories: usize,
    /// Bytes to which one memory may grow: 2 TiB. They are address space, not an allocation.
    pub memory_bytes: u64,
    /// Tables that the instances of a store define, and tables in a module with its imports: 128. A
    /// module can have 100 at most.
    pub tables: usize,
    /// Elements in one table: 131,072.
    pub table_elements: usize,
    /// Elements in all tables of a store together: 262,144. An element has 4 bytes. A table that
    /// grows has room for up to twice its elements, and is moved.
    pub store_table_elements: usize,
    /// Bytes of the kernel heap that a store may take: 16 MiB. They are counted in engines with a
    /// [`HeapBudget`]. A store that exceeds them is lost with
    /// [`OutOfHeap`](crate::OutOfHeap). Loading a module may take as many.
    pub heap_bytes: usize,
    /// Bytes of address space that the memories of a store may reserve together, or `None` for an
    /// eighth of the address space of a `Paged` backing: `None`. A `Fixed` backing has no limit by
    /// default.
    ///
    /// A memory reserves its declared maximum, rounded up to a power of two, if that is left. A
    /// larger memory and one without a declared maximum reserve at most half of what is left, but
    /// always their initial size. A memory grows to what it has reserved. One that reserves nothing
    /// takes a page of 4 KiB.
    pub address_bytes: Option<u64>,
    /// Frames that a store may hold, table frames included, or `None` for three quarters of the
    /// frames that are free when the store is made: `None`. `Some(u64::MAX)` removes the limit. A
    /// store has none by default if the frame source does not count its frames, and on a `Fixed`
    /// backing.
    pub resident_frames: Option<u64>,
    /// Units of fuel that a store of a metered engine starts with: none.
    pub fuel: Option<u64>,
    /// Depth to which calls between the guest's own functions may nest: 10,000. Each takes 32 bytes
    /// of heap, and its values are in `stack_bytes`.
    pub call_depth: usize,
    /// Bytes of heap for the parameters, locals and operands of nested calls: 1,000,000. A value
    /// takes 8 bytes, and a vector 16. A stack that grows is moved to twice its size.
    pub stack_bytes: usize,
    /// Depth to which calls from the host into a guest may nest through host functions: 16. Each
    /// takes about 2.3 KB of native stack, and has a stack on the heap that may reach `call_depth`
    /// and `stack_bytes`.
    pub reentry_depth: u32,
}

impl Limits {
    /// Returns limits for one guest with `bytes` of kernel heap.
    ///
    /// A guest with one engine, one module and one store takes at most `bytes` under these limits.
    /// That includes its loading, its instantiation, and a guest that reaches all its limits at
    /// once. Its memories and their bookkeeping in the backing are not included, nor is what the
    /// embedder gives it: see `WasiBuilder::for_heap` and `HeapOptions::for_heap`.
    ///
    /// The bound holds for hostile modules. Translated code takes about half of it, and other
    /// programs need much less for theirs, so raise single limits for a program that is known. The
    /// smallest heap for which the bound holds is 32 KiB, where a module may have 556 bytes of code
    /// and 15 section entries.
    ///
    /// # Examples
    ///
    /// ```
    /// use palimpsest_engine::{Config, Limits};
    ///
    /// let mut limits = Limits::for_heap(1 << 20);
    /// assert_eq!(limits.code_bytes, 25_952);
    /// limits.resident_frames = Some(256);
    /// let config = Config::default().limits(limits);
    /// ```
    #[must_use]
    pub fn for_heap(bytes: usize) -> Self {
        // The engine, a store, and its first blocks.
        const FIXED_BYTES: usize = (10 << 10) + 256;
        let bytes = bytes.saturating_sub(FIXED_BYTES).max(1 << 12);
        let default = Self::default();
        let count = |per: usize| u32::try_from(bytes / per).unwrap_or(u32::MAX);
        let code_bytes = (bytes / 40).min(default.code_bytes);
        Self {
            // Twice during the load.
            module_bytes: (bytes / 12).min(default.module_bytes),
            header_bytes: (bytes / 32).min(default.header_bytes),
            section_entries: count(1400).min(default.section_entries),
            module_entries: count(1400).min(default.module_entries),
            element_items: count(512).min(default.element_items),
            code_bytes,
            function_bytes: (code_bytes / 5).min(default.function_bytes),
            nesting: count(2048).min(default.nesting),
            operands: count(256).min(default.operands),
            function_work: count(192).min(default.function_work),
            module_work: (bytes as u64 / 96).min(default.module_work),
            instances: (1 + bytes / (16 << 10)).min(default.instances),
            store_entries: (bytes / 1400).min(default.store_entries),
            memories: (1 + bytes / (16 << 10)).min(default.memories),
            tables: (2 + bytes / (16 << 10)).min(default.tables),
            table_elements: (bytes / 256).min(default.table_elements),
            store_table_elements: (bytes / 256).min(default.store_table_elements),
            call_depth: (bytes / 2048).min(default.call_depth),
            stack_bytes: (bytes / 48).min(default.stack_bytes),
            reentry_depth: 2,
            heap_bytes: bytes,
            ..default
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            module_bytes: 8 << 20,
            header_bytes: 1 << 20,
            section_entries: 20_000,
            module_entries: 1 << 16,
            element_items: 1 << 17,
            code_bytes: 8 << 20,
            function_bytes: 512 << 10,
            nesting: 1 << 12,
            locals: 10_000,
            operands: 1 << 14,
            constant_operators: 32,
            function_work: 1 << 17,
            module_work: 1 << 23,
            image_frames: 2_048,
            instances: 64,
            store_entries: 1 << 17,
            memories: 64,
            memory_bytes: 2 << 40,
            tables: 128,
            table_elements: 1 << 17,
            store_table_elements: 1 << 18,
            heap_bytes: 16 << 20,
            address_bytes: None,
            resident_frames: None,
            fuel: None,
            call_depth: 10_000,
            stack_bytes: 1_000_000,
            reentry_depth: 16,
        }
    }
}

/// Fuel that is charged by size. Translating a function costs none. wasmi translates at the first
/// call, where it cannot resume a guest that runs out of fuel, so a slice that ended there would
/// end the guest.
const FUEL_COSTS: CustomFuelCosts =
    CustomFuelCosts { bytes_copied_per_fuel: 64, fuel_per_bytes_translated: 0, fuel_per_bytes_validated: 0 };

/// The price of a `nop`, in units of fuel. The engine inserts some where an instruction moves many
/// values.
pub(crate) const NOP_FUEL: u8 = 16;

/// Bytes that a stack starts with. It doubles when it is full.
const FIRST_STACK_BYTES: usize = 1_000;

/// Whether running guest code uses up fuel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Fuel {
    /// Guest code runs until it returns or traps.
    #[default]
    Unmetered,
    /// Running uses up fuel. See [`Limits::fuel`] and [`Store::set_fuel`](crate::Store::set_fuel).
    Metered,
}

/// How memories get their active data segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Images {
    /// Segments at constant offsets become a copy-on-write image when the module is loaded. Its
    /// instances share the frames of the image until they write to them. An instance takes neither
    /// time nor frames for data that it does not touch.
    #[default]
    CopyOnWrite,
    /// The segments are written into each new instance.
    Off,
}

/// How a clear treats the frames of its pages. After every strategy the pages read as zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// Unmaps the pages and releases the frames. The next touch maps a zeroed frame. For most
    /// kernels.
    #[default]
    Decommit,
    /// Releases the frames, and maps fresh zeroed ones before the call returns. For guests that
    /// must not fault later.
    Recommit,
    /// Zeroes in place and keeps the frames. For tiny ranges, and where a flush is expensive.
    ZeroNow,
    /// Unmaps the pages and marks their frames. [`Store::reclaim`](crate::Store::reclaim) releases
    /// them, and so does a shortage of frames; a touch before that zeroes the frame and maps it
    /// again. For callers that cannot wait.
    Deferred,
}

/// When a memory's frames are charged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Commit {
    /// A frame is charged when a page is first written. If none is left, the store is lost.
    #[default]
    OnTouch,
    /// All frames of the memory's size, table frames included, are charged when the memory is
    /// created or grows. That fails if they cannot be reserved, and a touch cannot fail afterwards.
    Reserved,
}

/// Where the native stack ends on which an engine is called.
///
/// An engine that has this compares what is left of the stack with what its build needs, before it
/// loads or instantiates a module and before each call and resumption, nested ones included. A call
/// that may not fit fails with [`EntryError::StackTooSmall`](crate::EntryError), and nothing has
/// run. What host functions and interrupts take is not included.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub enum NativeStack {
    /// The end is not known, and nothing is checked.
    #[default]
    Unknown,
    /// All calls are on one stack, and this is the address of its lowest byte.
    EndsAt(usize),
    /// Calls are on several stacks. The function returns the address of the lowest byte of the one
    /// that it runs on, for example out of the control block of the thread. It runs at each entry.
    Probe(fn() -> usize),
}

/// The configuration of an [`Engine`](crate::Engine): [`Config::default`], changed by the methods
/// below.
#[derive(Clone, Debug, Default)]
pub struct Config {
    pub(crate) features: Features,
    pub(crate) limits: Limits,
    pub(crate) fuel: Fuel,
    pub(crate) strategy: Strategy,
    pub(crate) images: Images,
    pub(crate) snapshots: bool,
    #[cfg(feature = "splice")]
    pub(crate) exports: Option<&'static [&'static str]>,
    pub(crate) heap: Option<&'static dyn Ledger>,
    pub(crate) stack: NativeStack,
}

impl Config {
    /// Sets the proposals that modules may use.
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

    /// Sets the strategy by which new memories are cleared.
    #[must_use]
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// Sets how memories get their active data segments.
    #[must_use]
    pub fn images(mut self, images: Images) -> Self {
        self.images = images;
        self
    }

    /// Sets whether stores can be snapshotted: `false` by default.
    ///
    /// Modules that are loaded afterwards export their mutable globals to the engine and, if their
    /// tables can change at run time, their tables and the functions that these may refer to. A
    /// `data.drop` or `elem.drop` also sets a flag. The guest's own code is the same otherwise.
    ///
    /// [`Limits::for_heap`] does not include what this takes: up to 400 bytes for each mutable
    /// global and table in each instance.
    #[cfg(feature = "snapshots")]
    #[must_use]
    pub fn snapshots(mut self, snapshots: bool) -> Self {
        self.snapshots = snapshots;
        self
    }

    /// Sets the names of the exports that modules keep. By default they keep all.
    ///
    /// Modules that are loaded or prepared afterwards lose their other exports. Names that a module
    /// does not export have no effect. An export takes about 80 bytes of heap in each instance, so
    /// this is for a library of which the embedder calls few functions, and which has many
    /// instances. A table that is not exported can be changed by the guest only, so its elements
    /// need not be recorded in [snapshots](Self::snapshots).
    ///
    /// # Examples
    ///
    /// ```
    /// # use palimpsest_engine::{Config, Engine, Fixed, Linker, Module, Store};
    /// # use std::{boxed::Box, mem::MaybeUninit};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let bytes = Box::leak(vec![MaybeUninit::uninit(); 1 << 20].into_boxed_slice());
    /// let engine = Engine::new(Config::default().exports(&["serve"]), Fixed::new(bytes))?;
    /// let text = r#"(module (func $f) (export "serve" (func $f)) (export "debug" (func $f)))"#;
    /// let module = Module::new(&engine, &wat::parse_str(text)?)?;
    /// let mut store = Store::new(&engine, ());
    /// let instance = Linker::new().instantiate(&mut store, &module)?;
    /// assert!(instance.get_func(&store, "serve").is_some());
    /// assert!(instance.get_func(&store, "debug").is_none());
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "splice")]
    #[must_use]
    pub fn exports(mut self, names: &'static [&'static str]) -> Self {
        self.exports = Some(names);
        self
    }

    /// Returns whether stores can be snapshotted.
    pub(crate) fn has_snapshots(&self) -> bool {
        cfg!(feature = "snapshots") && self.snapshots
    }

    /// Sets the budget that accounts for the kernel heap, which must be the global allocator.
    ///
    /// Without one, nothing counts what a store takes of the heap: the other limits must bound it.
    #[must_use]
    pub fn heap<A, M>(mut self, budget: &'static HeapBudget<A, M>) -> Self
    where
        A: GlobalAlloc + Sync,
        M: HeapMeters,
    {
        self.heap = Some(budget);
        self
    }

    /// Returns the proposals that the interpreter accepts: all but [`Features::MEMORY_CONTROL`],
    /// whose instruction the splice replaces. [`Self::to_wasmi`] switches on those that wasmi has
    /// off by default.
    #[cfg(feature = "splice")]
    pub(crate) fn wasmi_features() -> WasmFeatures {
        Features::all().difference(Features::MEMORY_CONTROL).to_wasmparser()
    }

    /// Sets where the native stack of the calls ends, so that a call which may not fit is refused.
    #[must_use]
    pub fn stack(mut self, stack: NativeStack) -> Self {
        self.stack = stack;
        self
    }

    /// Returns the configuration of the interpreter.
    pub(crate) fn to_wasmi(&self) -> wasmi::Config {
        let mut config = wasmi::Config::default();
        config.consume_fuel(self.fuel == Fuel::Metered);
        config.fuel_cost(FUEL_COSTS);
        if self.fuel == Fuel::Metered {
            config.operator_cost(OperatorCost { nop: NOP_FUEL, ..OperatorCost::default() });
        }
        config.set_max_recursion_depth(self.limits.call_depth);
        config.set_min_stack_height(self.limits.stack_bytes.min(FIRST_STACK_BYTES));
        config.set_max_stack_height(self.limits.stack_bytes);
        // Validation and custom sections concern the guest's original bytes, which are scanned
        // before the splice.
        config.compilation_mode(wasmi::CompilationMode::Lazy);
        config.ignore_custom_sections(true);
        accept_all(&mut config);
        config
    }
}

/// Switches on the proposals that wasmi has off by default. Without its validator it has no such
/// switches, and refuses none of them.
pub(crate) fn accept_all(config: &mut wasmi::Config) {
    #[cfg(feature = "lazy-validation")]
    config.wasm_custom_page_sizes(true).wasm_wide_arithmetic(true);
    #[cfg(not(feature = "lazy-validation"))]
    let _ = config;
}
