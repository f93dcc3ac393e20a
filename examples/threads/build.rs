//! Passes the linker script of `embed-minimal` to the linker, and assembles the guest.

use std::{env, fs, path::Path};

fn main() {
    let manifest = env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR for build scripts");
    let manifest = Path::new(&manifest);
    let script = manifest.join("../embed-minimal/kernel.ld");
    println!("cargo:rerun-if-changed={}", script.display());
    // `--no-pie`, because the loader does not relocate: the addresses in the script are final.
    for argument in ["--no-pie", "--build-id=none", &format!("-T{}", script.display())] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }

    let guest = manifest.join("guest.wat");
    println!("cargo:rerun-if-changed={}", guest.display());
    let wasm = wat::parse_file(&guest).unwrap_or_else(|error| panic!("{error}"));
    let out = env::var("OUT_DIR").expect("cargo sets OUT_DIR for build scripts");
    let module = Path::new(&out).join("guest.wasm");
    fs::write(&module, wasm).unwrap_or_else(|error| panic!("cannot write {}: {error}", module.display()));
}
