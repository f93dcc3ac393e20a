//! A kernel in the upper half that GRUB loads, with a guest on Palimpsest.
//!
//! It follows the steps of `docs/embedding.md`: `memory` makes the frame pool, the heap and the
//! address space, `trap` has the page-fault entry, and `wasm` runs the guest. `boot` and `ram` are
//! what a kernel for GRUB has anyway. The guest's result ends the emulator: QEMU exits with 33 if
//! everything was as it must be. `cargo xtask iso` makes a CD image of it, which boots with a BIOS
//! and with UEFI, and prints how to boot it.

#![no_std]
#![no_main]

extern crate alloc;

mod boot;
mod memory;
mod ram;
mod trap;
mod wasm;

use alloc::boxed::Box;
use core::error::Error;
use core::panic::PanicInfo;

use example_support::checks::Checks;
use example_support::console::{Status, exit, exit_with};
use example_support::println;
use multiboot2::{BootInformation, LoadError};

use boot::PHYSICAL_OFFSET;

/// The first Rust function. `boot` calls it once, in the upper half, with interrupts off.
extern "sysv64" fn kernel_main(magic: u32, information: u32) -> ! {
    assert_eq!(magic, multiboot2::MAGIC, "the loader is not a Multiboot2 loader: use GRUB");
    let information = PHYSICAL_OFFSET + u64::from(information);
    // SAFETY: GRUB's structure is mapped at the offset, and nothing has written to memory since.
    let information: Result<_, LoadError> = unsafe { BootInformation::load(information.as_ptr()) };
    let information = information.unwrap_or_else(|error| panic!("boot information: {error}"));
    let usable = ram::usable(&information);
    // SAFETY: 1. GRUB reports the ranges as RAM. They are above the kernel, and what GRUB passes is
    // not used after this line. 2. `boot` mapped them at the offset. 3. This is the only call.
    unsafe { memory::init_frames(&usable, PHYSICAL_OFFSET) }
        .unwrap_or_else(|error| panic!("frames: {error}"));
    trap::init();
    match run() {
        Ok(result) => exit_with(result),
        Err(error) => panic!("{error}"),
    }
}

fn run() -> Result<u32, Box<dyn Error>> {
    // SAFETY: 1. The tables of `boot` stay active, and map nothing in the window. 2. This is the
    // only call.
    let space = unsafe { memory::init_space(PHYSICAL_OFFSET) }?;
    let free_frames = memory::pool().free_frames();
    println!("{free_frames} frames of 4 KiB are free");
    let mut checks = Checks::default();
    let result = wasm::run(space)?;
    checks.equal("the guest's result", result, Status::Success as u32);
    checks.equal("frames free after the guest's end", memory::pool().free_frames(), free_frames);
    checks.complete();
    Ok(result)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    println!("{info}");
    exit(Status::Failure)
}
