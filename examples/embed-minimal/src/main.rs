//! The smallest kernel that runs Wasm guests on Palimpsest. Copy from it.
//!
//! Every kernel has `boot`, `frames`, `memory` and `trap` in some form, and what is in
//! `examples/support`: a console and the CPU's tables. Palimpsest adds the address space in
//! `memory`, one call in `trap`, and `wasm`, which loads and runs a guest. The kernel checks its
//! own results and then ends the emulator. QEMU exits with 33 if every check held. To run it by
//! hand, in this directory:
//!
//! ```text
//! cargo build --release --target x86_64-unknown-none
//! qemu-system-x86_64 -display none -serial stdio -no-reboot \
//!     -device isa-debug-exit,iobase=0xf4,iosize=4 \
//!     -kernel ../../target/x86_64-unknown-none/release/embed-minimal
//! ```

#![no_std]
#![no_main]

extern crate alloc;

mod boot;
mod frames;
mod memory;
mod trap;
mod wasm;

use alloc::boxed::Box;
use core::error::Error;
use core::panic::PanicInfo;

use example_support::checks::Checks;
use example_support::console::{Status, exit};
use example_support::println;

/// The first Rust function. `boot` calls it once, on the stack below the kernel, with interrupts
/// off.
extern "sysv64" fn kernel_main() -> ! {
    // SAFETY: 1. `boot` mapped the heap. 2. This is the only call.
    let heap = unsafe { memory::init_heap() };
    trap::init();
    match heap.map_err(Box::from).and_then(|()| run()) {
        Ok(()) => exit(Status::Success),
        Err(error) => panic!("{error}"),
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    // SAFETY: 1. The tables of `boot` stay active. 2. This is the only call.
    let space = unsafe { memory::init_space() }?;
    let free_frames = frames::free();
    println!("{free_frames} frames of 4 KiB are free");
    let mut checks = Checks::default();
    wasm::run(space, &mut checks)?;
    checks.equal("frames free after the guest's end", frames::free(), free_frames);
    checks.complete();
    Ok(())
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    println!("{info}");
    exit(Status::Failure)
}
