//! Tests of the protocol by which CPUs share an account's regions, over every interleaving.
//!
//! The tests compile the files `cpus.rs` and `seat.rs` of `paging/src/tlb` themselves. Their
//! `core` is this crate, whose atomics are those of loom. Loom runs a test once for each order of
//! its atomic operations, and for each value that a load may return. A cell of loom is what one CPU
//! at a time may write: two accesses fail the test if nothing orders them.
//!
//! What is abstracted:
//!
//! - A CPU is a number. A thread that moves to another CPU uses the other number from then on. The
//!   scheduler of a kernel orders what one CPU does, so the two threads of a test use one number
//!   only where that does not matter.
//! - A TLB caches one entry. A flush drops it, and is a sequentially consistent fence, because the
//!   instructions that flush are serializing (Intel SDM Vol 3A, 9.3).
//! - There are no interrupts, no locks of shards, and no tables that wait (`limbo.rs`).
//! - Loom gives sequentially consistent accesses the order of acquire and release only. So what
//!   passes needs nothing but the fences.
//!
//! - The lock of the placement is an atomic. It orders the end of a region and the next reserve of
//!   its addresses.
//!
//! `cargo xtask mutants` makes changes to the protocol, one at a time, and checks that a test fails
//! (`RACES` in `xtask/src/mutants/list.rs`).
//!
//! No test is needed for what one CPU at a time does with an account. `Cpus::join_past` runs with
//! the lock of a shard held, when a region ends. `Seat::begin` runs before any CPU can use a region
//! of the account.

#[cfg(test)]
extern crate alloc;
#[cfg(test)]
extern crate self as core;
#[cfg(test)]
extern crate self as spin;

#[cfg(test)]
mod machine;
#[cfg(test)]
mod paging;
#[cfg(test)]
mod relief;
#[cfg(test)]
mod stamps;
#[cfg(test)]
mod sync;
#[cfg(test)]
mod tlb;

#[cfg(test)]
use self::paging::{frame, platform};
#[cfg(test)]
use self::sync::Mutex;
#[cfg(test)]
use loom::hint;
