//! The WebAssembly specification's own tests, for places that cannot read them.
//!
//! The tests are text, and a kernel has no parser for it. So the package `palimpsest-spec-host`
//! parses them and writes a [`stream`] of commands with binary modules. This crate defines the
//! stream. With the feature `run` it has a [`runner`] that executes the commands through the public
//! API of `palimpsest-engine`, on any backing. The kernel in `tests/vm` runs the stream on
//! demand-paged memory, the program `spec-host` on a byte slice, and the firmware in
//! `tests/spec/firmware` on one with 32-bit addresses. All count with [`Totals`].

#![no_std]

extern crate alloc;

#[cfg(feature = "run")]
pub mod runner;
pub mod stream;
mod totals;

pub use totals::Totals;

/// The name of the stream in the kernel's boot archive.
pub const STREAM_FILE: &str = "spec.stream";

/// The start of the line with the number of directives that were run. The totals are the next line.
pub const COMPLETE: &str = "SPEC_COMPLETE ";
