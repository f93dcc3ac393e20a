//! The sources of each guest, and the compiler's and linker's flags.
//!
//! This module runs nothing. A [`Unit`] is the result of one call of the compiler. Sources of this
//! repository are compiled with all warnings.

use crate::guest::{Allocator, Program};
use crate::sources::Sources;
use anyhow::{Context, Result};
use palimpsest_host::workspace::Workspace;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// Sources that are compiled by one call, each into its own object file.
#[derive(Debug)]
pub(crate) struct Unit {
    /// Its name in the cache and in messages
    pub(crate) name: &'static str,
    /// The source files; no two have the same name
    pub(crate) files: Vec<PathBuf>,
    /// The headers of this repository that they include. Those of crates need not be listed,
    /// because their path contains their version
    pub(crate) headers: Vec<PathBuf>,
    /// Flags of the compiler, in addition to those of all units
    pub(crate) flags: Vec<OsString>,
}

/// The language of a program.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Language {
    /// C with wasi-libc
    C,
    /// Rust, in the package of this name
    Rust(&'static str),
}

/// Turns off what WASI does not have: threads, dynamic libraries and shared memory.
const SQLITE_FLAGS: [&str; 6] = [
    "-DSQLITE_THREADSAFE=0",
    "-DSQLITE_OMIT_LOAD_EXTENSION",
    "-DSQLITE_OMIT_WAL",
    "-DSQLITE_MAX_MMAP_SIZE=0",
    "-DSQLITE_DEFAULT_MEMSTATUS=0",
    "-D_WASI_EMULATED_GETPID",
];

/// Warnings for the sources of this repository.
const OUR_FLAGS: [&str; 4] = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic"];

impl Program {
    /// The language that it is written in.
    pub(crate) const fn language(self) -> Language {
        match self {
            Self::Churn | Self::Patterns | Self::Compress | Self::CompressServer | Self::Sqlite => {
                Language::C
            }
            Self::CoreMark => Language::Rust("palimpsest-guest-coremark"),
            Self::RustChurn => Language::Rust("palimpsest-guest-churn"),
        }
    }

    /// Flags of the linker's driver, in addition to those of all programs.
    pub(crate) const fn link_flags(self) -> &'static [&'static str] {
        match self {
            Self::Sqlite => &["-lwasi-emulated-getpid"],
            Self::CompressServer => &["-mexec-model=reactor"],
            Self::Churn | Self::Patterns | Self::Compress | Self::CoreMark | Self::RustChurn => &[],
        }
    }
}

impl Allocator {
    /// Flags of the linker itself that belong to the allocator's unit.
    pub(crate) const fn linker_flags(self) -> &'static [&'static str] {
        match self {
            Self::WasiLibc | Self::Mimalloc => &[],
            Self::ClearLarge => &["--wrap=free", "--wrap=realloc"],
            // The host reads it to find the end of the program's own data.
            Self::HostHeap => &["--export=__heap_base"],
        }
    }
}

/// The unit that replaces the C library's allocator, or wraps it.
pub(crate) fn drop_in(allocator: Allocator, workspace: &Workspace, sources: &Sources) -> Option<Unit> {
    match allocator {
        Allocator::WasiLibc => None,
        Allocator::ClearLarge => Some(ours("palimpsest_clear_large", workspace, None)),
        Allocator::HostHeap => Some(ours("palimpsest_malloc", workspace, None)),
        Allocator::Mimalloc => Some(Unit {
            name: "mimalloc",
            files: vec![sources.mimalloc.join("src/static.c")],
            headers: Vec::new(),
            flags: vec!["-DMI_MALLOC_OVERRIDE".into(), include(&sources.mimalloc.join("include"))],
        }),
    }
}

/// The units of a C program, beginning with its own.
///
/// # Errors
/// A library's sources cannot be listed.
pub(crate) fn units(program: Program, workspace: &Workspace, sources: &Sources) -> Result<Vec<Unit>> {
    let name = program.name();
    match program {
        Program::Churn | Program::Patterns => Ok(vec![ours(name, workspace, None)]),
        Program::Compress | Program::CompressServer => {
            Ok(vec![ours(name, workspace, Some(&sources.zstd)), zstd(&sources.zstd)?])
        }
        Program::Sqlite => {
            let library = Unit {
                name: "sqlite3",
                files: vec![sources.sqlite.join("sqlite3.c")],
                headers: Vec::new(),
                flags: SQLITE_FLAGS.map(Into::into).into(),
            };
            Ok(vec![ours(name, workspace, Some(&sources.sqlite)), library])
        }
        Program::CoreMark | Program::RustChurn => Ok(Vec::new()),
    }
}

/// The unit of one file in `guests/c`, with the headers of a library.
fn ours(name: &'static str, workspace: &Workspace, library: Option<&Path>) -> Unit {
    let directory = workspace.root().join("guests/c");
    let mut flags: Vec<OsString> = OUR_FLAGS.map(Into::into).into();
    flags.push(include(&directory.join("include")));
    flags.extend(library.map(include));
    Unit {
        name,
        files: vec![directory.join(name).with_extension("c")],
        headers: vec![directory.join("include/palimpsest.h")],
        flags,
    }
}

/// The library without its old formats, its dictionary builder and its assembly.
fn zstd(directory: &Path) -> Result<Unit> {
    let mut files = Vec::new();
    for part in ["common", "compress", "decompress"] {
        let part = directory.join(part);
        let listed = fs::read_dir(&part).with_context(|| format!("cannot list {}", part.display()))?;
        for entry in listed {
            let path = entry.with_context(|| format!("cannot list {}", part.display()))?.path();
            if path.extension().is_some_and(|extension| extension == "c") {
                files.push(path);
            }
        }
    }
    files.sort();
    let flags = vec!["-DZSTD_DISABLE_ASM".into()];
    Ok(Unit { name: "zstd", files, headers: Vec::new(), flags })
}

fn include(directory: &Path) -> OsString {
    let mut flag = OsString::from("-I");
    flag.push(directory);
    flag
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{env, process};

    /// Directories that do not exist. Only zstd's unit lists its directory.
    fn sources() -> Sources {
        Sources { mimalloc: "mimalloc".into(), sqlite: "sqlite".into(), zstd: "zstd".into() }
    }

    #[test]
    fn every_file_of_ours_is_in_the_repository() -> Result<()> {
        let workspace = Workspace::locate()?;
        let mut units = Vec::new();
        for program in [Program::Churn, Program::Patterns, Program::Sqlite] {
            units.extend(super::units(program, &workspace, &sources())?);
        }
        for allocator in [Allocator::ClearLarge, Allocator::HostHeap, Allocator::Mimalloc] {
            units.extend(drop_in(allocator, &workspace, &sources()));
        }
        let files = units.iter().flat_map(|unit| unit.files.iter().chain(&unit.headers));
        let (ours, theirs): (Vec<_>, Vec<_>) = files.partition(|file| file.is_absolute());
        assert!(ours.iter().all(|file| file.is_file()), "{ours:?}");
        assert_eq!(theirs, [Path::new("sqlite/sqlite3.c"), Path::new("mimalloc/src/static.c")]);
        Ok(())
    }

    #[test]
    fn zstd_is_the_c_files_of_three_directories_in_a_fixed_order() -> Result<()> {
        let directory = env::temp_dir().join(format!("palimpsest-zstd-{}", process::id()));
        for name in
            ["decompress/b.c", "decompress/a.c", "common/c.h", "common/c.c", "compress/d.S", "legacy/e.c"]
        {
            let path = directory.join(name);
            fs::create_dir_all(path.parent().expect("the names have a directory"))?;
            fs::write(path, "")?;
        }
        let unit = zstd(&directory);
        fs::remove_dir_all(&directory)?;
        let expected = ["common/c.c", "decompress/a.c", "decompress/b.c"].map(|name| directory.join(name));
        assert_eq!(unit?.files, expected);
        Ok(())
    }
}
