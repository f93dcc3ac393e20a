//! The WebAssembly specification's own tests, for places that cannot read them.
//!
//! The tests are text, and a kernel has no parser for it. So `cargo xtask` parses them and writes a
//! [`stream`] of commands with binary modules; this crate owns the stream's form, and with the feature `run`
//! a [`runner`] that carries the commands out through the public API of `palimpsest-engine`, on whatever
//! backing it is given. The same stream is run by the kernel's program `spec` on demand-paged memory and by
//! `spec-host` on a byte slice; both count by the same [`Totals`].

#![no_std]

extern crate alloc;

#[cfg(feature = "run")]
pub mod runner;
pub mod stream;
mod totals;

pub use totals::Totals;
