//! Rust guests: programs for `wasm32-wasip1`, and functions for `wasm32-unknown-unknown`.
//!
//! The standard library calls the C library's `malloc`, so an unchanged program gets another
//! allocator by linking another `malloc`. The C library is linked before any `link-arg`. Therefore
//! the replacement is passed as a static library, which is linked first and as a whole. Each
//! allocator has its own output directory, because otherwise builds would evict each other's cached
//! results.

use crate::cache::{Cache, Key};
use crate::guest::Guest;
use anyhow::{Context, Result, ensure};
use ar::Builder;
use palimpsest_host::setup::{WASI_TARGET, WASM_TARGET};
use palimpsest_host::workspace::Workspace;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// The name of the static library, without `lib` and `.a`.
const LIBRARY: &str = "allocator";

/// A package whose library is a module without imports.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Functions {
    /// The package's name
    pub(crate) package: &'static str,
    /// The library's name
    pub(crate) library: &'static str,
}

/// Fetches the crates that the packages need for `target`. Only then a failed build is the fault of
/// the program, and not of the network.
///
/// # Errors
/// A crate cannot be fetched.
pub(crate) fn fetch(workspace: &Workspace, target: &str) -> Result<()> {
    let fetch = workspace.cargo(["fetch", "--quiet", "--locked", "--target", target], &[]);
    fetch.run().context("crates cannot be fetched from crates.io: a network is needed once")?;
    Ok(())
}

/// Builds a package's only program with the objects of its allocator. Returns the module's bytes.
///
/// # Errors
/// Cargo fails, and has then printed why on standard error; or a file cannot be written or read.
pub(crate) fn build(
    workspace: &Workspace,
    guest: Guest,
    package: &str,
    drop_in: Option<Vec<PathBuf>>,
    cache: &Cache,
) -> Result<Vec<u8>> {
    let directory = cache.cargo_directory(guest.allocator.name());
    let name = guest.program.name();
    let words = ["rustc", "--quiet", "--locked", "--release", "--package", package, "--bin", name];
    let mut arguments: Vec<OsString> = words.map(Into::into).into();
    arguments.extend(["--target", WASI_TARGET, "--target-dir"].map(Into::into));
    arguments.extend([directory.clone().into(), "--".into(), "-Cstrip=debuginfo".into()]);
    if let Some(objects) = drop_in {
        arguments.extend(["-L".into(), archive(guest, &objects, cache)?.into_os_string()]);
        arguments.extend(["-l".into(), format!("static:+whole-archive={LIBRARY}").into()]);
    }
    for flag in guest.allocator.linker_flags() {
        arguments.push(format!("-Clink-arg={flag}").into());
    }
    compile(workspace, arguments, &directory.join(WASI_TARGET).join("release").join(name))
}

/// Builds a package's library, which exports functions and imports nothing. Returns the module's
/// bytes.
///
/// # Errors
/// Cargo fails, and has then printed why on standard error; or a file cannot be read.
pub(crate) fn build_functions(workspace: &Workspace, functions: Functions, cache: &Cache) -> Result<Vec<u8>> {
    let directory = cache.cargo_directory("functions");
    let words = ["rustc", "--quiet", "--locked", "--release", "--package", functions.package, "--lib"];
    let mut arguments: Vec<OsString> = words.map(Into::into).into();
    arguments.extend(["--target", WASM_TARGET, "--target-dir"].map(Into::into));
    arguments.extend([directory.clone().into(), "--".into(), "-Cstrip=debuginfo".into()]);
    compile(workspace, arguments, &directory.join(WASM_TARGET).join("release").join(functions.library))
}

/// Calls cargo and reads the module that it makes. The path is without its extension.
fn compile(workspace: &Workspace, arguments: Vec<OsString>, module: &Path) -> Result<Vec<u8>> {
    let output = workspace.cargo(arguments, &[]).unchecked().run().context("cannot start cargo")?;
    ensure!(output.status.success(), "cargo failed: see its messages");
    let module = module.with_extension("wasm");
    fs::read(&module).with_context(|| format!("cannot read {}", module.display()))
}

/// Writes the objects into a static library. Returns its directory.
fn archive(guest: Guest, objects: &[PathBuf], cache: &Cache) -> Result<PathBuf> {
    let mut key = Key::default();
    for object in objects {
        key.add_file(object)?;
    }
    cache.entry(&format!("{}-library", guest.allocator.name()), &key, |directory| {
        write_archive(&directory.join(format!("lib{LIBRARY}.a")), objects)
            .context("cannot write the allocator's static library")
    })
}

fn write_archive(path: &Path, objects: &[PathBuf]) -> std::io::Result<()> {
    let mut archive = Builder::new(File::create(path)?);
    objects.iter().try_for_each(|object| archive.append_path(object))
}
