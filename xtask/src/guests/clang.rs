//! clang as a cross compiler for `wasm32-wasi`, with its linker and its C library.
//!
//! Owns where they are looked for and how they are called. Everything that has an influence on the output, the
//! compiler's version among it, is in the key that the output is cached under. No optimiser runs on the linked
//! module: clang would start one at link time where it happens to be installed.

use super::Guest;
use super::cache::{Cache, Key};
use super::recipe::{self, Unit};
use super::sources::Sources;
use crate::packages::answers;
use crate::workspace::Workspace;
use anyhow::{Context, Result, ensure};
use duct::cmd;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

const TARGET: &str = "--target=wasm32-wasi";

/// Where distributions put wasi-libc if it is not where their clang looks by itself: Arch, Fedora, Homebrew on
/// ARM and on Intel.
const SYSROOTS: [&str; 4] = [
    "/usr/share/wasi-sysroot",
    "/usr/wasm32-wasi",
    "/opt/homebrew/share/wasi-sysroot",
    "/usr/local/share/wasi-sysroot",
];

/// Linked into every C program: a stack below the data, and no debug information of the C library.
const LINK_FLAGS: [&str; 3] = ["-Wl,--stack-first", "-Wl,-z,stack-size=1048576", "-Wl,--strip-debug"];

/// The compiler, known to find a C library.
#[derive(Debug)]
pub(crate) struct Clang {
    /// Its target, and its `--sysroot` if it needs one
    base: Vec<OsString>,
    version: String,
}

impl Clang {
    /// The compiler of this machine, if it, its linker, the C library and the compiler's own library are here.
    /// `WASI_SYSROOT` names another place of the C library.
    pub(crate) fn find() -> Option<Self> {
        if !answers(&["wasm-ld", "--version"]) {
            return None;
        }
        let version = cmd!("clang", "--version").stderr_null().read().ok()?;
        let named = env::var_os("WASI_SYSROOT");
        let places = named.into_iter().chain(SYSROOTS.map(Into::into)).map(Some);
        [None].into_iter().chain(places).find_map(|sysroot| {
            let base: Vec<_> = [TARGET.into()].into_iter().chain(sysroot.as_deref().map(option)).collect();
            has_libraries(&base).then(|| Self { base, version: version.clone() })
        })
    }

    /// Compiles a unit, or finds it compiled. Answers with its object files.
    ///
    /// # Errors
    /// The compiler fails; it has then said why on standard error.
    pub(super) fn compile(&self, unit: &Unit, cache: &Cache) -> Result<Vec<PathBuf>> {
        let mut arguments = self.base.clone();
        arguments.extend(["-O2", "-c"].map(Into::into));
        arguments.extend(unit.flags.iter().cloned());
        let mut key = self.key(&arguments);
        for file in unit.files.iter().chain(&unit.headers) {
            key.add_file(file)?;
        }
        arguments.extend(unit.files.iter().map(Into::into));
        let directory = cache.entry(unit.name, &key, |directory| {
            eprintln!("compiling {}", unit.name);
            run("clang", &arguments, directory)
        })?;
        let objects = unit.files.iter().map(|file| {
            directory.join(file.file_stem().expect("a source file has a name")).with_extension("o")
        });
        Ok(objects.collect())
    }

    /// Compiles and links a C program with the objects of its allocator, or finds it linked. Answers with the
    /// module's bytes.
    ///
    /// # Errors
    /// The compiler or the linker fails; it has then said why on standard error.
    pub(super) fn link(
        &self,
        guest: Guest,
        workspace: &Workspace,
        sources: &Sources,
        drop_in: Option<Vec<PathBuf>>,
        cache: &Cache,
    ) -> Result<Vec<u8>> {
        let mut objects = Vec::new();
        for unit in recipe::units(guest.program, workspace, sources)? {
            objects.extend(self.compile(&unit, cache)?);
        }
        objects.extend(drop_in.into_iter().flatten());
        let mut arguments = self.base.clone();
        arguments.extend(objects.into_iter().map(Into::into));
        arguments.extend(LINK_FLAGS.map(Into::into));
        arguments.extend(guest.program.link_flags().iter().map(Into::into));
        arguments.extend(guest.allocator.linker_flags().iter().map(|flag| format!("-Wl,{flag}").into()));
        arguments.extend(["-o", "guest.wasm"].map(Into::into));
        // The objects' directories are named by what is in them.
        let key = self.key(&arguments);
        let directory =
            cache.entry(&guest.to_string(), &key, |directory| run("clang", &arguments, directory))?;
        fs::read(directory.join("guest.wasm")).context("the linked module cannot be read")
    }

    fn key(&self, arguments: &[OsString]) -> Key {
        let mut key = Key::default();
        key.add(&self.version);
        arguments.iter().for_each(|argument| key.add(argument.as_encoded_bytes()));
        key
    }
}

fn option(sysroot: &OsStr) -> OsString {
    let mut option = OsString::from("--sysroot=");
    option.push(sysroot);
    option
}

/// Whether the compiler finds the C library and its own; where it does not, it answers with the bare name.
fn has_libraries(base: &[OsString]) -> bool {
    ["-print-file-name=libc.a", "-print-libgcc-file-name"].iter().all(|question| {
        let words = base.iter().cloned().chain(["--rtlib=compiler-rt".into(), question.into()]);
        cmd("clang", words).stderr_null().read().is_ok_and(|path| {
            let path = Path::new(&path);
            path.is_absolute() && path.is_file()
        })
    })
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
