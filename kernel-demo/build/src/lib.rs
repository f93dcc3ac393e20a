//! Build scripts of the kernels that link the library `kernel_demo`.
//!
//! A build script calls [`link`], and [`assemble`] with the folders of guests that the kernel
//! embeds. Nothing is compiled here: no C compiler is needed. Both functions panic if something is
//! wrong, because a panic is how a build script reports an error.
//!
//! ```no_run
//! // build.rs
//! palimpsest_kernel_build::link();
//! palimpsest_kernel_build::assemble(&["guests"]);
//! ```

#![expect(clippy::missing_panics_doc, reason = "see the documentation of the crate")]

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// The linker script, which places the sections where the library's boot code expects them.
const LINKER_SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../kernel.ld");

/// Links all binaries of the calling package as kernels.
pub fn link() {
    println!("cargo:rerun-if-changed={LINKER_SCRIPT}");
    for argument in ["-static", "--build-id=none", "-T", LINKER_SCRIPT] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
}

/// Assembles every `.wat` file of `folders` into `OUT_DIR/<name>.wasm`. The folders are relative to
/// the calling package.
/// Two files must not have the same name.
pub fn assemble(folders: &[&str]) {
    let mut names = BTreeSet::new();
    for folder in folders {
        let sources = variable("CARGO_MANIFEST_DIR").join(folder);
        println!("cargo:rerun-if-changed={}", sources.display());
        let entries = fs::read_dir(&sources)
            .unwrap_or_else(|error| panic!("cannot list {}: {error}", sources.display()));
        for entry in entries {
            let source = entry.expect("the folder was just opened").path();
            if source.extension().is_some_and(|extension| extension == "wat") {
                let name = source.file_stem().expect("a file of a folder has a name").to_owned();
                assemble_file(&source, &variable("OUT_DIR").join(&name).with_extension("wasm"));
                assert!(names.insert(name), "two guests have the name of {}: rename one", source.display());
            }
        }
    }
}

fn assemble_file(source: &Path, module: &Path) {
    let wasm = wat::parse_file(source).unwrap_or_else(|error| panic!("{error}"));
    fs::write(module, wasm).unwrap_or_else(|error| panic!("cannot write {}: {error}", module.display()));
}

/// The path in a variable that cargo sets for build scripts.
fn variable(name: &str) -> PathBuf {
    let value =
        env::var_os(name).unwrap_or_else(|| panic!("{name} is not set: call this from a build script"));
    value.into()
}
