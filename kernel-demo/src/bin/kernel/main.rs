//! The demonstration kernel: gives the tour, or runs the guest that it was booted with.
//!
//! Uses only the public API of the crates, as any other kernel would. What it prints is for people; the
//! same figures go out as JSON through the second serial port, and what a guest writes through the third and
//! the fourth.

#![no_std]
#![no_main]

extern crate alloc;

mod programs;
mod report;
mod run;
mod samples;
mod slices;
mod tour;
mod values;
mod world;

use kernel_demo::{ExitStatus, Machine, Mode, boot_main, println};

boot_main!(main);

fn main(machine: Machine) -> ExitStatus {
    match machine.request().mode {
        Mode::Tour => tour::give(&machine),
        Mode::Run => run::guest(&machine),
        mode @ (Mode::List | Mode::Test) => {
            println!("mode {mode:?} is for `vm-tests`: the kernel knows the modes Tour and Run");
            ExitStatus::GuestFailed
        }
    }
}
