//! Compiles and links C for WASI, through the cache.
//!
//! The key of a cached output contains everything that influences it, for example the compiler's
//! version. The linker's driver is called without an optimisation level, because with one it would
//! run `wasm-opt` on the module wherever that is installed.

use crate::cache::{Cache, Key};
use crate::guest::Guest;
use crate::sources::Sources;
use crate::units::{self, Unit};
use anyhow::{Context, Result, ensure};
use duct::cmd;
use palimpsest_host::clang::Clang;
use palimpsest_host::progress::Progress;
use palimpsest_host::workspace::Workspace;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// Linked into every C program: a stack below the data, and no debug information of the C library.
const LINK_FLAGS: [&str; 3] = ["-Wl,--stack-first", "-Wl,-z,stack-size=1048576", "-Wl,--strip-debug"];

/// The compiler, and where its outputs are kept.
#[derive(Debug)]
pub(crate) struct Compiler<'a> {
    clang: Clang,
    cache: &'a Cache,
}

impl<'a> Compiler<'a> {
    /// Compiles with `clang` into `cache`.
    pub(crate) const fn new(clang: Clang, cache: &'a Cache) -> Self {
        Self { clang, cache }
    }

    /// Compiles a unit unless it is in the cache. Returns its object files.
    ///
    /// # Errors
    /// The compiler fails. It has then printed why on standard error.
    pub(crate) fn compile(&self, unit: &Unit) -> Result<Vec<PathBuf>> {
        let mut arguments = self.clang.base_arguments().to_vec();
        arguments.extend(["-O2", "-c"].map(Into::into));
        arguments.extend(unit.flags.iter().cloned());
        let mut key = self.key(&arguments);
        for file in unit.files.iter().chain(&unit.headers) {
            key.add_file(file)?;
        }
        arguments.extend(unit.files.iter().map(Into::into));
        let directory = self.cache.entry(unit.name, &key, |directory| {
            let _progress = Progress::announced(&format!("compiling {}", unit.name));
            run("clang", &arguments, directory)
        })?;
        let objects = unit.files.iter().map(|file| {
            directory.join(file.file_stem().expect("a source file has a name")).with_extension("o")
        });
        Ok(objects.collect())
    }

    /// Compiles and links a C program with the objects of its allocator, unless it is in the cache.
    /// Returns the module's bytes.
    ///
    /// # Errors
    /// The compiler or the linker fails. It has then printed why on standard error.
    pub(crate) fn link(
        &self,
        guest: Guest,
        workspace: &Workspace,
        sources: &Sources,
        drop_in: Option<Vec<PathBuf>>,
    ) -> Result<Vec<u8>> {
        let mut objects = Vec::new();
        for unit in units::units(guest.program, workspace, sources)? {
            objects.extend(self.compile(&unit)?);
        }
        objects.extend(drop_in.into_iter().flatten());
        let mut arguments = self.clang.base_arguments().to_vec();
        arguments.extend(objects.into_iter().map(Into::into));
        arguments.extend(LINK_FLAGS.map(Into::into));
        arguments.extend(guest.program.link_flags().iter().map(Into::into));
        arguments.extend(guest.allocator.linker_flags().iter().map(|flag| format!("-Wl,{flag}").into()));
        arguments.extend(["-o", "guest.wasm"].map(Into::into));
        // The names of the objects' directories contain the keys of their contents.
        let key = self.key(&arguments);
        let directory =
            self.cache.entry(&guest.to_string(), &key, |directory| run("clang", &arguments, directory))?;
        fs::read(directory.join("guest.wasm")).context("the linked module cannot be read")
    }

    fn key(&self, arguments: &[OsString]) -> Key {
        let mut key = Key::default();
        key.add(self.clang.version());
        arguments.iter().for_each(|argument| key.add(argument.as_encoded_bytes()));
        key
    }
}

fn run(program: &str, arguments: &[OsString], directory: &Path) -> Result<()> {
    let output = cmd(program, arguments)
        .dir(directory)
        .stdout_to_stderr()
        .unchecked()
        .run()
        .with_context(|| format!("cannot start {program}"))?;
    ensure!(output.status.success(), "{program} failed: see its messages");
    Ok(())
}
