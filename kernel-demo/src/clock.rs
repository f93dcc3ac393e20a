//! The one clock: the CPU's time-stamp counter.
//!
//! Owns nothing. Whoever measures takes two readings; under `-icount shift=0` the counter advances by one per
//! guest instruction, which makes costs reproducible (a `rep`-prefixed instruction counts unevenly).

use core::arch::x86_64::_rdtsc;

/// The time-stamp counter, in ticks since reset. With `-icount shift=0` a tick is an instruction.
#[must_use]
pub fn ticks() -> u64 {
    // SAFETY: every 64-bit CPU has RDTSC, and CR4.TSD is clear; ring 0 may read it regardless.
    unsafe { _rdtsc() }
}
