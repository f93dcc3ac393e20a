//! Passes the demonstration kernel's linker script to the linker, and assembles the guests.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

fn main() {
    let manifest = env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR for build scripts");
    let manifest = Path::new(&manifest);
    let script = manifest.join("../../kernel-demo/kernel.ld");
    println!("cargo:rerun-if-changed={}", script.display());
    for argument in ["-static", "--build-id=none", &format!("-T{}", script.display())] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
    let out = env::var("OUT_DIR").expect("cargo sets OUT_DIR for build scripts");
    assemble(&manifest.join("guests"), &PathBuf::from(out));
}

/// Assembles every `.wat` file of `sources` into `modules`.
fn assemble(sources: &Path, modules: &Path) {
    println!("cargo:rerun-if-changed={}", sources.display());
    let entries =
        fs::read_dir(sources).unwrap_or_else(|error| panic!("cannot list {}: {error}", sources.display()));
    for entry in entries {
        let source = entry.expect("the folder was just opened").path();
        let wasm = wat::parse_file(&source).unwrap_or_else(|error| panic!("{error}"));
        let name = source.file_stem().expect("a file of a folder has a name");
        let module = modules.join(name).with_extension("wasm");
        fs::write(&module, wasm).unwrap_or_else(|error| panic!("cannot write {}: {error}", module.display()));
    }
}
