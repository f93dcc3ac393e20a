//! Ends the kernel with a status for the emulator.
//!
//! All panics, fatal exceptions and boot errors end in `die`. The code here does not allocate,
//! takes no lock and does not return.

use core::fmt;
use core::fmt::Write;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use palimpsest_protocol::{EXIT_PORT, ExitStatus};
use qemu_exit::{QEMUExit, X86};

use crate::serial;

/// Ends the emulator with `status`. Halts the CPU if the exit device is missing.
pub fn exit(status: ExitStatus) -> ! {
    X86::new(EXIT_PORT, ExitStatus::Success.qemu_code()).exit(status as u32)
}

/// Prints `reason` to the console and ends the emulator with [`ExitStatus::KernelFailed`].
///
/// It may be called from anywhere, even while the console's lock is held. If printing fails
/// fatally, nothing more is printed.
pub(crate) fn die(reason: fmt::Arguments<'_>) -> ! {
    static DYING: AtomicBool = AtomicBool::new(false);
    if !DYING.swap(true, Ordering::Relaxed) {
        // An error of the console cannot be reported elsewhere.
        let _ = writeln!(serial::unlocked_console(), "\n{reason}");
    }
    exit(ExitStatus::KernelFailed)
}

/// Prints the file, line and message of a panic, and ends the emulator.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    die(format_args!("kernel {info}"))
}
