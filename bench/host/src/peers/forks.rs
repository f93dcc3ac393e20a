//! Instantiation in wasmtime on this machine, for comparison with forks.
//!
//! `wasmtime_instantiate/W` is the time of a new store with an instance in way W, and
//! `wasmtime_life/W` that of its whole life with one write. The program is `bench/wasmtime`, which
//! is built here, because building a compiler takes minutes.

use super::lines;
use super::runtimes::ORIGIN;
use crate::figure::Figures;
use crate::modules;
use anyhow::{Context, Result};
use palimpsest_host::qemu::Clock;
use palimpsest_host::workspace::Workspace;
use std::ffi::OsString;
use std::fs;

/// The ways of instantiating, of which the first is the one that the others are compared with.
pub(crate) const WAYS: [&str; 3] = ["fresh", "shared", "pooled"];

const BUILD: &str = "run --quiet --release --locked --manifest-path=bench/wasmtime/Cargo.toml --";

/// Measures the module with a segment of 1 MiB.
///
/// # Errors
/// The program does not compile or fails.
pub(crate) fn measure(workspace: &Workspace) -> Result<Figures> {
    let module = modules::with_segments().swap_remove(0);
    let path = workspace.output(&module.file);
    fs::write(&path, &module.bytes).with_context(|| format!("cannot write {}", path.display()))?;
    println!("measuring wasmtime");
    let words = BUILD.split_ascii_whitespace().map(OsString::from).chain([path.into()]);
    let lines = workspace.cargo(words, &[]).read().context("bench/wasmtime failed")?;
    Ok(Figures::of(ORIGIN, lines::figures(&lines, Clock::Host)?))
}
