//! The kernel's only clock: the CPU's time-stamp counter.
//!
//! With `-icount shift=0`, the counter advances by one per guest instruction, so that costs are
//! reproducible. An instruction with a `rep` prefix does not count evenly.

use core::arch::x86_64::_rdtsc;

/// Returns the time-stamp counter: ticks since reset. With `-icount shift=0` a tick is an
/// instruction.
#[must_use]
pub fn ticks() -> u64 {
    // SAFETY: every 64-bit CPU has RDTSC, and ring 0 may always execute it.
    unsafe { _rdtsc() }
}
