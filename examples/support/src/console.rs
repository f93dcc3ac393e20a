//! Output: text through the first serial port, and a status through QEMU's exit device.
//!
//! It has neither state nor a lock. A kernel with threads prints in one of them only.

use core::fmt::{self, Write};

use x86_64::instructions::hlt;
use x86_64::instructions::port::Port;

/// The data register of COM1.
const DATA_PORT: u16 = 0x3f8;
/// The line status register of COM1.
const STATUS_PORT: u16 = DATA_PORT + 5;
/// In the line status register: the next byte can be written.
const TRANSMITTER_EMPTY: u8 = 1 << 5;
/// The port that the command line of QEMU assigns to the device `isa-debug-exit`.
const EXIT_PORT: u16 = 0xf4;

/// How the kernel ended. QEMU exits with twice the number plus one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum Status {
    /// QEMU exits with 33.
    Success = 0x10,
    /// QEMU exits with 37.
    Failure = 0x12,
}

/// Ends the emulator. Halts the CPU if the exit device is missing.
pub fn exit(status: Status) -> ! {
    exit_with(status as u32)
}

/// Ends the emulator with the number of a [`Status`], or another one below 128.
pub fn exit_with(number: u32) -> ! {
    // SAFETY: the port belongs to the exit device. Without that device, the write has no effect.
    unsafe { Port::new(EXIT_PORT).write(number) };
    loop {
        hlt();
    }
}

/// Prints a line. Use the macro `println!` instead.
///
/// # Panics
///
/// Panics if the `Display` implementation of an argument fails.
pub fn print_line(text: fmt::Arguments<'_>) {
    writeln!(Console, "{text}").expect("`Console` never fails, only a broken `Display` does");
}

/// Prints a line, like the macro of `std`.
#[macro_export]
macro_rules! println {
    ($($argument:tt)*) => { $crate::console::print_line(format_args!($($argument)*)) };
}

/// Connects `core::fmt` to the serial port.
struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(put);
        Ok(())
    }
}

fn put(byte: u8) {
    // SAFETY: reading the line status register of COM1 does not change memory.
    while unsafe { Port::<u8>::new(STATUS_PORT).read() } & TRANSMITTER_EMPTY == 0 {}
    // SAFETY: writing the data register of COM1 sends the byte and does not change memory.
    unsafe { Port::new(DATA_PORT).write(byte) };
}
