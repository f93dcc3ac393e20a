//! WASI preview 1 for kernels and firmware that embed Palimpsest.
//!
//! Programs built with wasi-libc or for Rust's `wasm32-wasip1` run on it without an operating
//! system: the kernel needs no processes, no devices and no disk.
//!
//! A [`Wasi`] is everything that one program can reach: arguments, environment, three streams, a
//! clock, random numbers, and directories in memory. It is a part of the data of the program's
//! store. [`add_to_linker`] defines the functions of preview 1, with a closure that finds the
//! [`Wasi`] in that data. The embedder implements small traits: [`Input`], [`Output`], [`Clock`],
//! [`Random`], [`Blocks`].
//!
//! # Examples
//!
//! ```
//! use palimpsest_engine::{Config, Engine, Fixed, Linker, Module, Store};
//! use palimpsest_wasi::{Exit, Output, Wasi, add_to_linker};
//! # use std::{boxed::Box, mem::MaybeUninit};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let bytes = Box::leak(vec![MaybeUninit::uninit(); 1 << 20].into_boxed_slice());
//! # let engine = Engine::new(Config::default(), Fixed::new(bytes, 1 << 16))?;
//! # let wasm = wat::parse_str(r#"(module
//! #     (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
//! #     (memory (export "memory") 1)
//! #     (func (export "_start") (call $exit (i32.const 3))))"#)?;
//! struct Serial;
//! impl Output for Serial {
//!     fn write(&mut self, bytes: &[u8]) {
//!         // Write each byte to the port.
//!     }
//! }
//!
//! let module = Module::new(&engine, &wasm)?;
//! let wasi = Wasi::builder().arg("program").env("HOME", "/").stdout(Serial).build();
//! let mut store = Store::new(&engine, wasi);
//! let mut linker = Linker::new();
//! add_to_linker(&mut linker, |wasi| wasi)?;
//! let instance = linker.instantiate(&mut store, &module)?;
//! let end = instance.get_typed_func::<(), ()>(&store, "_start")?.call(&mut store, ());
//! assert_eq!(end.unwrap_err().downcast_ref(), Some(&Exit { code: 3 }));
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
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod builder;
mod calls;
mod fd;
mod fs;
mod layout;
mod linker;
mod memory;
mod wasi;
mod world;

pub use builder::WasiBuilder;
pub use fs::{ArchiveError, BLOCK_CHARGE_BYTES, FILE_CHARGE_BYTES};
pub use linker::{Exit, NoMemory, add_to_linker};
pub use wasi::Wasi;
pub use world::{BLOCK_BYTES, Block, Blocks, Clock, Empty, Input, Output, Random, Wait};
