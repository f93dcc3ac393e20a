//! How the kernel ends: a status for the emulator, and the last words before it.
//!
//! `die` is the one way out for panics, faults that are not ours and a boot that cannot go on. Nothing here
//! allocates, takes a lock or returns.

use core::fmt;
use core::fmt::Write;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use palimpsest_protocol::{EXIT_PORT, ExitStatus};
use qemu_exit::{QEMUExit, X86};

use crate::serial;

/// Ends the emulator with `status`. Without the exit device the CPU halts for good.
pub fn exit(status: ExitStatus) -> ! {
    X86::new(EXIT_PORT, ExitStatus::Success.qemu_code()).exit(status as u32)
}

/// Prints `reason` to the console and ends the emulator with [`ExitStatus::KernelFailed`].
///
/// Usable from everywhere, also while the console's lock is held. If printing itself dies, nothing more is
/// printed.
pub(crate) fn die(reason: fmt::Arguments<'_>) -> ! {
    static DYING: AtomicBool = AtomicBool::new(false);
    if !DYING.swap(true, Ordering::Relaxed) {
        // The one that reads this is the last thing that still works: there is nobody to tell of an error.
        let _ = writeln!(serial::last_words(), "\n{reason}");
    }
    exit(ExitStatus::KernelFailed)
}

/// Prints file, line and reason of a panic and ends the emulator.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    die(format_args!("kernel {info}"))
}
