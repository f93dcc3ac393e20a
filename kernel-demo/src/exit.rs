//! Ends the kernel with a status for the emulator.
//!
//! All panics, fatal exceptions and boot errors end in `die`, which stops the other CPUs first. The
//! code here does not allocate, takes no lock and does not return.

use core::fmt;
use core::fmt::Write;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicUsize, Ordering};

use palimpsest_protocol::{EXIT_PORT, ExitStatus};
use qemu_exit::{QEMUExit, X86};
use x86_64::instructions::hlt;

use crate::cpu;
use crate::cpus;
use crate::serial;

/// The index of the CPU that ends the kernel, plus 1. It is 0 while none does.
static DYING: AtomicUsize = AtomicUsize::new(0);

/// Ends the emulator with `status`. Halts the CPU if the exit device is missing.
pub fn exit(status: ExitStatus) -> ! {
    X86::new(EXIT_PORT, ExitStatus::Success.qemu_code()).exit(status as u32)
}

/// Prints `reason` to the console and ends the emulator with [`ExitStatus::KernelFailed`].
///
/// It may be called from anywhere, even while the console's lock is held. If printing fails
/// fatally, nothing more is printed.
pub(crate) fn die(reason: fmt::Arguments<'_>) -> ! {
    let own = cpu::this().index() + 1;
    match DYING.compare_exchange(0, own, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => {
            cpus::stop_others();
            // An error of the console cannot be reported elsewhere.
            let _ = writeln!(serial::unlocked_console(), "\n{reason}");
            exit(ExitStatus::KernelFailed)
        }
        Err(dying) if dying == own => exit(ExitStatus::KernelFailed),
        // Another CPU is printing its reason, and ends the emulator afterwards.
        Err(_) => halt(),
    }
}

/// Halts this CPU for good if another one is ending the kernel. A non-maskable interrupt calls it,
/// because it may be the one that the other CPU has sent.
pub(crate) fn halt_if_dying() {
    let dying = DYING.load(Ordering::Relaxed);
    if dying != 0 && dying != cpu::this().index() + 1 {
        halt();
    }
}

fn halt() -> ! {
    loop {
        hlt();
    }
}

/// Prints the file, line and message of a panic, and ends the emulator.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    die(format_args!("kernel {info}"))
}
