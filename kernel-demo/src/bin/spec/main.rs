//! Runs the WebAssembly specification's tests in ring 0, on demand-paged memory.
//!
//! `cargo xtask test --spec` boots this with a command stream in the boot archive. What fails is printed as it
//! happens, a line for each file behind it, and the totals last. Every file must have given all of its frames
//! back before the next one starts.

#![no_std]
#![no_main]

extern crate alloc;

use kernel_demo::{ExitStatus, Machine, boot_main, println, stack};
use palimpsest_engine::{Backing, Paged};
use palimpsest_spec::{
    Totals,
    runner::{self, Event, RunError},
};

boot_main!(main);

/// The file of the boot archive that the tests are in.
const STREAM: &str = "spec.stream";

fn main(machine: Machine) -> ExitStatus {
    let Some(stream) = machine.file(STREAM) else {
        println!("the boot archive has no {STREAM}: `cargo xtask test --spec` makes one");
        return ExitStatus::GuestFailed;
    };
    let before = machine.frames().free_frames();
    let mut leaks = 0;
    let totals = match run(&machine, stream, before, &mut leaks) {
        Ok(totals) => totals,
        Err(error) => {
            println!("FAILED the tests cannot be run: {error}");
            return ExitStatus::GuestFailed;
        }
    };
    println!("free frames: {before} before, {} after", machine.frames().free_frames());
    println!("kernel stack: at most {} bytes were in use", stack::peak_bytes());
    println!("SPEC_COMPLETE {}", totals.directives());
    println!("{totals}");
    if totals.failed == 0 && leaks == 0 { ExitStatus::Success } else { ExitStatus::GuestFailed }
}

/// Runs all tests and counts the files behind which fewer than `free_frames` frames are free.
fn run(machine: &Machine, stream: &[u8], free_frames: u64, leaks: &mut u32) -> Result<Totals, RunError> {
    let backing = Backing::from(Paged::new(machine.space()));
    runner::run(stream, &backing, &mut |event| {
        println!("{event}");
        let Event::FileDone { file, .. } = event else { return };
        let free = machine.frames().free_frames();
        if free != free_frames {
            println!("FAILED {file}: {free_frames} frames were free before, {free} are free after");
            *leaks += 1;
        }
    })
}
