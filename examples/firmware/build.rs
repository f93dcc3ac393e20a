//! Passes the linker script of the machine to the linker, and builds the guests.

use palimpsest_prepare::{Fuel, prepare};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// The link flags of the guest in Rust. With rustc's defaults its stack alone takes 1 MiB.
const GUEST_FLAGS: [&str; 3] =
    ["link-arg=-zstack-size=4096", "link-arg=--initial-memory=65536", "opt-level=s"];

fn main() {
    let manifest = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    let out = PathBuf::from(variable("OUT_DIR"));
    let guests = manifest.join("guests");
    finish(&assemble(&guests.join("answer.wat")), &out.join("answer.guest"));
    finish(&assemble(&guests.join("checks.wat")), &out.join("checks.guest"));
    finish(&assemble(&guests.join("touches.wat")), &out.join("touches.guest"));
    finish(&compile(&guests.join("words.rs"), &out.join("words.wasm")), &out.join("words.guest"));

    let script = manifest.join(match variable("CARGO_CFG_TARGET_ARCH").as_str() {
        "arm" => "memory-arm.x",
        "riscv32" => "memory-riscv32.x",
        // A host checks the build script alone.
        _ => return,
    });
    println!("cargo:rerun-if-changed={}", script.display());
    fs::copy(&script, out.join("memory.x")).unwrap_or_else(|error| panic!("{}: {error}", script.display()));
    println!("cargo:rustc-link-search={}", out.display());
    // The script of the runtime crate, which includes `memory.x`.
    println!("cargo:rustc-link-arg-bins=-Tlink.x");
    // Functions with the same code become one: the validator and the translator have many.
    println!("cargo:rustc-link-arg-bins=--icf=all");
}

/// Returns the guest that is written in the text format.
fn assemble(text: &Path) -> Vec<u8> {
    println!("cargo:rerun-if-changed={}", text.display());
    wat::parse_file(text).unwrap_or_else(|error| panic!("{error}"))
}

/// Returns the guest that is written in Rust.
fn compile(source: &Path, module: &Path) -> Vec<u8> {
    println!("cargo:rerun-if-changed={}", source.display());
    let mut rustc = Command::new(variable("RUSTC"));
    rustc.args(["--edition=2024", "--crate-type=cdylib", "--target=wasm32-unknown-unknown"]);
    rustc.args(["-Clto", "-Cpanic=abort", "-Cstrip=symbols"]);
    rustc.args(GUEST_FLAGS.map(|flag| format!("-C{flag}")));
    let status = rustc.arg("-o").arg(module).arg(source).status();
    assert!(status.is_ok_and(|status| status.success()), "rustc does not compile {}", source.display());
    fs::read(module).unwrap_or_else(|error| panic!("cannot read {}: {error}", module.display()))
}

/// Writes a guest as the program includes it: prepared, if the engine cannot do that.
fn finish(wasm: &[u8], path: &Path) {
    let can_splice = env::var_os("CARGO_FEATURE_SPLICE").is_some();
    let prepared = (!can_splice).then(|| prepare(wasm, Fuel::Unmetered));
    let guest = match &prepared {
        Some(Ok(file)) => file,
        Some(Err(error)) => panic!("cannot prepare {}: {error}", path.display()),
        None => wasm,
    };
    fs::write(path, guest).unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name} for build scripts"))
}
