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
//! Each of these changes to the protocol makes a test fail:
//!
//! | change | test |
//! | --- | --- |
//! | `Seat::exchange` loads and stores, without a compare-exchange | `a_region_does_not_run_during_a_relief` and six more |
//! | `begin_relief` leaves the word as it is if the calling CPU runs | `a_thread_does_not_move_during_a_relief_by_the_cpu_that_it_leaves` and one more |
//! | `begin_relief` does not record the request in the word | `a_cpu_that_runs_gets_the_request_that_was_refused` |
//! | `end_relief` leaves the seat to the CPU that had it | `a_cpu_that_enters_drops_what_a_relief_has_changed` |
//! | `Seat::stamp_changes` forgets the changes before it stamps them | `each_cpu_that_reads_drops_what_was_changed_before` |
//! | a stamp is taken before the entry is changed | `a_frame_is_reused_after_the_flush_of_each_cpu_that_may_cache_it` |
//! | a stamp is taken without the fence | the same |
//! | `Cpus::flush` takes its number after the flush | the same |

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
