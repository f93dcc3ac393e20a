//! `malloc` for Palimpsest's guests, with the bookkeeping in the host.
//!
//! A guest that imports these functions allocates from the part of its linear memory above its own
//! data, up to the memory's maximum. What it frees returns to the kernel's frame source. A stray
//! write of the guest can damage the contents of its blocks but not the bookkeeping, which is on
//! the kernel's heap in an amount that [`HeapOptions::entries`] bounds.
//!
//! | import | type, where `i` is the memory's index type | |
//! | --- | --- | --- |
//! | `palimpsest.malloc` | `(size: i) -> i` | `malloc(0)` returns a block like any other |
//! | `palimpsest.calloc` | `(count: i, size: i) -> i` | the block reads zero; returns 0 if the product overflows |
//! | `palimpsest.realloc` | `(pointer: i, size: i) -> i` | `realloc(p, 0)` shrinks `p` to the smallest size |
//! | `palimpsest.aligned_alloc` | `(alignment: i, size: i) -> i` | any power of two and any size; returns 0 for other alignments |
//! | `palimpsest.free` | `(pointer: i)` | `free(0)` does nothing |
//! | `palimpsest.usable_size` | `(pointer: i) -> i` | `usable_size(0)` is 0 |
//!
//! Functions that allocate return 0 when the heap is full; they do not trap. Blocks of 16 bytes and
//! more are aligned to 16 bytes, smaller ones to 8 bytes, and those of more than 3840 bytes to a
//! page of 4 KiB. C leaves `realloc(p, 0)` to the implementation (C23 7.24.3.7). Programs written
//! for dlmalloc continue to use the returned pointer, and programs that free it are right as well.
//!
//! # Examples
//!
//! ```
//! use palimpsest_engine::{Config, Engine, Fixed, Linker, Module, Store};
//! use palimpsest_heap::{Heap, HeapOptions};
//! # use std::{boxed::Box, mem::MaybeUninit};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let bytes = Box::leak(vec![MaybeUninit::uninit(); 1 << 20].into_boxed_slice());
//! # let engine = Engine::new(Config::default(), Fixed::new(bytes))?;
//! # let wasm = wat::parse_str(r#"(module
//! #     (import "palimpsest" "malloc" (func $malloc (param i32) (result i32)))
//! #     (memory (export "memory") 1 2)
//! #     (func (export "run") (result i32) (call $malloc (i32.const 100))))"#)?;
//! struct Data {
//!     heap: Heap,
//! }
//!
//! let module = Module::new(&engine, &wasm)?;
//! let mut store = Store::new(&engine, Data { heap: Heap::new(HeapOptions::default()) });
//! let mut linker = Linker::new();
//! palimpsest_heap::add_to_linker(&mut linker, |data: &mut Data| &mut data.heap)?;
//! let instance = linker.instantiate(&mut store, &module)?;
//! let block = instance.get_typed_func::<(), u32>(&store, "run")?.call(&mut store, ())?;
//! assert_eq!(block, 65_536);
//! assert_eq!(store.data().heap.report().live_blocks, 1);
//! # Ok(())
//! # }
//! ```
//!
//! # Which memory
//!
//! The functions act on memory 0 of the module that imports them. A [`Heap`] has a record of the
//! blocks for each memory, called its books, so instances that share a memory share its blocks.
//!
//! The books of a memory are made by the first call. From then on the pages between the guest's own
//! data and the end of the memory belong to the heap, and that first call zeroes them. The guest's
//! data ends at the constant that the instance exports as `__heap_base` (an address of the memory's
//! index type), or else at the end of the memory. When the heap is full it grows the memory. Pages
//! that the guest adds with `memory.grow` itself stay its own.
//!
//! # Snapshots and forks
//!
//! The books are a part of a program's state that is not in its memory. [`Heap`] implements
//! [`SnapshotData`](palimpsest_engine::SnapshotData), so that a fork has the blocks of its snapshot
//! at the same addresses. The recorded state can be written to bytes.
//!
//! # Design
//!
//! 1. The books decide and never touch the guest's memory, so no guest can deceive them.
//! 2. Every operation of the books takes logarithmic time in the number of blocks, or constant
//!    time.
//! 3. Blocks of more than 3840 bytes are whole pages. Smaller blocks are slots in slabs of one size
//!    class.
//! 4. Free pages hold no frame and read zero, so `calloc` zeroes only what was used before. A few
//!    empty pages keep their frames for a while, see [`HeapOptions::idle_pages`].
//!
//! Slabs follow Bonwick ("The Slab Allocator: An Object-Caching Kernel Memory Allocator", USENIX
//! 1994). The size classes divide each doubling evenly as jemalloc's do, but into eight instead of
//! four. No existing crate fits: `no_std` allocators keep their lists inside the memory that they
//! manage, where the guest could write to them, where reading them would fault, and where a page
//! that contains one could not be released.
//!
//! Modules are layers, and a file imports only from its own layer and from those before it:
//!
//! ```text
//! pages < block, class, error, options < idle, partial, runs < slab < book < heap < call < linker
//! ```
//!
//! # Hostile guests
//!
//! A pointer that is not the start of a live block ends the guest with a [`HeapError`], or is
//! ignored ([`BadPointer`]). A guest that writes outside its blocks harms only itself: what it
//! leaves in free pages stays until a block there is freed, and a later `calloc` may return it. A
//! metered guest pays one unit of fuel for each call, one for each page that the call releases, and
//! one for each 64 bytes that it zeroes or copies, or that a release zeroes. In a task a `realloc`
//! that moves a block moves 64 KiB at a time, frames of a block are released about 8,192 at a time,
//! and the slice can end in between.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

mod block;
mod book;
mod call;
mod class;
mod error;
mod heap;
mod idle;
mod linker;
mod options;
mod pages;
mod partial;
mod runs;
mod slab;

pub use error::{HeapError, HeapFunction, StateError};
pub use heap::{Heap, HeapState};
pub use linker::{add_to_linker, add_to_linker64};
pub use options::{BadPointer, HeapOptions, HeapReport};
