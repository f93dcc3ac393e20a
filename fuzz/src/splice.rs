//! A guest behaves the same in the engine as in wasmi alone, and in wasmtime: results, traps,
//! memories, globals and tables.
//!
//! The guest is a generated module, which may import from a fixed one that shares its memories,
//! table and globals. Memories and tables have a maximum, which is reached in every engine. Loops
//! and calls count down a global, so the guest ends in every engine after the same instruction. The
//! engine may be metered, run the guest in slices, and start memories as images.

mod misses;
#[cfg(feature = "wasmtime")]
mod other;
mod plain;
mod spliced;
mod trace;

use arbitrary::{Arbitrary, Result, Unstructured};
use std::sync::OnceLock;

use self::trace::Trace;
use crate::backing::backing;

/// The number of loops and calls after which the guest traps.
const STEPS: u32 = 1000;

/// Bytes to which a memory may grow.
const MEMORY_BYTES: u64 = 4 << 16;

/// The module that the guest may import from, under the name `host`.
const HOST: &str = r#"(module
    (memory (export "memory") 1 4)
    (memory (export "memory64") i64 1 4)
    (table (export "table") 4 20 funcref)
    (table (export "externs") 2 8 externref)
    (global (export "i32") (mut i32) (i32.const 7))
    (global (export "i64") (mut i64) (i64.const -1))
    (global (export "f32") f32 (f32.const 1.5))
    (global (export "f64") (mut f64) (f64.const -0))
    (func (export "grow") (param i32) (result i32) (memory.grow 0 (local.get 0)))
    (func (export "grow64") (param i64) (result i64) (memory.grow 1 (local.get 0)))
    (func (export "grow_table") (param i32) (result i32)
        (table.grow 0 (ref.null func) (local.get 0)))
    (func (export "store") (param i32 i32) (i32.store8 (local.get 0) (local.get 1)))
    (func (export "load") (param i64) (result i32) (i32.load8_u 1 (local.get 0)))
    (func (export "swap") (param i32 f64) (result f64 i32) (local.get 1) (local.get 0)))"#;

/// Runs the target.
///
/// # Panics
///
/// Panics if the engines differ, or if memory is not free afterwards.
pub fn run(data: &[u8]) {
    let Ok(guest) = Guest::new(&mut Unstructured::new(data)) else { return };
    let free = backing().free_bytes();
    let spliced = spliced::run(&guest);
    assert_eq!(backing().free_bytes(), free, "memory is in use after the end of the store");
    let Some(spliced) = spliced else { return };
    if !misses::is_mistranslated(&guest.wasm).expect("a generated module is well-formed") {
        compare(&spliced, &plain::run(&guest), "wasmi");
    }
    #[cfg(feature = "wasmtime")]
    if guest.is_portable {
        compare(&spliced, &other::run(&guest), "wasmtime");
    }
}

fn compare(ours: &Trace, theirs: &Trace, name: &str) {
    if let Some(difference) = ours.difference(theirs) {
        panic!("the engine and {name} differ at {difference}");
    }
}

/// A module and how it is run.
#[derive(Debug)]
struct Guest {
    wasm: Vec<u8>,
    /// Whether the results are the same in every engine that conforms to the specification.
    #[cfg_attr(not(feature = "wasmtime"), expect(dead_code, reason = "only wasmtime differs"))]
    is_portable: bool,
    metering: Metering,
    has_images: bool,
    /// Selects the arguments of calls.
    arguments: u64,
}

/// How the engine counts fuel.
#[derive(Clone, Copy, Debug, Arbitrary)]
enum Metering {
    Off,
    On,
    /// The guest runs in slices of this many units, and 20 more.
    Slices(u8),
}

impl Guest {
    fn new(data: &mut Unstructured<'_>) -> Result<Self> {
        let (metering, has_images, is_portable, arguments) = data.arbitrary()?;
        let config: wasm_smith::Config = data.arbitrary()?;
        let config = wasm_smith::Config {
            available_imports: Some(imports().to_vec()),
            // The imports need these proposals.
            bulk_memory_enabled: true,
            canonicalize_nans: is_portable,
            custom_page_sizes_enabled: data.arbitrary()?,
            // Otherwise each division contains one of the `misses`.
            disallow_traps: false,
            exceptions_enabled: false,
            export_everything: true,
            gc_enabled: false,
            max_funcs: 8,
            max_imports: 10,
            max_memories: 4,
            max_memory32_bytes: MEMORY_BYTES,
            max_memory64_bytes: MEMORY_BYTES.into(),
            max_table_elements: 500,
            max_tables: 4,
            memory_max_size_required: true,
            memory64_enabled: true,
            min_funcs: 1,
            multi_value_enabled: true,
            reference_types_enabled: true,
            relaxed_simd_enabled: config.relaxed_simd_enabled && !is_portable,
            shared_everything_threads_enabled: false,
            table_max_size_required: true,
            threads_enabled: false,
            wide_arithmetic_enabled: data.arbitrary()?,
            ..config
        };
        let mut module = wasm_smith::Module::new(config, data)?;
        module.ensure_termination(STEPS).map_err(|_| arbitrary::Error::IncorrectFormat)?;
        let wasm = module.to_bytes();
        Ok(Self { wasm, is_portable, metering, has_images, arguments })
    }
}

/// Returns the module [`HOST`].
fn host() -> &'static [u8] {
    static WASM: OnceLock<Vec<u8>> = OnceLock::new();
    WASM.get_or_init(|| wat::parse_str(HOST).expect("the text is well-formed"))
}

/// Returns a module that imports everything that [`HOST`] exports.
fn imports() -> &'static [u8] {
    static WASM: OnceLock<Vec<u8>> = OnceLock::new();
    WASM.get_or_init(|| {
        let text = r#"(module
            (import "host" "memory" (memory 1 4))
            (import "host" "memory64" (memory i64 1 4))
            (import "host" "table" (table 4 20 funcref))
            (import "host" "externs" (table 2 8 externref))
            (import "host" "i32" (global (mut i32)))
            (import "host" "i64" (global (mut i64)))
            (import "host" "f32" (global f32))
            (import "host" "f64" (global (mut f64)))
            (import "host" "grow" (func (param i32) (result i32)))
            (import "host" "grow64" (func (param i64) (result i64)))
            (import "host" "grow_table" (func (param i32) (result i32)))
            (import "host" "store" (func (param i32 i32)))
            (import "host" "load" (func (param i64) (result i32)))
            (import "host" "swap" (func (param i32 f64) (result f64 i32))))"#;
        wat::parse_str(text).expect("the text is well-formed")
    })
}
