//! The host heap: `malloc` and its like for guests, with the books outside of linear memory.
//!
//! A guest that imports the functions of [`import`] gets blocks out of the address space above its own data,
//! up to the memory's maximum, and what it frees gives its frames back. It can corrupt its blocks, but not the
//! books: they are in the kernel's heap, in an amount that [`Limits::heap_entries`](crate::Limits) bounds.
//!
//! - [`book`] decides, and touches no memory: large blocks are whole pages ([`ranges`]), small ones are slots
//!   ([`class`]) of slabs ([`slab`], [`shelf`]), and pages that have become empty stay for a while ([`idle`]).
//! - [`call`] does: grows the memory, clears pages, zeroes and copies bytes, charges fuel.
//!
//! It builds on Bonwick's slab allocator ("The Slab Allocator: An Object-Caching Kernel Memory Allocator",
//! USENIX 1994), with slabs of a whole number of slots and evenly divided doublings as jemalloc has them, here in
//! eight classes instead of four. No crate fits: those that are `no_std` keep their lists inside of the memory
//! that they hand out, where a guest could write, where looking at them would fault, and where a freed page could
//! not be released.

mod book;
mod call;
mod class;
mod error;
mod idle;
mod import;
#[cfg(test)]
mod model;
mod options;
mod pages;
mod ranges;
mod shelf;
mod slab;

pub(crate) use self::{call::HeapCell, import::Import};
pub use self::{
    error::{HeapError, HeapFunction},
    options::{BadPointer, HeapOptions, HeapReport},
};
