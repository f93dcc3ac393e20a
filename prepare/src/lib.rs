//! Prepares Wasm guests on the build machine, for engines that load them with
//! [`Module::from_prepared`].
//!
//! The build script of a kernel or of firmware calls [`prepare`], as `cargo xtask prepare` does. No
//! limits apply here, because the engine that loads a file compares what was counted with its
//! limits. Beyond the proposals of WebAssembly 2.0 without vectors, a file requires those that the
//! guest uses. So engines that leave out vectors or 64-bit memories load it.
//!
//! # Examples
//!
//! ```
//! use palimpsest_engine::Module;
//! use palimpsest_prepare::Fuel;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // In a build script: read the guest, and write the file to `OUT_DIR`.
//! let wasm = wat::parse_str("(module (memory 1))")?;
//! let file = palimpsest_prepare::prepare(&wasm, Fuel::Unmetered)?;
//! assert!(Module::is_prepared(&file));
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

use palimpsest_engine::{Config, Features, Limits, Module};
pub use palimpsest_engine::{Fuel, ModuleError};

/// The proposals of WebAssembly 2.0 without vectors, and those that take no part of the engine.
const COMMON: Features = Features::FLOATS
    .union(Features::MUTABLE_GLOBAL)
    .union(Features::SATURATING_FLOAT_TO_INT)
    .union(Features::SIGN_EXTENSION)
    .union(Features::MULTI_VALUE)
    .union(Features::BULK_MEMORY)
    .union(Features::REFERENCE_TYPES);

/// Prepares the Wasm binary `wasm` for engines with this fuel mode.
///
/// # Errors
///
/// See [`Module::prepare`]. The limits are those of the validator alone.
pub fn prepare(wasm: &[u8], fuel: Fuel) -> Result<Vec<u8>, ModuleError> {
    let config = Config::default().fuel(fuel).limits(unlimited());
    let with = |features| Module::prepare(&config.clone().features(features), wasm);
    if let Ok(file) = with(COMMON) {
        return Ok(file);
    }
    let mut file = with(Features::all())?;
    let mut features = Features::all();
    for feature in Features::all().difference(COMMON).iter() {
        if let Ok(smaller) = with(features - feature) {
            features -= feature;
            file = smaller;
        }
    }
    Ok(file)
}

/// Returns limits that no module reaches.
fn unlimited() -> Limits {
    let mut limits = Limits::default();
    limits.module_bytes = usize::MAX;
    limits.header_bytes = usize::MAX;
    limits.section_entries = u32::MAX;
    limits.module_entries = u32::MAX;
    limits.element_items = u32::MAX;
    limits.code_bytes = usize::MAX;
    limits.function_bytes = usize::MAX;
    limits.nesting = u32::MAX;
    limits.locals = u32::MAX;
    limits.operands = u32::MAX;
    limits.constant_operators = u32::MAX;
    limits.function_work = u32::MAX;
    limits.module_work = u64::MAX;
    limits.memories = usize::MAX;
    limits.tables = usize::MAX;
    limits
}
