//! The WebAssembly specification's tests in ring 0, on demand-paged memory.
//!
//! `cargo xtask test --spec` boots the kernel with a command stream in the boot archive. The kernel
//! prints each failure, a line after each file, and the totals last. Each file must release all of
//! its frames before the next one starts. On a machine with several CPUs each directive is executed
//! on one that is chosen at random.

use kernel_demo::{ExitStatus, Machine, errands, println, stack};
use palimpsest_engine::{Backing, Paged};
use palimpsest_spec::{
    COMPLETE, STREAM_FILE, Totals,
    runner::{self, Event, RunError},
};

/// Runs all tests and reports them.
pub(crate) fn run(machine: &Machine) -> ExitStatus {
    let Some(stream) = machine.file(STREAM_FILE) else {
        println!("the boot archive has no {STREAM_FILE}: run `cargo xtask test --spec`, which writes one");
        return ExitStatus::GuestFailed;
    };
    let before = machine.frames().free_frames();
    let mut leaks = 0;
    let totals = match errands::lend(machine, || run_stream(machine, stream, before, &mut leaks)) {
        Ok(totals) => totals,
        Err(error) => {
            println!("FAILED the tests cannot be run: {error}");
            return ExitStatus::GuestFailed;
        }
    };
    println!("free frames: {before} before, {} after", machine.frames().free_frames());
    if machine.cpus() > 1 {
        println!("seed {:#x}: {} directives on other CPUs", errands::SEED, errands::done());
    }
    println!("kernel stack: at most {} bytes were in use", stack::peak_bytes());
    println!("{COMPLETE}{}", totals.directives());
    println!("{totals}");
    if totals.failed == 0 && leaks == 0 { ExitStatus::Success } else { ExitStatus::GuestFailed }
}

/// Runs all tests, and counts the files after which not exactly `free_frames` frames are free.
fn run_stream(
    machine: &Machine,
    stream: &[u8],
    free_frames: u64,
    leaks: &mut u32,
) -> Result<Totals, RunError> {
    let backing = Backing::from(Paged::new(machine.space()));
    runner::run_moved(stream, &backing, |work| errands::anywhere(work), &mut |event| {
        println!("{event}");
        let Event::FileDone { file, .. } = event else { return };
        errands::flush_all();
        let free = machine.frames().free_frames();
        if free != free_frames {
            println!("FAILED {file}: {free_frames} frames were free before, {free} are free after");
            *leaks += 1;
        }
    })
}
