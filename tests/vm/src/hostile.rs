//! Hostile guests next to an honest one.
//!
//! Each row of [`table`] is an attack: a guest, the export that is called, and what the guest must
//! get. In its boot it takes turns with an honest neighbour, both metered, on a machine whose timer
//! interrupts them all the time. [`duel`] runs the two and judges:
//!
//! 1. The attack ends as its row requires, each time that it is repeated.
//! 2. The neighbour's results are right, it keeps its pages, and it does at least 80 % of the work
//!    that it does next to an honest guest in the same time.
//! 3. No turn is longer than a slice and the bound of the attack's [`Cause`](attack::Cause).
//! 4. Another guest can be started meanwhile.
//! 5. The same frames are free, the same addresses are reserved, and as many bytes of the heap are
//!    in use, afterwards as before.
//!
//! Time is counted in instructions, so a verdict is the same on every host.

mod attack;
mod bombs;
mod duel;
mod table;
mod world;

pub(crate) use attack::{Attack, End, Expected};
pub(crate) use duel::end_of_call;
pub(crate) use table::ATTACKS;
pub(crate) use world::{Units, World, linker, live_blocks};
