//! The way out of the machine: text through the first serial port, a status through QEMU's exit device.
//!
//! No state and no lock: the kernel has one CPU and enables no interrupts, and each byte goes out by itself.
//! Called from everywhere, the panic handler included.

use core::fmt::{self, Write};

use x86_64::instructions::hlt;
use x86_64::instructions::port::Port;

/// COM1's data register.
const DATA_PORT: u16 = 0x3f8;
/// COM1's line status register.
const STATUS_PORT: u16 = DATA_PORT + 5;
/// In the line status register: the next byte may be written.
const TRANSMITTER_EMPTY: u8 = 1 << 5;
/// Where QEMU is told to place the device `isa-debug-exit`.
const EXIT_PORT: u16 = 0xf4;

/// How the kernel ended. QEMU's exit status is twice the number plus one.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum Status {
    /// QEMU ends with 33.
    Success = 0x10,
    /// QEMU ends with 37.
    Failure = 0x12,
}

/// Ends the emulator. Without the exit device the CPU halts for good.
pub(crate) fn exit(status: Status) -> ! {
    // SAFETY: the port belongs to the exit device or to nobody.
    unsafe { Port::new(EXIT_PORT).write(status as u32) };
    loop {
        hlt();
    }
}

/// Prints a line. The macro `println!` is the usual way here.
///
/// # Panics
///
/// If the `Display` implementation of an argument reports an error.
pub(crate) fn print_line(text: fmt::Arguments<'_>) {
    writeln!(Console, "{text}").expect("only a broken `Display` reports an error: the port never does");
}

/// Prints a line, as `std`'s macro of this name does.
macro_rules! println {
    ($($argument:tt)*) => { $crate::console::print_line(format_args!($($argument)*)) };
}
pub(crate) use println;

/// What `core::fmt` writes to.
struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(put);
        Ok(())
    }
}

fn put(byte: u8) {
    // SAFETY: reading the line status register of COM1 changes no memory.
    while unsafe { Port::<u8>::new(STATUS_PORT).read() } & TRANSMITTER_EMPTY == 0 {}
    // SAFETY: the byte goes out through the serial line and nowhere else.
    unsafe { Port::new(DATA_PORT).write(byte) };
}
