//! The emulator tests: one boot per test and set of policies, chosen by the request in the boot archive.
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
#[macro_use]
mod floats;
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

/// Compiled code without SSE keeps nothing in the registers that it could lose.
#[cfg(not(target_feature = "sse"))]
mod float_state {
    pub(crate) const TESTS: &[crate::harness::VmTest] = &[];
}

#[cfg(not(target_feature = "sse2"))]
mod float_calls;

/// With SSE2 the compiler calls no functions for floats.
#[cfg(target_feature = "sse2")]
mod float_calls {
    pub(crate) const TESTS: &[crate::harness::VmTest] = &[];
}

use kernel_demo::{ExitStatus, Machine, Mode, boot_main, println};

use harness::{BootPolicies, Topic, VmTest};
use self_tests::SelfTest;

boot_main!(main);

const TOPICS: &[Topic] = &[
    Topic { tests: boot::TESTS, policies: BootPolicies::ANY },
    Topic { tests: deaths::TESTS, policies: BootPolicies::ANY },
    Topic { tests: registers::TESTS, policies: BootPolicies::BOTH },
    Topic { tests: float_state::TESTS, policies: BootPolicies::BOTH },
    Topic { tests: floats::TESTS, policies: BootPolicies::ANY },
    Topic { tests: float_calls::TESTS, policies: BootPolicies::ANY },
    Topic { tests: memory_functions::TESTS, policies: BootPolicies::ANY },
    Topic { tests: regions::TESTS, policies: BootPolicies::BOTH },
    Topic { tests: paging_policies::TESTS, policies: BootPolicies::ANY },
    Topic { tests: wasm_touch::TESTS, policies: BootPolicies::BOTH },
    Topic { tests: wasm_images::TESTS, policies: BootPolicies::BOTH },
    Topic { tests: wasm_kinds::TESTS, policies: BootPolicies::BOTH },
    Topic { tests: wasm_lives::TESTS, policies: BootPolicies::BOTH },
    Topic { tests: wasm_limits::TESTS, policies: BootPolicies::BOTH },
    Topic { tests: wasm_strategies::TESTS, policies: BootPolicies::BOTH },
    Topic { tests: heap::TESTS, policies: BootPolicies::BOTH },
    Topic { tests: wasm_tasks::TESTS, policies: BootPolicies::BOTH },
];

fn tests() -> impl Iterator<Item = (&'static VmTest, BootPolicies)> {
    TOPICS.iter().flat_map(Topic::boots)
}

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
    tests().for_each(|(test, policies)| test.announce(policies));
    self_tests::ALL.iter().for_each(SelfTest::announce);
    println!("LIST_COMPLETE {}", tests().count() + self_tests::ALL.len());
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
    match tests().find(|(test, policies)| test.is_named(name, *policies)) {
        Some((test, policies)) => test.run_on(machine, policies),
        None => {
            println!("there is no test named {name}: mode List shows them all");
            ExitStatus::GuestFailed
        }
    }
}
