//! Runs the WebAssembly specification's tests on a 32-bit RISC-V, over a byte slice.
//!
//! `cargo xtask test --spec` boots this program under QEMU, which puts the command stream into the
//! RAM, after its length. The program prints each failure, a line after each file, and the totals
//! last. Each file must release all of its memory before the next one starts.

#![no_std]
#![no_main]

use core::mem::MaybeUninit;
use core::ops::Range;
use core::slice;

use linked_list_allocator::LockedHeap;
use palimpsest_engine::{Backing, Fixed, Fuel};
use palimpsest_spec::{
    COMPLETE, Totals,
    runner::{self, Event, RunError},
};
use riscv_rt::{TrapFrame, entry};
use semihosting::{println, process};

/// The exit code of QEMU for success. A panic ends it with another one.
const SUCCESS: i32 = 33;
/// That for a failed test.
const FAILURE: i32 = 35;

/// The bytes before the stream, which contain its length.
const LENGTH_BYTES: usize = 8;

#[global_allocator]
static HEAP: LockedHeap = LockedHeap::empty();

// Symbols of the linker script, of which only the addresses are used.
unsafe extern "C" {
    static mut _spec_heap: u8;
    static mut _spec_heap_end: u8;
    static mut _spec_stream: u8;
    static mut _spec_stream_end: u8;
    static mut _spec_guests: u8;
    static mut _spec_guests_end: u8;
}

#[entry]
fn main() -> ! {
    let heap = &raw mut _spec_heap..&raw mut _spec_heap_end;
    let guests = &raw mut _spec_guests..&raw mut _spec_guests_end;
    let stream = &raw mut _spec_stream..&raw mut _spec_stream_end;
    // SAFETY: the linker script places nothing else there, and this function is called once.
    let heap = unsafe { region(heap) };
    // SAFETY: as above.
    let guests = unsafe { region(guests) };
    // SAFETY: as above.
    let stream = unsafe { region(stream) };
    // SAFETY: QEMU fills all RAM with zeros, and then a part of it with the stream.
    let stream = unsafe { stream.assume_init_ref() };
    HEAP.lock().init_from_slice(heap);
    match run(contents(stream), Fixed::new(guests)) {
        Ok((totals, leaks)) => {
            println!("{COMPLETE}{}", totals.directives());
            println!("{totals}");
            process::exit(if totals.failed == 0 && leaks == 0 { SUCCESS } else { FAILURE })
        }
        Err(error) => panic!("the tests cannot be run: {error}"),
    }
}

/// Returns the bytes of a range of RAM.
///
/// # Safety
///
/// The range is RAM that nothing else uses.
unsafe fn region(range: Range<*mut u8>) -> &'static mut [MaybeUninit<u8>] {
    let bytes = range.end.addr() - range.start.addr();
    // SAFETY: the caller guarantees that nothing else uses the bytes.
    unsafe { slice::from_raw_parts_mut(range.start.cast(), bytes) }
}

/// Returns the command stream, whose length QEMU has put before it.
fn contents(ram: &[u8]) -> &[u8] {
    let (length, rest) = ram.split_first_chunk::<LENGTH_BYTES>().expect("the region has many bytes");
    let length = usize::try_from(u64::from_le_bytes(*length)).ok();
    length.and_then(|length| rest.get(..length)).expect("QEMU has loaded a stream that fits the region")
}

/// Runs all tests. Returns their totals, and the number of files after which memory was missing.
fn run(stream: &[u8], fixed: Fixed) -> Result<(Totals, u32), RunError> {
    let free_bytes = fixed.free_bytes();
    let mut leaks = 0;
    let totals = runner::run(stream, &Backing::from(fixed.clone()), Fuel::Unmetered, &mut |event| {
        println!("{event}");
        if let Event::FileDone { file, .. } = event
            && fixed.free_bytes() != free_bytes
        {
            println!("FAILED {file}: {} bytes were not released", free_bytes - fixed.free_bytes());
            leaks += 1;
        }
    })?;
    Ok((totals, leaks))
}

/// Takes the place of the runtime's handler, which would loop.
#[unsafe(export_name = "ExceptionHandler")]
extern "C" fn exception(frame: &TrapFrame) -> ! {
    panic!("a fault in a function that returns to {:#x}", frame.ra)
}
