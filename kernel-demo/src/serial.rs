//! The serial ports. COM1 is the console, COM2 carries the machine-readable report, and COM3 and
//! COM4 the output of a guest.
//!
//! `println!` and `log` write to the console, `report` sends the report, and `send` the bytes of a
//! guest, unchanged and unbuffered. Lines of the kernel end with a line feed, to which QEMU's
//! terminal adds the carriage return. The page-fault path must not use the console, because its
//! lock may be held.

use core::fmt;
use core::fmt::Write;

use log::{LevelFilter, Log, Metadata, Record};
use serde::Serialize;
use spin::{Mutex, Once};
use thiserror::Error;
use uart_16550::backend::PioBackend;
use uart_16550::{BaudRate, Config, Uart16550};

/// Base I/O port of COM1.
pub(crate) const CONSOLE_PORT: u16 = 0x3f8;
/// Base I/O port of COM2.
const REPORT_PORT: u16 = 0x2f8;
/// Base I/O port of COM3.
const GUEST_OUTPUT_PORT: u16 = 0x3e8;
/// Base I/O port of COM4.
const GUEST_ERRORS_PORT: u16 = 0x2e8;

static CONSOLE: Once<Mutex<SerialPort>> = Once::new();
static REPORT: Once<Mutex<SerialPort>> = Once::new();
static GUEST_OUTPUT: Once<Mutex<SerialPort>> = Once::new();
static GUEST_ERRORS: Once<Mutex<SerialPort>> = Once::new();

/// An output stream of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestStream {
    /// Standard output: COM3.
    Output,
    /// Standard error: COM4.
    Errors,
}

/// Why a report was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The machine has no second serial port.
    #[error("no serial port answers at I/O port {base:#x}: start QEMU with a second -serial option")]
    NoPort {
        /// The base address of the port.
        base: u16,
    },
}

/// A serial port that `core::fmt` can write to.
pub(crate) struct SerialPort(Uart16550<PioBackend>);

impl SerialPort {
    /// Uses the port at `base` without initializing it.
    fn at(base: u16) -> Self {
        // SAFETY: `base` is that of COM1, COM2, COM3 or COM4. In a PC, no other device has these
        // ports, and reading an absent one returns ones.
        let uart = unsafe { Uart16550::new_port(base) };
        Self(uart.expect("COM1 to COM4 are below the end of the port space"))
    }

    /// Initializes the port at `base`. Returns None if no device answers.
    fn set_up(base: u16) -> Option<Self> {
        let mut port = Self::at(base);
        let config = Config { baud_rate: BaudRate::Baud115200, ..Config::DEFAULT };
        port.0.init(config).ok()?;
        Some(port)
    }
}

impl Write for SerialPort {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.send_bytes_exact(text.as_bytes());
        Ok(())
    }
}

/// The `log` backend: one line on the console per record.
struct Logger;

static LOGGER: Logger = Logger;

impl Log for Logger {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        print(format_args!("{}: {}\n", record.level(), record.args()));
    }

    fn flush(&self) {}
}

/// Initializes the ports that exist, and installs the `log` backend.
pub(crate) fn init() {
    for (place, base) in [
        (&CONSOLE, CONSOLE_PORT),
        (&REPORT, REPORT_PORT),
        (&GUEST_OUTPUT, GUEST_OUTPUT_PORT),
        (&GUEST_ERRORS, GUEST_ERRORS_PORT),
    ] {
        if let Some(port) = SerialPort::set_up(base) {
            place.call_once(|| Mutex::new(port));
        }
    }
    log::set_logger(&LOGGER).expect("`init` is called once");
    log::set_max_level(LevelFilter::Info);
}

/// Prints to the console, if there is one. Use the macro [`println!`](crate::println) instead.
///
/// # Panics
///
/// Panics if the `Display` implementation of an argument fails.
pub fn print(text: fmt::Arguments<'_>) {
    if let Some(console) = CONSOLE.get() {
        console.lock().write_fmt(text).expect("`SerialPort` never fails, only a broken `Display` does");
    }
}

/// Sends `answer` to the host, as one line of JSON through the second serial port. A boot has one
/// answer.
///
/// # Errors
///
/// [`ReportError::NoPort`] if the machine has no second serial port.
///
/// # Panics
///
/// Panics if `answer` cannot be serialized. All types of `palimpsest_protocol` can.
pub fn report(answer: &impl Serialize) -> Result<(), ReportError> {
    let port = REPORT.get().ok_or(ReportError::NoPort { base: REPORT_PORT })?;
    let json = serde_json::to_string(answer).expect("an answer has string keys and finite depth");
    writeln!(port.lock(), "{json}").expect("`SerialPort` never fails");
    Ok(())
}

/// Sends the bytes of a guest. If the machine does not have the port, sends them to the console.
pub fn send(stream: GuestStream, bytes: &[u8]) {
    let port = match stream {
        GuestStream::Output => &GUEST_OUTPUT,
        GuestStream::Errors => &GUEST_ERRORS,
    };
    if let Some(port) = port.get().or_else(|| CONSOLE.get()) {
        port.lock().0.send_bytes_exact(bytes);
    }
}

/// Returns the console without its lock, for code that does not return.
pub(crate) fn unlocked_console() -> SerialPort {
    SerialPort::at(CONSOLE_PORT)
}

/// Prints a line to the console, like the macro of `std`.
#[macro_export]
macro_rules! println {
    () => { $crate::serial::print(format_args!("\n")) };
    ($($argument:tt)*) => { $crate::serial::print(format_args!("{}\n", format_args!($($argument)*))) };
}
