//! A kernel that Limine loads, with a guest on Palimpsest.
//!
//! The guest, the code that runs it, the memory and the page-fault handler are those of
//! `examples/multiboot2`. `boot` is all that the loader changes. Limine's page tables stay active:
//! they are in RAM that its memory map does not report as usable. The loader's binaries are in no
//! registry of packages, so the tests of this repository build this kernel but do not boot it. With
//! Limine's binaries in a folder, `cargo xtask iso --limine FOLDER` makes a CD image and prints how
//! to boot it. Limine 9.6.7 and 10.4.0 have booted it, under SeaBIOS and OVMF.

#![no_std]
#![no_main]

extern crate alloc;

mod boot;
#[path = "../../multiboot2/src/memory.rs"]
mod memory;
#[path = "../../multiboot2/src/trap.rs"]
mod trap;
#[path = "../../multiboot2/src/wasm.rs"]
mod wasm;

use alloc::boxed::Box;
use core::error::Error;
use core::panic::PanicInfo;

use example_support::checks::Checks;
use example_support::console::{Status, exit, exit_with};
use example_support::println;
use x86_64::VirtAddr;

/// The first function. Limine calls it once, with interrupts off. Only the linker script refers to
/// the name.
#[unsafe(no_mangle)]
extern "sysv64" fn kernel_main() -> ! {
    let (usable, physical_offset) = boot::ram();
    // SAFETY: 1. Limine reports the ranges as RAM that nothing uses. 2. It mapped them at the
    // offset. 3. This is the only call.
    unsafe { memory::init_frames(&usable, physical_offset) }
        .unwrap_or_else(|error| panic!("frames: {error}"));
    trap::init();
    match run(physical_offset) {
        Ok(result) => exit_with(result),
        Err(error) => panic!("{error}"),
    }
}

fn run(physical_offset: VirtAddr) -> Result<u32, Box<dyn Error>> {
    // SAFETY: 1. Limine's tables stay active, and map nothing in the window. 2. This is the only
    // call.
    let space = unsafe { memory::init_space(physical_offset) }?;
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
