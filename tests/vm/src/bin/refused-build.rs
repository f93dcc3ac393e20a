//! A kernel for two tests: built with a profile in which the interpreter would overflow a kernel's
//! stack, `Engine::new` returns the error for that profile.
//!
//! `cargo xtask test` sets the profiles: one without optimizations, like cargo's `dev`, and one
//! that loses the interpreter's tail calls. In any other build the engine is made and the test
//! fails. So it does on a target without SSE registers, which has no tail calls to lose. The
//! emulator's status and the last line are those of a test of `vm-tests`.

#![no_std]
#![no_main]

extern crate alloc;

use kernel_demo::{ExitStatus, Machine, boot_main, println, stack};
use palimpsest_engine::{Config, Engine, EngineError, Paged};
use palimpsest_protocol::console::TestsComplete;

boot_main!(main);

/// What the boot and the engine's self-check may need together, in bytes: the stack of a small
/// kernel.
const SMALL_STACK_BYTES: usize = 64 * 1024;

/// How many checks are made.
const CHECKS: u32 = 3;

fn main(machine: Machine) -> ExitStatus {
    let before = Accounts::of(&machine);
    let Err(error) = Engine::new(Config::default(), Paged::new(machine.space())) else {
        println!("FAILED the engine was made: this build runs guests");
        return ExitStatus::GuestFailed;
    };
    println!("{error}");
    let stack_bytes = stack::peak_bytes();
    println!("the kernel has used {stack_bytes} bytes of its stack so far");
    let named = if cfg!(debug_assertions) {
        matches!(error, EngineError::Unoptimized { .. })
    } else {
        matches!(error, EngineError::DispatchNotFlat { .. })
    };
    drop(error);
    let checks: [_; CHECKS as usize] = [
        ("the error names the cause", named),
        ("a small stack is enough", stack_bytes <= SMALL_STACK_BYTES),
        ("free frames and heap are what they were", Accounts::of(&machine) == before),
    ];
    let failed = checks.iter().filter(|(_, holds)| !holds);
    failed.clone().for_each(|(what, _)| println!("FAILED {what}"));
    if failed.count() > 0 {
        return ExitStatus::GuestFailed;
    }
    println!("{}", TestsComplete(CHECKS));
    ExitStatus::Success
}

/// What must be the same before and after.
#[derive(PartialEq, Eq)]
struct Accounts {
    free_frames: u64,
    heap_bytes: usize,
}

impl Accounts {
    fn of(machine: &Machine) -> Self {
        Self { free_frames: machine.frames().free_frames(), heap_bytes: machine.heap().used_bytes }
    }
}
