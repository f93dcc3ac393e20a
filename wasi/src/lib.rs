//! WASI preview 1 for kernels and firmware that embed Palimpsest.
//!
//! Programs built with wasi-libc or for Rust's `wasm32-wasip1` run on it without an operating
//! system: the kernel needs no processes, no devices and no disk.
//!
//! A [`Wasi`] is everything that one program can reach: arguments, environment, three streams, a
//! clock, random numbers, and directories in memory. It is a part of the data of the program's
//! store. [`add_to_linker`] defines the functions of preview 1, with a closure that finds the
//! [`Wasi`] in that data. [`run()`] does all of this, and returns the program's exit code.
//!
//! The embedder implements small traits: [`Input`], [`Output`], [`Clock`], [`Random`], [`Blocks`].
//! On x86_64, [`TscClock`] is a clock and [`RdRand`] a source of random numbers. Most programs need
//! both: a `HashMap` of Rust's standard library, for example, traps without random numbers.
//!
//! # Examples
//!
//! ```
//! use palimpsest_engine::{Config, Engine, Fixed, Module};
//! # #[cfg(target_arch = "x86_64")]
//! use palimpsest_wasi::{RdRand, TickRate, TscClock, Wasi, run};
//! # use std::{boxed::Box, mem::MaybeUninit};
//! # fn put(_byte: u8) {}
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let bytes = Box::leak(vec![MaybeUninit::uninit(); 1 << 20].into_boxed_slice());
//! # let engine = Engine::new(Config::default(), Fixed::new(bytes))?;
//! # let wasm = wat::parse_str(r#"(module
//! #     (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
//! #     (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
//! #     (memory (export "memory") 1)
//! #     (func (export "_start") (if (call $random (i32.const 0) (i32.const 8)) (then unreachable))
//! #         (call $exit (i32.const 3))))"#)?;
//! # #[cfg(target_arch = "x86_64")] {
//! let rate = TickRate::of_cpu().unwrap_or_else(|| {
//!     // A kernel measures it: see `TickRate::measured`.
//! #   TickRate::new(2_000_000_000)
//! });
//! let wasi = Wasi::builder()
//!     .arg("program")
//!     .env("HOME", "/")
//!     .stdout(|bytes: &[u8]| bytes.iter().for_each(|byte| put(*byte)))
//!     .clock(TscClock::start(rate))
//!     .random(RdRand::new().ok_or("the CPU has no RDRAND")?);
//! let code = run(&Module::new(&engine, &wasm)?, wasi.build())?;
//! assert_eq!(code, 3);
//! # }
//! # Ok(())
//! # }
//! ```
//!
//! # Directories
//!
//! [`WasiBuilder::archive`] preopens a tar archive, read-only. [`WasiBuilder::scratch`] preopens an
//! empty directory that the guest can write to. Its blocks come from the embedder, within the quota
//! of [`WasiBuilder::scratch_bytes`].
//!
//! Each preopened directory is a separate tree with a separate descriptor. If a guest has `/` and
//! `/tmp`, wasi-libc opens `/tmp/a` in the second, because it takes the longest preopened prefix.
//! The path `tmp` relative to the descriptor of `/` is the archive's entry with that name, if it
//! has one.
//!
//! # Snapshots and forks
//!
//! [`Wasi`] implements [`SnapshotData`](palimpsest_engine::SnapshotData): a snapshot of a store
//! records descriptors and files, and a fork starts with them. Both share the files. The one that
//! writes to a block of a file gets its own copy of the block. The recorded state can be written to
//! bytes, in which an archive is only its path.
//!
//! # What is supported
//!
//! Every function of preview 1 is defined, so that every module can be linked. Creating links,
//! signals and sockets return `ENOSYS`. `fd_allocate` returns `ENOTSUP`. Functions that need a
//! clock or random numbers return `ENOSYS` if the embedder provides none. Reading a file does not
//! change its time of access.
//!
//! # Hostile guests
//!
//! Pointers, lengths, descriptors and paths are checked before a call has any effect. An invalid
//! one is an error code, never a panic. No allocation has a size that the guest chose. The numbers
//! of descriptors, files and blocks, the bytes that one call moves from or to a file, and the depth
//! of directories are limited. A metered guest pays fuel for the bytes that its calls read and
//! write, for each component of a path, and for the blocks that its calls allocate and free.

#![no_std]
#![deny(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod builder;
mod bytes;
mod calls;
mod fd;
mod fs;
mod layout;
mod linker;
mod memory;
mod run;
mod snapshot;
mod wasi;
mod world;
#[cfg(target_arch = "x86_64")]
mod x86_64;

pub use builder::WasiBuilder;
pub use bytes::StateError;
pub use fs::{ArchiveError, BLOCK_CHARGE_BYTES, FILE_CHARGE_BYTES};
pub use linker::{Exit, NoMemory, add_to_linker};
pub use run::{RunError, run, run_with};
pub use snapshot::{RestoreError, WasiState};
pub use wasi::Wasi;
pub use world::{BLOCK_BYTES, Block, Blocks, Clock, Empty, Input, NoRandom, Output, Random, Wait};
#[cfg(target_arch = "x86_64")]
pub use x86_64::{RdRand, TickRate, TscClock};
