//! Passes the linker script to the linker, and assembles the guests that are part of the kernel. No
//! C compiler is needed.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// Folders of `guests/` whose `.wat` files become `OUT_DIR/<folder>/<name>.wasm`.
const GUESTS: [&str; 2] = ["tour", "vm-tests"];

fn main() {
    let manifest = env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR for build scripts");
    let script = format!("{manifest}/kernel.ld");
    println!("cargo:rerun-if-changed={script}");
    for argument in ["-static", "--build-id=none", "-T", &script] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets OUT_DIR for build scripts"));
    for folder in GUESTS {
        assemble(&Path::new(&manifest).join("../guests").join(folder), &out.join(folder));
    }
}

/// Assembles every `.wat` file of `sources` into `modules`.
fn assemble(sources: &Path, modules: &Path) {
    println!("cargo:rerun-if-changed={}", sources.display());
    fs::create_dir_all(modules).unwrap_or_else(|error| panic!("cannot make {}: {error}", modules.display()));
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
