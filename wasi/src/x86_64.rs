//! Time and random numbers from the CPU: the time-stamp counter and RDRAND.

use core::time::Duration;

use x86_64::instructions::random;

use crate::world::{Clock, NoRandom, Random, Wait};

/// Attempts until RDRAND counts as broken (Intel SDM Vol 1, 7.3.17.1).
const ATTEMPTS: u32 = 10;

/// Random numbers from the CPU's generator.
///
/// # Examples
///
/// ```
/// use palimpsest_wasi::{RdRand, Wasi};
///
/// if let Some(generator) = RdRand::new() {
///     let builder = Wasi::builder().random(generator);
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RdRand {
    cpu: random::RdRand,
}

impl RdRand {
    /// Returns the generator, or None if CPUID reports that the CPU has none.
    #[must_use]
    pub fn new() -> Option<Self> {
        random::RdRand::new().map(|cpu| Self { cpu })
    }
}

impl Random for RdRand {
    /// Fills `bytes`. Each word is requested up to ten times.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoRandom> {
        for chunk in bytes.chunks_mut(size_of::<u64>()) {
            let word = (0..ATTEMPTS).find_map(|_| self.cpu.get_u64()).ok_or(NoRandom)?;
            chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

/// The number of ticks of the time-stamp counter in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TickRate {
    ticks_per_second: u64,
}

impl TickRate {
    /// A rate that is known. A rate of 0 counts as 1.
    #[must_use]
    pub fn new(ticks_per_second: u64) -> Self {
        Self { ticks_per_second: ticks_per_second.max(1) }
    }

    /// Returns the rate that CPUID reports in leaf 15H, or None if it reports none (Intel SDM Vol
    /// 3B, 19.7.3). AMD's CPUs and most virtual machines report none.
    #[must_use]
    pub fn of_cpu() -> Option<Self> {
        raw_cpuid::CpuId::new().get_tsc_info()?.tsc_frequency().map(Self::new)
    }

    /// Returns the rate of a counter that advanced by `ticks` in `duration`.
    ///
    /// A kernel reads [`TscClock::ticks`] at the start and at the end of a period of another timer,
    /// for example of the PIT, with interrupts disabled. A period of 10 ms that is exact to a
    /// microsecond gives four significant digits.
    #[must_use]
    pub fn measured(ticks: u64, duration: Duration) -> Self {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self::new(scale(ticks, 1_000_000_000, nanoseconds.max(1)))
    }

    /// Returns the number of ticks in `duration`, rounded down.
    #[must_use]
    pub fn ticks_in(self, duration: Duration) -> u64 {
        scale(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX), self.ticks_per_second, 1_000_000_000)
    }

    /// Returns the number of nanoseconds in `ticks`, rounded down.
    #[must_use]
    pub fn nanoseconds_in(self, ticks: u64) -> u64 {
        scale(ticks, 1_000_000_000, self.ticks_per_second)
    }
}

/// Returns `value * numerator / denominator`, or `u64::MAX` if that is less.
fn scale(value: u64, numerator: u64, denominator: u64) -> u64 {
    let scaled = u128::from(value) * u128::from(numerator) / u128::from(denominator);
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

/// Time by the CPU's time-stamp counter.
///
/// The counter must advance at one rate, which CPUID reports as the invariant TSC (Intel SDM Vol
/// 3B, 19.17.1), and on several CPUs it must be synchronized. A guest that waits spins. An embedder
/// whose guests wait in tasks wraps the clock and returns [`Wait::Pause`].
///
/// # Examples
///
/// ```
/// use palimpsest_wasi::{TickRate, TscClock, Wasi};
///
/// // CPUs that do not report the rate are measured: see `TickRate::measured`.
/// let rate = TickRate::of_cpu().unwrap_or(TickRate::new(2_000_000_000));
/// let clock = TscClock::start(rate).with_realtime_ns(1_700_000_000 * 1_000_000_000);
/// let builder = Wasi::builder().clock(clock);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TscClock {
    rate: TickRate,
    start_ticks: u64,
    start_realtime_ns: u64,
}

impl TscClock {
    /// Starts the clock. Its monotonic time starts at 0, and its real time at the start of 1970.
    #[must_use]
    pub fn start(rate: TickRate) -> Self {
        Self { rate, start_ticks: Self::ticks(), start_realtime_ns: 0 }
    }

    /// Sets the real time at the start of the clock, in nanoseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn with_realtime_ns(self, start_realtime_ns: u64) -> Self {
        Self { start_realtime_ns, ..self }
    }

    /// Returns the rate of the counter.
    #[must_use]
    pub fn rate(&self) -> TickRate {
        self.rate
    }

    /// Returns the nanoseconds since the start.
    fn elapsed_ns(&self) -> u64 {
        self.rate.nanoseconds_in(Self::ticks().saturating_sub(self.start_ticks))
    }

    /// Returns the counter: ticks since the CPU was reset.
    #[must_use]
    #[inline]
    #[allow(unsafe_code, reason = "the intrinsic is unsafe")]
    pub fn ticks() -> u64 {
        // SAFETY: every 64-bit CPU has RDTSC. It faults only outside of ring 0, and only if the
        //         kernel has set CR4.TSD (Intel SDM Vol 2B, RDTSC).
        unsafe { core::arch::x86_64::_rdtsc() }
    }
}

impl Clock for TscClock {
    fn monotonic_ns(&mut self) -> u64 {
        self.elapsed_ns()
    }

    fn realtime_ns(&mut self) -> u64 {
        self.start_realtime_ns.saturating_add(self.elapsed_ns())
    }

    fn resolution_ns(&self) -> u64 {
        self.rate.nanoseconds_in(1).max(1)
    }

    fn wait_until(&mut self, until_ns: u64) -> Wait {
        while self.elapsed_ns() < until_ns {
            core::hint::spin_loop();
        }
        Wait::Done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_and_times_are_converted_both_ways() {
        let rate = TickRate::new(2_500_000_000);
        assert_eq!(rate.nanoseconds_in(2_500), 1_000);
        assert_eq!(rate.ticks_in(Duration::from_micros(1)), 2_500);
        assert_eq!(rate.nanoseconds_in(u64::MAX), 7_378_697_629_483_820_646);
        assert_eq!(TickRate::new(1).nanoseconds_in(u64::MAX), u64::MAX);
        assert_eq!(TickRate::new(0), TickRate::new(1));
    }

    #[test]
    fn a_measured_rate_is_the_ticks_in_a_second() {
        assert_eq!(TickRate::measured(25_000_000, Duration::from_millis(10)), TickRate::new(2_500_000_000));
        assert_eq!(TickRate::measured(u64::MAX, Duration::ZERO), TickRate::new(u64::MAX));
    }

    #[test]
    fn the_clock_advances_and_waits_until_its_time() {
        let mut clock = TscClock::start(TickRate::new(1_000_000_000)).with_realtime_ns(5_000_000_000);
        assert_eq!(clock.wait_until(100_000), Wait::Done);
        assert!(clock.monotonic_ns() >= 100_000);
        assert!(clock.realtime_ns() >= 5_000_100_000);
    }

    #[test]
    fn the_generator_fills_every_byte() {
        let Some(mut generator) = RdRand::new() else { return };
        let mut seen = [0_u8; 21];
        for _ in 0..64 {
            let mut bytes = [0; 21];
            generator.fill(&mut bytes).expect("the CPU's generator works");
            for (seen, byte) in seen.iter_mut().zip(bytes) {
                *seen |= byte;
            }
        }
        // A byte that stays 0 in 64 words by chance has a probability of 2^-512.
        assert!(seen.iter().all(|byte| *byte != 0), "{seen:?}");
    }
}
