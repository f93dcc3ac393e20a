//! The emulator tests: one boot per test, chosen by the request in the boot archive.
//!
//! Owns the list of all tests. Mode `list` prints one line per test; mode `test` runs the named one and ends
//! with `TESTS_COMPLETE n` and exit status success, if all went as declared. `cargo xtask test --vm` is the
//! one that calls it and judges the outcome: a test passes only if status, completion line and time limit
//! agree.

#![no_std]
#![no_main]

extern crate alloc;

mod access;
mod boot;
mod deaths;
mod fixture;
mod harness;
mod heap;
mod memory_functions;
mod paging_policies;
mod regions;
mod registers;
mod self_tests;
mod wasm;
mod wasm_images;
mod wasm_kinds;
mod wasm_limits;
mod wasm_lives;
mod wasm_strategies;
mod wasm_tasks;
mod wasm_touch;

#[cfg(target_feature = "sse")]
mod float_state;

/// A target without SSE registers has none to lose.
#[cfg(not(target_feature = "sse"))]
mod float_state {
    pub(crate) const TESTS: &[crate::harness::VmTest] = &[];
}

use kernel_demo::{ExitStatus, Machine, Mode, boot_main, println};

use harness::VmTest;
use self_tests::SelfTest;

boot_main!(main);

const TOPICS: &[&[VmTest]] = &[
    boot::TESTS,
    deaths::TESTS,
    registers::TESTS,
    float_state::TESTS,
    memory_functions::TESTS,
    regions::TESTS,
    paging_policies::TESTS,
    wasm_touch::TESTS,
    wasm_images::TESTS,
    wasm_kinds::TESTS,
    wasm_lives::TESTS,
    wasm_limits::TESTS,
    wasm_strategies::TESTS,
    heap::TESTS,
    wasm_tasks::TESTS,
];

fn main(machine: Machine) -> ExitStatus {
    match machine.request().mode {
        Mode::List => list(),
        Mode::Test => run_requested(&machine),
        mode @ (Mode::Tour | Mode::Run) => {
            println!("mode {mode:?} is for the kernel: vm-tests knows the modes List and Test");
            ExitStatus::GuestFailed
        }
    }
}

fn list() -> ExitStatus {
    let tests = TOPICS.iter().copied().flatten();
    tests.clone().for_each(VmTest::announce);
    self_tests::ALL.iter().for_each(SelfTest::announce);
    println!("LIST_COMPLETE {}", tests.count() + self_tests::ALL.len());
    ExitStatus::Success
}

fn run_requested(machine: &Machine) -> ExitStatus {
    let Some(name) = machine.request().test.as_deref() else {
        println!("the request names no test");
        return ExitStatus::GuestFailed;
    };
    if let Some(self_test) = self_tests::ALL.iter().find(|test| test.name == name) {
        (self_test.run)();
    }
    match TOPICS.iter().copied().flatten().find(|test| test.name == name) {
        Some(test) => test.run_on(machine),
        None => {
            println!("there is no test named {name}: mode List shows them all");
            ExitStatus::GuestFailed
        }
    }
}
