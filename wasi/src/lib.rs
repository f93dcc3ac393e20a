//! WASI preview 1 for Palimpsest's guests: programs built with wasi-libc or Rust's `wasm32-wasip1` run in a
//! kernel that has no processes, no devices and no disk.
//!
//! A [`Wasi`] is the world of one program: arguments, environment, three streams, a clock, random numbers,
//! and directories in memory. It lives in the data of the program's store; [`add_to_linker`] defines the
//! functions that look for it there. What the world is made of comes from the embedder, through small traits:
//! [`Input`], [`Output`], [`Clock`], [`Random`], [`Blocks`].
//!
//! # Examples
//!
//! ```
//! use palimpsest_engine::{Config, Engine, Fixed, Linker, Module, Store};
//! use palimpsest_wasi::{Exit, Output, Wasi, add_to_linker};
//! # use std::{boxed::Box, mem::MaybeUninit, sync::Arc};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let bytes = Box::leak(vec![MaybeUninit::uninit(); 1 << 20].into_boxed_slice());
//! # let engine = Engine::new(Config::default(), Arc::new(Fixed::new(bytes, 1 << 16)))?;
//! # let wasm = wat::parse_str(r#"(module
//! #     (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
//! #     (memory (export "memory") 1)
//! #     (func (export "_start") (call $exit (i32.const 3))))"#)?;
//! struct Serial;
//! impl Output for Serial {
//!     fn write(&mut self, bytes: &[u8]) {
//!         // one byte after the other, into the port
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
//! [`WasiBuilder::archive`] gives a guest a tar archive to read, [`WasiBuilder::scratch`] a directory to
//! write in, whose blocks come from the embedder. Each is a tree of its own behind a descriptor of its own. A
//! guest that has `/` and `/tmp` reaches the second by that name, since wasi-libc takes the longest preopened
//! path; through the descriptor of `/`, the name `tmp` is whatever the archive has there.
//!
//! # What is there
//!
//! Every function of preview 1 is defined, so that every module links. Hard and symbolic links, times that
//! are set, rights that are dropped, signals and sockets answer `ENOSYS`; `fd_allocate` answers `ENOTSUP`.
//! Without a clock, or a source of random numbers, what needs it answers `ENOSYS`.
//!
//! # Hostile guests
//!
//! Pointers, lengths, descriptors and paths are checked before anything happens; a mistake is an error code,
//! never a panic. Nothing is allocated in a size that the guest chose, and descriptors, files, blocks, and
//! the bytes of one call are bounded. A metered guest pays for what passes through its memory.

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
pub use fs::ArchiveError;
pub use linker::{Exit, NoMemory, add_to_linker};
pub use wasi::Wasi;
pub use world::{BLOCK_BYTES, Block, Blocks, Clock, Empty, Input, Output, Random, Wait};
