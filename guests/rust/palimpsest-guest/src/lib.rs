//! What Palimpsest offers to guests that are written in Rust.
//!
//! - [`clear`] makes bytes zero and gives the whole Wasm pages among them back to the machine. It is safe, and
//!   works anywhere: outside of WebAssembly it only writes the zeros.
//! - [`HostHeap`] is a global allocator over the host's heap: what the program drops is free memory of the
//!   machine, and no stray write of the program can damage the heap's book-keeping.
//! - [`imports`] has the functions of the Wasm module `palimpsest` as they are.
//!
//! The last two exist only inside of WebAssembly. A module imports what it uses and nothing else; a runtime other
//! than Palimpsest does not instantiate it then.
//!
//! For `wasm32-unknown-unknown`, where the standard library has an allocator of its own, it takes two lines:
//!
//! ```
//! # #[cfg(target_family = "wasm")]
//! #[global_allocator]
//! static HEAP: palimpsest_guest::HostHeap = palimpsest_guest::HostHeap;
//! ```
//!
//! A program for `wasm32-wasip1` needs no line at all, because its standard library allocates through the C
//! library: linked with `guests/c/palimpsest_malloc.c`, which says how, it uses the host's heap unchanged.

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

pub use clear::{Cleared, Frames, WASM_PAGE, clear};
#[cfg(any(target_family = "wasm", doc))]
pub use heap::HostHeap;
