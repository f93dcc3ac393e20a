//! The serial ports: COM1 for people, COM2 for the machine-readable report, COM3 and COM4 for what a guest
//! writes.
//!
//! Owns the ports and the `log` backend. `boot` calls `init` first of all; afterwards the `println!` macro
//! and `log` write to the console, `report` sends the report, and `send` a guest's bytes, none of which is
//! changed or held back. Lines of the kernel end with a bare line feed: QEMU's terminal adds the carriage
//! return. The page-fault path never comes here (it would have to take the lock).

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

/// What a guest writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestStream {
    /// Its standard output: COM3.
    Output,
    /// Its standard error: COM4.
    Errors,
}

/// Why a report was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The machine has no second serial port.
    #[error("no serial port answers at I/O port {base:#x}: start QEMU with a second -serial option")]
    NoPort {
        /// The port's base address.
        base: u16,
    },
}

/// A 16550 that `core::fmt` can write to.
pub(crate) struct SerialPort(Uart16550<PioBackend>);

impl SerialPort {
    /// Takes the port at `base` as it is.
    fn at(base: u16) -> Self {
        // SAFETY: `base` is that of COM1, COM2, COM3 or COM4, which a PC has there or nowhere; an absent one
        // answers with ones.
        let uart = unsafe { Uart16550::new_port(base) };
        Self(uart.expect("COM1 to COM4 lie far below the end of the port space"))
    }

    /// Takes the port at `base` and sets the line up; `None` if no device answers.
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

/// Sets the ports up, as far as they exist, and becomes the `log` backend.
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
    log::set_logger(&LOGGER).expect("the boot path runs once");
    log::set_max_level(LevelFilter::Info);
}

/// Prints to the console, if there is one. The [`println!`](crate::println) macro is the usual way here.
///
/// # Panics
///
/// If the `Display` implementation of an argument reports an error.
pub fn print(text: fmt::Arguments<'_>) {
    if let Some(console) = CONSOLE.get() {
        console
            .lock()
            .write_fmt(text)
            .expect("only a broken `Display` reports an error: the port never does");
    }
}

/// Sends `answer` to the host: one line of JSON through the second serial port. Each boot has one answer.
///
/// # Errors
///
/// [`ReportError::NoPort`] if the machine has no such port.
///
/// # Panics
///
/// If `answer` has no form in JSON. Every type of `palimpsest_protocol` has one.
pub fn report(answer: &impl Serialize) -> Result<(), ReportError> {
    let port = REPORT.get().ok_or(ReportError::NoPort { base: REPORT_PORT })?;
    let json = serde_json::to_string(answer).expect("an answer has string keys and finite depth");
    writeln!(port.lock(), "{json}").expect("writing to a serial port reports no errors");
    Ok(())
}

/// Sends what a guest writes, as it is. A machine without the port gets it on the console, if there is one.
pub fn send(stream: GuestStream, bytes: &[u8]) {
    let port = match stream {
        GuestStream::Output => &GUEST_OUTPUT,
        GuestStream::Errors => &GUEST_ERRORS,
    };
    if let Some(port) = port.get().or_else(|| CONSOLE.get()) {
        port.lock().0.send_bytes_exact(bytes);
    }
}

/// A writer to the console that takes no lock, for code that never returns.
pub(crate) fn last_words() -> SerialPort {
    SerialPort::at(CONSOLE_PORT)
}

/// Prints a line to the console, as `std`'s macro of this name does.
#[macro_export]
macro_rules! println {
    () => { $crate::serial::print(format_args!("\n")) };
    ($($argument:tt)*) => { $crate::serial::print(format_args!("{}\n", format_args!($($argument)*))) };
}
