//! Passes the linker script of the machine to the linker, and builds the guest.

use palimpsest_prepare::{Fuel, prepare};
use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

/// The linker script of the other example, for the same machine.
const SCRIPT: &str = "../firmware/memory-arm.x";

const GUEST: &str = "src/guest.wat";

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    println!("cargo:rerun-if-changed={GUEST}");
    let wasm = wat::parse_file(GUEST)?;
    let can_splice = env::var_os("CARGO_FEATURE_SPLICE").is_some();
    let guest = if can_splice { wasm } else { prepare(&wasm, Fuel::Unmetered)? };
    fs::write(out.join("guest"), guest)?;

    println!("cargo:rerun-if-changed={SCRIPT}");
    fs::copy(SCRIPT, out.join("memory.x"))?;
    println!("cargo:rustc-link-search={}", out.display());
    // The script of the runtime crate, which includes `memory.x`.
    println!("cargo:rustc-link-arg-bins=-Tlink.x");
    // Functions with the same code become one: the validator and the translator have many.
    println!("cargo:rustc-link-arg-bins=--icf=all");
    Ok(())
}
