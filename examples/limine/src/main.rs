//! A kernel that Limine loads, with a guest on Palimpsest.
//!
//! The guest, and the code that runs it and that handles page faults, are those of
//! `examples/multiboot2`. `boot` and `memory` are all that the loader changes. The loader's
//! binaries are in no registry of packages, so the tests of this repository build this kernel but
//! do not boot it. With Limine's binaries in a folder, `cargo xtask iso --limine FOLDER` makes a CD
//! image and prints how to boot it.

#![no_std]
#![no_main]

extern crate alloc;

mod boot;
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

/// The first function. Limine calls it once, with interrupts off. Only the linker script refers to
/// the name.
#[unsafe(no_mangle)]
extern "sysv64" fn kernel_main() -> ! {
    // SAFETY: this is the only call, and the first.
    unsafe { memory::init_frames() }.unwrap_or_else(|error| panic!("frames: {error}"));
    trap::init();
    match run() {
        Ok(result) => exit_with(result),
        Err(error) => panic!("{error}"),
    }
}

fn run() -> Result<u32, Box<dyn Error>> {
    // SAFETY: 1. Limine's tables stay active, and map nothing in the window. 2. This is the only
    // call.
    let space = unsafe { memory::init_space() }?;
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
