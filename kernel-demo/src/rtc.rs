//! The date and time of day, from the battery-backed clock of a PC.
//!
//! The clock is the first ten bytes of the CMOS memory (Motorola MC146818A data sheet, "Time,
//! Calendar, and Alarm Locations"). It counts whole seconds and is slow to read. A caller should
//! read it once and then use the time-stamp counter. The clock is expected to run in UTC, as in
//! QEMU.

use bitflags::bitflags;
use x86_64::instructions::port::{Port, PortWriteOnly};

/// Selects a byte of the CMOS memory. The highest bit is clear, so non-maskable interrupts are
/// enabled.
const INDEX_PORT: u16 = 0x70;
/// Contains the selected byte.
const DATA_PORT: u16 = 0x71;

const SECONDS: u8 = 0x00;
const MINUTES: u8 = 0x02;
const HOURS: u8 = 0x04;
const DAY_OF_MONTH: u8 = 0x07;
const MONTH: u8 = 0x08;
const YEAR: u8 = 0x09;
const STATUS_A: u8 = 0x0a;
const STATUS_B: u8 = 0x0b;

/// The flag for the afternoon in an hour of the 12-hour format.
const AFTERNOON: u8 = 0x80;

/// The year that the clock shows as 0.
const CENTURY: u64 = 2000;

bitflags! {
    /// Register A.
    struct StatusA: u8 {
        /// The clock is being updated, or is about to be, so its values may be inconsistent.
        const UPDATE_IN_PROGRESS = 1 << 7;
    }

    /// Register B.
    #[derive(Clone, Copy)]
    struct StatusB: u8 {
        /// Hours are from 0 to 23.
        const HOURS_24 = 1 << 1;
        /// Numbers are binary, not binary-coded decimal.
        const BINARY = 1 << 2;
    }
}

/// The date and time that the clock shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct DateTime {
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
}

/// Returns the seconds since the start of 1970, UTC.
#[must_use]
pub fn unix_seconds() -> u64 {
    read_consistent().unix_seconds()
}

/// Reads the clock until two readings are equal, so that none was torn by an update.
fn read_consistent() -> DateTime {
    let mut last = read();
    loop {
        let next = read();
        if next == last {
            return next;
        }
        last = next;
    }
}

fn read() -> DateTime {
    while StatusA::from_bits_retain(register(STATUS_A)).contains(StatusA::UPDATE_IN_PROGRESS) {
        core::hint::spin_loop();
    }
    let form = StatusB::from_bits_retain(register(STATUS_B));
    let number = |index| u64::from(form.number(register(index)));
    DateTime {
        year: CENTURY + number(YEAR),
        month: number(MONTH),
        day: number(DAY_OF_MONTH),
        hour: form.hour(register(HOURS)),
        minute: number(MINUTES),
        second: number(SECONDS),
    }
}

impl StatusB {
    fn number(self, byte: u8) -> u8 {
        if self.contains(Self::BINARY) { byte } else { (byte >> 4) * 10 + (byte & 0xf) }
    }

    fn hour(self, byte: u8) -> u64 {
        if self.contains(Self::HOURS_24) {
            return self.number(byte).into();
        }
        let half = if byte & AFTERNOON == 0 { 0 } else { 12 };
        // The hour 12 is the first of its half of the day.
        u64::from(self.number(byte & !AFTERNOON)) % 12 + half
    }
}

impl DateTime {
    fn unix_seconds(self) -> u64 {
        ((self.days() * 24 + self.hour) * 60 + self.minute) * 60 + self.second
    }

    /// Returns the days since the start of 1970. Every fourth year until 2099 is a leap year.
    fn days(self) -> u64 {
        const BEFORE_MONTH: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
        let leap_days = (self.year - 1969) / 4;
        let leap_day = u64::from(self.year.is_multiple_of(4) && self.month > 2);
        let month = BEFORE_MONTH.iter().zip(1..).find(|(_, month)| *month == self.month);
        let before_month = month.map_or(0, |(days, _)| *days);
        (self.year - 1970) * 365 + leap_days + before_month + leap_day + self.day.saturating_sub(1)
    }
}

fn register(index: u8) -> u8 {
    let mut select = PortWriteOnly::<u8>::new(INDEX_PORT);
    let mut data = Port::<u8>::new(DATA_PORT);
    // SAFETY: every PC has this port. Selecting a byte affects only the result of the next read.
    unsafe { select.write(index) };
    // SAFETY: reading has no effect, except for register C, which is not read (MC146818A data
    // sheet).
    unsafe { data.read() }
}
