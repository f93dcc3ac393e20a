//! How long a tick of the clock is: the time-stamp counter held against the programmable interval timer.
//!
//! Owns channel 2 of the PIT (the one whose end can be seen without an interrupt) and the bits of port 0x61
//! that gate it. [`calibrate`] lets it count down once and tells how many ticks passed; everything that
//! speaks of nanoseconds in this kernel goes through the [`TickRate`] it returns. Called by whoever needs time
//! first; it takes 10 ms and holds nothing.

use core::time::Duration;

use bitflags::bitflags;
use x86_64::instructions::port::{Port, PortWriteOnly};

use crate::clock;

/// The PIT's input frequency in Hz.
const PIT_HZ: u64 = 1_193_182;

/// What the PIT counts down from for a calibration. 10 ms: short enough for a boot, long enough for a rate to four
/// digits.
const CALIBRATION_COUNT: u16 = 11_932;

/// PIT command: channel 2, low byte then high byte, mode 0 (output rises at the end of the count), binary.
const CHANNEL_2_ONE_SHOT: u8 = 0b1011_0000;

bitflags! {
    /// Port 0x61: the gate of channel 2, and its output.
    #[derive(Clone, Copy)]
    struct Gate: u8 {
        /// Channel 2 counts while it is set.
        const COUNT = 1 << 0;
        /// The output drives the speaker.
        const SPEAKER = 1 << 1;
        /// The output of channel 2.
        const OUTPUT = 1 << 5;
    }
}

/// How many ticks of [`clock::ticks`] pass in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TickRate {
    ticks_per_second: u64,
}

impl TickRate {
    /// Ticks in a second.
    #[must_use]
    pub fn ticks_per_second(self) -> u64 {
        self.ticks_per_second
    }

    /// Ticks in `duration`, rounded down.
    #[must_use]
    pub fn ticks_in(self, duration: Duration) -> u64 {
        scale(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX), self.ticks_per_second, 1_000_000_000)
    }

    /// Nanoseconds in `ticks`, rounded down.
    #[must_use]
    pub fn nanoseconds_in(self, ticks: u64) -> u64 {
        scale(ticks, 1_000_000_000, self.ticks_per_second)
    }
}

/// `value * numerator / denominator`, or the largest number where that is more.
fn scale(value: u64, numerator: u64, denominator: u64) -> u64 {
    let scaled = u128::from(value) * u128::from(numerator) / u128::from(denominator);
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

/// Counts the ticks of one run of the PIT.
///
/// No clock in this machine is more exact than the PIT, so the rate is what the PIT makes it; it is at least
/// one tick a second.
#[must_use]
pub fn calibrate() -> TickRate {
    let ticks = count_down(CALIBRATION_COUNT);
    TickRate { ticks_per_second: scale(ticks, PIT_HZ, u64::from(CALIBRATION_COUNT)).max(1) }
}

/// Lets channel 2 count down from `count`, and returns the ticks that it took.
fn count_down(count: u16) -> u64 {
    let mut command = PortWriteOnly::<u8>::new(0x43);
    let mut channel_2 = Port::<u8>::new(0x42);
    let mut gate = Port::<u8>::new(0x61);
    let [low, high] = count.to_le_bytes();
    // SAFETY: port 0x61 is the system control port B of every PC; reading it changes nothing.
    let before = Gate::from_bits_retain(unsafe { gate.read() });
    let stopped = before.difference(Gate::COUNT | Gate::SPEAKER);
    // SAFETY: nobody else uses channel 2; a stopped gate and a silent speaker harm nobody.
    unsafe { gate.write(stopped.bits()) };
    // SAFETY: the command is for channel 2 alone (Intel 8254 data sheet, "Control Word Format").
    unsafe { command.write(CHANNEL_2_ONE_SHOT) };
    // SAFETY: the command announced two bytes of count, the low one first.
    unsafe { channel_2.write(low) };
    // SAFETY: the second of them.
    unsafe { channel_2.write(high) };
    // SAFETY: as the first write to the port: from now on the channel counts.
    unsafe { gate.write(stopped.union(Gate::COUNT).bits()) };
    let start = clock::ticks();
    // SAFETY: reading the port changes nothing.
    while !Gate::from_bits_retain(unsafe { gate.read() }).contains(Gate::OUTPUT) {
        core::hint::spin_loop();
    }
    let ticks = clock::ticks() - start;
    // SAFETY: the port is as it was found.
    unsafe { gate.write(before.bits()) };
    ticks
}
