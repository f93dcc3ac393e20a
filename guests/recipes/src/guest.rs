//! Guests that are compiled on this machine, from the sources in `guests/` and from other projects.
//!
//! Programs and allocators are independent: an unchanged program gets another allocator by linking.
//! If a tool or a source is not available, the program is skipped and the reason is printed; in CI
//! that is an error. A program that does not compile is always an error.

use crate::cache::Cache;
use crate::clang::Compiler;
use crate::rust::{self, Functions};
use crate::sources::Sources;
use crate::units::{self, Language};
use anyhow::{Context, Result};
use palimpsest_host::clang::Clang;
use palimpsest_host::packages::Tool;
use palimpsest_host::setup::{self, MissingPolicy, Need, WASI_TARGET, WASM_TARGET};
use palimpsest_host::workspace::Workspace;
use std::fmt;

/// A program, without its allocator. Each but [`Program::CompressServer`] is a WASI command.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Program {
    /// `churn [MIB]`: a large block that is allocated and freed, and thousands of small ones
    Churn,
    /// `patterns PATTERN [OPERATIONS]`: patterns that leave an allocator with holes
    Patterns,
    /// `compress FILE DIRECTORY`: a file through zstd and back
    Compress,
    /// Compresses short texts in forks: a WASI reactor with the function `serve NUMBER`
    CompressServer,
    /// `sqlite [FILE [ROWS]]`: a database with an index, filled, queried and checked
    Sqlite,
    /// `coremark [ITERATIONS]`: EEMBC's benchmark with its own check
    CoreMark,
    /// `rust-churn [MIB]`: the same idea as `churn`, with Rust's standard library
    RustChurn,
}

/// The implementation of a program's `malloc`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Allocator {
    /// dlmalloc, as wasi-libc has it
    WasiLibc,
    /// dlmalloc, with a wrapper that clears the Wasm pages inside large freed blocks
    ClearLarge,
    /// The host's heap
    HostHeap,
    /// mimalloc, compiled for WASI
    Mimalloc,
}

/// A program together with its allocator.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Guest {
    /// The program
    pub program: Program,
    /// Its allocator
    pub allocator: Allocator,
}

impl Program {
    /// The name of its source, and its first argument when it runs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Churn => "churn",
            Self::Patterns => "patterns",
            Self::Compress => "compress",
            Self::CompressServer => "compress_server",
            Self::Sqlite => "sqlite",
            Self::CoreMark => "coremark",
            Self::RustChurn => "rust-churn",
        }
    }
}

impl Allocator {
    /// The name for tables and files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::WasiLibc => "wasi-libc",
            Self::ClearLarge => "clear-large",
            Self::HostHeap => "host-heap",
            Self::Mimalloc => "mimalloc",
        }
    }
}

impl fmt::Display for Guest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.program.name(), self.allocator.name())
    }
}

/// Compiles the guest unless it is in the cache. Returns `None` if a tool or a source is not
/// available; the reason has then been printed on standard error.
///
/// # Errors
/// The guest does not compile; or, in CI, a tool or a source is not available.
pub fn build(workspace: &Workspace, guest: Guest, policy: MissingPolicy) -> Result<Option<Vec<u8>>> {
    let (clang, sources) = match prepare(workspace, guest, policy) {
        Ok(prepared) => prepared,
        Err(error) if setup::in_ci() => return Err(error),
        Err(error) => {
            eprintln!("{guest} is skipped: {error:#}");
            return Ok(None);
        }
    };
    let cache = Cache::new(workspace.output("guests"));
    let drop_in = units::drop_in(guest.allocator, workspace, &sources);
    let compiler = Compiler::new(clang, &cache);
    let objects = drop_in.map(|unit| compiler.compile(&unit)).transpose()?;
    let module = match guest.program.language() {
        Language::C => compiler.link(guest, workspace, &sources, objects),
        Language::Rust(package) => rust::build(workspace, guest, package, objects, &cache),
    };
    module.with_context(|| format!("cannot build {guest}")).map(Some)
}

/// Compiles CoreMark as a module with one function, `run(iterations: i32) -> i32`, and no imports.
/// Returns `None` if it is not available; the reason has then been printed on standard error.
///
/// # Errors
/// It does not compile; or, in CI, it is not available.
pub fn coremark_function(workspace: &Workspace, policy: MissingPolicy) -> Result<Option<Vec<u8>>> {
    const FUNCTIONS: Functions =
        Functions { package: "palimpsest-guest-coremark-kernel", library: "coremark_kernel" };
    let prepared = setup::require(workspace, &[Need::Core(WASM_TARGET)], policy)
        .and_then(|()| rust::fetch(workspace, WASM_TARGET));
    match prepared {
        Ok(()) => {}
        Err(error) if setup::in_ci() => return Err(error),
        Err(error) => {
            eprintln!("coremark is skipped: {error:#}");
            return Ok(None);
        }
    }
    let cache = Cache::new(workspace.output("guests"));
    rust::build_functions(workspace, FUNCTIONS, &cache).context("cannot build coremark").map(Some)
}

/// Ensures that the tools are installed, and fetches the sources.
fn prepare(workspace: &Workspace, guest: Guest, policy: MissingPolicy) -> Result<(Clang, Sources)> {
    setup::require(workspace, &[Need::Tool(Tool::WasiClang)], policy)?;
    match guest.program.language() {
        Language::C => {}
        Language::Rust(_) => {
            setup::require(workspace, &[Need::Core(WASI_TARGET)], policy)?;
            rust::fetch(workspace, WASI_TARGET)?;
        }
    }
    let clang = Clang::find().context("clang is installed, but does not find wasi-libc: set WASI_SYSROOT")?;
    Ok((clang, Sources::fetch(workspace)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_named_by_its_program_and_its_allocator() {
        let guest = Guest { program: Program::RustChurn, allocator: Allocator::HostHeap };
        assert_eq!(guest.to_string(), "rust-churn-host-heap");
    }
}
