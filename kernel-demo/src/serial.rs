//! The two serial ports: COM1 for people, COM2 for the machine-readable report.
//!
//! Owns both ports and the `log` backend. `boot` calls `init` first of all; afterwards the `println!` macro
//! and `log` write to the console and `report` sends the report. Lines end with a bare line feed: QEMU's
//! terminal adds the carriage return. The page-fault path never comes here (it would have to take the lock).

use core::fmt;
use core::fmt::Write;

use log::{LevelFilter, Log, Metadata, Record};
use spin::{Mutex, Once};
use thiserror::Error;
use uart_16550::backend::PioBackend;
use uart_16550::{BaudRate, Config, Uart16550};

/// Base I/O port of COM1.
pub(crate) const CONSOLE_PORT: u16 = 0x3f8;
/// Base I/O port of COM2.
const REPORT_PORT: u16 = 0x2f8;

static CONSOLE: Once<Mutex<SerialPort>> = Once::new();
static REPORT: Once<Mutex<SerialPort>> = Once::new();

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
        // SAFETY: `base` is COM1 or COM2, which a PC has there or nowhere; an absent one answers with ones.
        let uart = unsafe { Uart16550::new_port(base) };
        Self(uart.expect("COM1 and COM2 lie far below the end of the port space"))
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

/// Sets both ports up, as far as they exist, and becomes the `log` backend.
pub(crate) fn init() {
    if let Some(port) = SerialPort::set_up(CONSOLE_PORT) {
        CONSOLE.call_once(|| Mutex::new(port));
    }
    if let Some(port) = SerialPort::set_up(REPORT_PORT) {
        REPORT.call_once(|| Mutex::new(port));
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

/// Sends `line` and a line feed through the second serial port.
///
/// # Errors
///
/// [`ReportError::NoPort`] if the machine has no such port.
pub fn report(line: &str) -> Result<(), ReportError> {
    let port = REPORT.get().ok_or(ReportError::NoPort { base: REPORT_PORT })?;
    writeln!(port.lock(), "{line}").expect("writing to a serial port reports no errors");
    Ok(())
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
