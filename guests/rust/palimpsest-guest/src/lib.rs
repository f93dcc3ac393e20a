//! What Palimpsest provides to guests that are written in Rust.
//!
//! - [`clear`] zeroes bytes and releases the frames of the whole Wasm pages among them. It is safe
//!   and works everywhere: outside WebAssembly it only writes the zeros.
//! - [`HostHeap`] is a global allocator over the host's heap. Dropping a large value releases its
//!   frames, and no stray write of the guest can damage the heap's book-keeping.
//! - [`snapshot_ready`] marks the point at which the host should make a snapshot.
//! - [`imports`] declares the functions of the Wasm module `palimpsest`.
//!
//! [`HostHeap`] and [`imports`] exist only inside WebAssembly. A module imports only what it uses.
//! Runtimes other than Palimpsest refuse to instantiate a module with these imports.
//!
//! For `wasm32-unknown-unknown`, use the allocator with two lines:
//!
//! ```
//! # #[cfg(target_family = "wasm")]
//! #[global_allocator]
//! static HEAP: palimpsest_guest::HostHeap = palimpsest_guest::HostHeap;
//! ```
//!
//! A program for `wasm32-wasip1` needs no change, because its standard library allocates through
//! the C library. Link it with `guests/c/palimpsest_malloc.c`, which describes how.

#![no_std]

mod clear;

#[cfg(any(target_family = "wasm", doc))]
mod heap;
#[cfg(any(target_family = "wasm", doc))]
pub mod imports;

#[cfg(target_family = "wasm")]
#[path = "release/wasm.rs"]
mod release;
#[cfg(not(target_family = "wasm"))]
#[path = "release/elsewhere.rs"]
mod release;
mod snapshot;

pub use clear::{Cleared, Frames, WASM_PAGE, clear};
#[cfg(any(target_family = "wasm", doc))]
pub use heap::HostHeap;
pub use snapshot::snapshot_ready;
