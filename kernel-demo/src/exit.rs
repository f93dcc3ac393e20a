//! How the kernel ends: a status for the emulator, and the last words before it.
//!
//! Owns the exit statuses (`cargo xtask` knows the same numbers) and `die`, the one way out for panics,
//! faults that are not ours and a boot that cannot go on. Nothing here allocates, takes a lock or returns.

use core::fmt;
use core::fmt::Write;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use qemu_exit::{QEMUExit, X86};

use crate::serial;

/// The I/O port of QEMU's `isa-debug-exit` device, as `cargo xtask` places it.
pub(crate) const EXIT_PORT: u16 = 0xf4;

/// The status that `cargo xtask` sees for [`ExitStatus::Success`]. QEMU ends with `value * 2 + 1`.
const QEMU_SUCCESS: u32 = 33;

/// What the kernel's run came to. The number is the value written to the exit device; QEMU's own exit status
/// is twice that plus one, so that none of them is 0, the status of a machine that rebooted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ExitStatus {
    /// Everything asked for was done (QEMU ends with 33).
    Success = 0x10,
    /// The guest's call failed, or a check of a test did (QEMU ends with 35).
    GuestFailed = 0x11,
    /// The kernel panicked, took a fault that is not its own or could not boot (QEMU ends with 37).
    KernelFailed = 0x12,
}

/// Ends the emulator with `status`. Without the exit device the CPU halts for good.
pub fn exit(status: ExitStatus) -> ! {
    X86::new(EXIT_PORT, QEMU_SUCCESS).exit(status as u32)
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
