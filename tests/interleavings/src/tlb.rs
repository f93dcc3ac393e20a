//! The tested files.

#![allow(dead_code, reason = "the tests use some of what the files define")]

#[path = "../../../paging/src/tlb/cpus.rs"]
mod cpus;
mod limbo;
#[path = "../../../paging/src/tlb/seat.rs"]
mod seat;

pub(crate) use self::cpus::Cpus;
pub(crate) use self::seat::Seat;

/// A seat that no CPU had, whose atomics are loom's already.
pub(crate) fn new_seat() -> Seat {
    let seat = Seat::new();
    let _ = (seat.ran(), seat.changed());
    seat.stamp_changes(|| 0);
    seat
}
