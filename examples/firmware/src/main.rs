//! Firmware without an MMU that runs Wasm guests on Palimpsest. Copy from it.
//!
//! It runs on a Cortex-M4 and on a 32-bit RISC-V, both as QEMU emulates them. [`machine`] has what
//! differs between them, [`ram`] divides the RAM and measures its use, [`wasm`] loads and runs
//! guests, and [`lending`] uses the memory of guests that do not run. On the Cortex-M4 `guarded`
//! lends pages of guests that run. The program checks its own results and then ends the emulator.
//! QEMU exits with 33 if every check held. To run it by hand, in this directory:
//!
//! ```text
//! cargo build --release --target thumbv7em-none-eabihf
//! qemu-system-arm -M mps2-an386 -display none -semihosting -kernel \
//!     ../../target/thumbv7em-none-eabihf/release/firmware
//!
//! cargo build --release --target riscv32imac-unknown-none-elf
//! qemu-system-riscv32 -M virt -bios none -display none -semihosting -kernel \
//!     ../../target/riscv32imac-unknown-none-elf/release/firmware
//! ```

#![no_std]
#![no_main]

extern crate alloc;

mod checks;
#[cfg(all(target_arch = "arm", feature = "guard"))]
mod guarded;
mod lending;
mod machine;
mod ram;
mod wasm;

use checks::Checks;
use semihosting::process;

/// The exit code of QEMU for success. Every failure panics, which ends QEMU with another one.
const SUCCESS: i32 = 33;

/// Runs the guests. [`machine`] calls it once, after reset.
fn run() -> ! {
    ram::init();
    let mut checks = Checks::default();
    if let Err(error) = wasm::run(&mut checks) {
        panic!("{error}");
    }
    checks.complete();
    process::exit(SUCCESS)
}
