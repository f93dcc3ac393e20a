//! The kernel's only clock: the CPU's time-stamp counter.
//!
//! With `-icount shift=0`, the counter advances by one per guest instruction, so that costs are
//! reproducible. An instruction with a `rep` prefix does not count evenly.

use palimpsest_wasi::TscClock;

/// Returns the time-stamp counter: ticks since reset. With `-icount shift=0` a tick is an
/// instruction.
#[must_use]
#[inline]
pub fn ticks() -> u64 {
    TscClock::ticks()
}
