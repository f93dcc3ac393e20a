//! A kernel with preemptive threads, and a guest on Palimpsest in each of them.
//!
//! A timer switches threads 1,000 times a second, wherever they are: in a guest, in the
//! interpreter, or in the allocator. There are two level-4 tables, which map the same window for
//! guests. What makes this work:
//!
//! - The gates of page faults and of the timer are interrupt gates. So no thread is switched inside
//!   the page-fault handler, and one IST stack serves the faults of all threads.
//! - `memory` copies the window's entries, which `AddressSpace::root_entries` returns, into the
//!   second level-4 table.
//! - `SingleCpu` disables interrupts while it holds a lock that the page-fault handler takes. The
//!   kernel does the same where it uses the frame pool itself.
//! - The heap returns the meter of the running thread, so that a guest is charged for what its own
//!   thread allocates.
//! - The engine looks up where the stack of the running thread ends. It refuses a call that may not
//!   fit.
//!
//! Each thread has a stack of 16 KiB. `Engine::new` and `Module::new` take 22,464 bytes on this
//! target, so the boot makes the guests on its own stack, and each thread takes over one that is
//! ready to be called. The kernel prints what each thread used.
//!
//! The kernel checks its own results and then ends the emulator. QEMU exits with 33 if every check
//! held. The boot code and the linker script are those of `examples/embed-minimal`, and it is run
//! in the same way.

#![no_std]
#![no_main]

extern crate alloc;

#[path = "../../embed-minimal/src/boot.rs"]
mod boot;
mod memory;
mod threads;
mod timer;
mod trap;
mod wasm;

use alloc::boxed::Box;
use alloc::format;
use core::error::Error;
use core::panic::PanicInfo;
use core::sync::atomic::Ordering::Relaxed;

use example_support::checks::Checks;
use example_support::console::{Status, exit};
use example_support::println;
use x86_64::instructions::interrupts::{self, without_interrupts};

use memory::Roots;
use threads::{STACK_BYTES, THREADS};
use wasm::Guest;

/// How often each thread must have been interrupted inside its guest.
const PREEMPTIONS: u32 = 50;

/// The pages that a round of the guest writes to.
const PAGES: u64 = 256;

/// The first Rust function. `boot` calls it once, on the stack below the kernel, with interrupts
/// off.
extern "sysv64" fn kernel_main() -> ! {
    // SAFETY: 1. `boot` mapped the heap. 2. This is the only call.
    unsafe { memory::init_heap() };
    trap::init();
    match run() {
        Ok(()) => exit(Status::Success),
        Err(error) => panic!("{error}"),
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    // SAFETY: 1. The tables of `boot` stay active in a copy. 2. This is the only call.
    let roots = unsafe { memory::init_spaces() }?;
    let free_frames = free_frames();
    let space = memory::space().ok_or("`init_spaces` made the address space")?;
    for (number, thread) in THREADS.iter().enumerate() {
        *thread.guest.lock() = Some(Guest::new(space)?);
        threads::start(number, roots.of_thread(number));
    }
    timer::start();
    interrupts::enable();
    threads::wait_for_all();
    interrupts::disable();

    let mut checks = Checks::default();
    for thread in &THREADS {
        let failure = thread.failure.lock().take();
        checks.equal("error of a thread", failure, None);
        println!("  rounds of its guest: {}", thread.rounds.load(Relaxed));
        println!("  preemptions inside the guest: {}", thread.preemptions.load(Relaxed));
        let used = thread.stack_bytes_used();
        println!("  deepest use of its stack: {used} of {STACK_BYTES} bytes");
        checks.equal("room left on its stack", used < STACK_BYTES, true);
    }
    println!("timer interrupts: {}", timer::ticks());
    checks.equal("frames free after the guests' ends", free_frames, self::free_frames());
    checks.complete();
    Ok(())
}

/// What each thread runs: rounds of its guest until it was preempted often enough. Between rounds
/// it checks that its own level-4 table is the active one.
fn worker(number: usize) -> Result<(), Box<dyn Error>> {
    let thread = &THREADS[number];
    let mut guest = thread.guest.lock().take().ok_or("`run` makes the guest before it starts the thread")?;
    while thread.preemptions.load(Relaxed) < PREEMPTIONS {
        let round = u64::from(thread.rounds.fetch_add(1, Relaxed));
        let seed = ((number as u64 + 1) << 32) | round;
        thread.is_in_guest.store(true, Relaxed);
        let result = guest.round(seed);
        thread.is_in_guest.store(false, Relaxed);
        let expected = seed.wrapping_mul((1..=PAGES).sum());
        let result = result?;
        if result != expected {
            return Err(format!("round {round} returned {result:#x}, expected {expected:#x}").into());
        }
        let (found, own) = (memory::private_value(), Roots::value_of_thread(number));
        if found != own {
            return Err(format!("the private page contains {found}, expected {own}").into());
        }
    }
    Ok(())
}

/// The page-fault handler takes the lock of the pool, so no thread may be preempted with it.
fn free_frames() -> u64 {
    without_interrupts(|| memory::pool().free_frames())
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    interrupts::disable();
    println!("{info}");
    exit(Status::Failure)
}
