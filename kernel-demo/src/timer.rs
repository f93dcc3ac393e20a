//! The rates of the time-stamp counter and of the CPUs' local timers, measured against the
//! programmable interval timer (PIT).
//!
//! Channel 2 of the PIT is the one whose end can be read without an interrupt. Bits of port 0x61
//! gate it. [`calibrate`] lets it count down once, which takes 10 ms. All code that converts
//! between ticks and nanoseconds uses the resulting [`TickRate`].

use core::time::Duration;

use bitflags::bitflags;
pub use palimpsest_wasi::TickRate;
use x86_64::instructions::port::{Port, PortWriteOnly};

use crate::apic;
use crate::clock;

/// The input frequency of the PIT in Hz.
const PIT_HZ: u64 = 1_193_182;

/// The initial count of a calibration, which takes 10 ms: short enough for a boot, and long enough
/// for a rate with four significant digits.
const CALIBRATION_COUNT: u16 = 11_932;

/// PIT command: channel 2, low byte then high byte, mode 0 (output rises at the end), binary.
const CHANNEL_2_ONE_SHOT: u8 = 0b1011_0000;

bitflags! {
    /// Port 0x61: the gate of channel 2, and its output.
    #[derive(Clone, Copy)]
    struct Gate: u8 {
        /// Channel 2 counts.
        const COUNT = 1 << 0;
        /// The output drives the speaker.
        const SPEAKER = 1 << 1;
        /// The output of channel 2.
        const OUTPUT = 1 << 5;
    }
}

/// Measures the rate with one run of the PIT, which is the most accurate clock of this machine.
#[must_use]
pub fn calibrate() -> TickRate {
    let period = Duration::from_nanos(u64::from(CALIBRATION_COUNT) * 1_000_000_000 / PIT_HZ);
    TickRate::measured(count_down(CALIBRATION_COUNT), period)
}

/// The timers of all CPUs' local APICs, which count at one rate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalTimer {
    rate: TickRate,
}

impl LocalTimer {
    /// The time for which the rate is measured.
    const CALIBRATION: Duration = Duration::from_millis(10);

    /// Measures the rate of the calling CPU's timer. One CPU at a time may do it, because there is
    /// one PIT.
    pub(crate) fn calibrate() -> Self {
        apic::start_timer(u32::MAX);
        wait(Self::CALIBRATION);
        let counted = u32::MAX - apic::timer_count();
        apic::start_timer(0);
        Self { rate: TickRate::measured(counted.into(), Self::CALIBRATION) }
    }

    /// Interrupts the calling CPU once after `period`, or earlier if the timer cannot count so
    /// long. It replaces the interrupt that was set before.
    pub(crate) fn interrupt_after(self, period: Duration) {
        let count = u32::try_from(self.rate.ticks_in(period)).unwrap_or(u32::MAX);
        apic::start_timer(count.max(1));
    }

    /// Withdraws the interrupt of the calling CPU.
    pub(crate) fn stop(self) {
        apic::start_timer(0);
    }
}

/// Waits for `period`, which must be at most 50 ms, the longest time that the PIT can count.
pub(crate) fn wait(period: Duration) {
    let cycles = period.as_nanos() * u128::from(PIT_HZ) / 1_000_000_000;
    count_down(u16::try_from(cycles).expect("the period is at most 50 ms"));
}

/// Lets channel 2 count down from `count`, and returns the number of ticks that this took.
fn count_down(count: u16) -> u64 {
    let mut command = PortWriteOnly::<u8>::new(0x43);
    let mut channel_2 = Port::<u8>::new(0x42);
    let mut gate = Port::<u8>::new(0x61);
    let [low, high] = count.to_le_bytes();
    // SAFETY: port 0x61 is the system control port B of every PC. Reading it has no effect.
    let before = Gate::from_bits_retain(unsafe { gate.read() });
    let stopped = before.difference(Gate::COUNT | Gate::SPEAKER);
    // SAFETY: no other code uses channel 2. This stops its counting and silences the speaker.
    unsafe { gate.write(stopped.bits()) };
    // SAFETY: the command affects only channel 2 (Intel 8254 data sheet, "Control Word Format").
    unsafe { command.write(CHANNEL_2_ONE_SHOT) };
    // SAFETY: the command announced two bytes of count. This is the low byte.
    unsafe { channel_2.write(low) };
    // SAFETY: this is the high byte of the count.
    unsafe { channel_2.write(high) };
    // SAFETY: no other code uses channel 2. This starts its counting.
    unsafe { gate.write(stopped.union(Gate::COUNT).bits()) };
    let start = clock::ticks();
    // SAFETY: reading the port has no effect.
    while !Gate::from_bits_retain(unsafe { gate.read() }).contains(Gate::OUTPUT) {
        core::hint::spin_loop();
    }
    let ticks = clock::ticks() - start;
    // SAFETY: this restores the value from before the calibration.
    unsafe { gate.write(before.bits()) };
    ticks
}
