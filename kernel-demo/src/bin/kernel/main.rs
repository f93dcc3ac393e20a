//! The demonstration kernel: takes the tour, or runs the guest that it was booted with.
//!
//! It uses only the public API of the crates, as any other kernel would. It prints text to the
//! console, and sends the same figures as JSON through the second serial port. The output of a
//! guest goes through the third and the fourth.

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

use kernel_demo::{ExitStatus, Machine, boot_main, println};
use palimpsest_protocol::Task;

boot_main!(main);

/// The part of the heap that is set aside, so that the kernel runs on when a guest has taken the
/// rest. The engine sets aside more for its guests' code.
const HEAP_RESERVE_DIVISOR: usize = 8;
const MAX_HEAP_RESERVE_BYTES: usize = 4 << 20;

fn main(machine: Machine) -> ExitStatus {
    let reserve_bytes = (machine.heap().size_bytes / HEAP_RESERVE_DIVISOR).min(MAX_HEAP_RESERVE_BYTES);
    if let Err(error) = machine.reserve_heap(reserve_bytes) {
        println!("{error}");
        return ExitStatus::GuestFailed;
    }
    match &machine.request().task {
        Task::Tour => tour::give(&machine),
        Task::Run(request) => run::guest(&machine, request),
        other
        @ (Task::ListTests | Task::Test(_) | Task::Specification | Task::Soak(_) | Task::Measure(_)) => {
            println!("this kernel supports the tasks Tour and Run, not {other:?}");
            ExitStatus::GuestFailed
        }
    }
}
