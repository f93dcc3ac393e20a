//! The host's side of every boot: builds a kernel, boots it in QEMU, and reads what it reports.
//!
//! `cargo xtask`, the benchmark and the recipes for guest programs share this library, so each of
//! them compiles only what it needs itself. The modules, from the bottom up:
//!
//! - [`workspace`]: the repository on this machine, and how cargo is called in it;
//! - [`packages`], [`clang`] and [`setup`]: which tools a command needs, and how they are
//!   installed;
//! - [`kernel`]: how a kernel is compiled for each of its targets;
//! - [`qemu`]: the virtual machine, from its command line to its exit status;
//! - [`board`]: the microcontrollers that firmware is built for and booted on;
//! - [`archive`], [`answer`] and [`boot`]: one boot, with its request, its files and its answer;
//! - [`protocol`]: the types of requests and answers;
//! - [`iso`]: CD images that boot a kernel by GRUB or Limine;
//! - [`job`]: a guest with everything that it is given, ready to be booted;
//! - [`recording`]: a run whose output is kept, with the frames at each line;
//! - [`progress`]: messages about long work;
//! - [`workers`]: work on several threads;
//! - [`tally`] and [`digits`]: counts and numbers as people read them.

#![forbid(unsafe_code)]
#![expect(clippy::missing_panics_doc, reason = "each `expect` states why it cannot fail")]

pub mod answer;
pub mod archive;
pub mod board;
pub mod boot;
pub mod clang;
pub mod digits;
mod follow;
mod interrupt;
pub mod iso;
pub mod job;
pub mod kernel;
pub mod packages;
pub mod progress;
pub mod qemu;
pub mod recording;
pub mod setup;
pub mod tally;
pub mod workers;
pub mod workspace;

pub use palimpsest_protocol as protocol;
