//! The life of a guest, and an allocator that fails in the middle of it.
//!
//! [`live`] is a script that allocates the kernel's heap in every way that a guest and its embedder
//! can. A test runs it again and again, and each time lets [`Failing`] fail at another allocation,
//! or at all from one on. wasmi ends the kernel when an allocation fails, so a
//! [`HeapBudget`](palimpsest_engine::HeapBudget) over the [`Failing`] allocator must serve it from
//! its reserve. Every life must then end with success or with an error that contains "out of heap",
//! and as many bytes must be in use after it as before.
//!
//! The test of this crate does so on the host, and the emulator's tests in the kernel.
//! [`live_in_forks`] is a script for snapshots and forks.

#![no_std]

extern crate alloc;

mod failing;
mod life;

pub use failing::{Failing, Failure};
pub use life::{End, live, live_in_forks};
