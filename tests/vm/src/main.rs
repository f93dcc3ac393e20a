//! The emulator tests: one boot per test and set of policies, chosen by the request in the boot
//! archive.
//!
//! `cargo xtask test --vm` boots this kernel once for the list of tests, and then once for each
//! test. A test that passes ends with the line
//! [`TestsComplete`](palimpsest_protocol::console::TestsComplete) and the exit status success. The
//! host judges: a test passes only if status, line and time limit agree.
//!
//! `cargo xtask test --spec` boots it once for all tests of the specification.

#![no_std]
#![no_main]

extern crate alloc;

mod access;
mod boot;
mod cpus;
mod cpus_guests;
mod cpus_stores;
mod deaths;
mod encode;
mod exhaustion;
mod fixture;
#[macro_use]
mod floats;
mod harness;
mod heap;
mod hostile;
mod memory_functions;
mod paging_bounds;
mod paging_policies;
mod random;
mod regions;
mod registers;
mod roots;
mod self_tests;
mod soak;
mod specification;
mod wasm;
mod wasm_bulk;
mod wasm_forks;
mod wasm_images;
mod wasm_interrupts;
mod wasm_kinds;
mod wasm_limits;
mod wasm_lives;
mod wasm_snapshots;
mod wasm_stacks;
mod wasm_strategies;
mod wasm_tasks;
mod wasm_touch;

#[cfg(target_feature = "sse")]
mod float_state;

/// Without SSE compiled code keeps no values in these registers.
#[cfg(not(target_feature = "sse"))]
mod float_state {
    pub(crate) const TESTS: &[crate::harness::VmTest] = &[];
}

#[cfg(not(target_feature = "sse2"))]
mod float_calls;

/// With SSE2 compiled code calls no functions for floats.
#[cfg(target_feature = "sse2")]
mod float_calls {
    pub(crate) const TESTS: &[crate::harness::VmTest] = &[];
}

use alloc::vec::Vec;

use kernel_demo::{ExitStatus, Machine, boot_main, println, serial};
use palimpsest_protocol::{ListedTest, Task, TestList};

use harness::{BootPolicies, Topic, VmTest};
use hostile::Attack;
use self_tests::SelfTest;

boot_main!(main);

const TOPICS: &[Topic] = &[
    Topic { tests: boot::TESTS, policies: BootPolicies::ANY },
    Topic { tests: deaths::TESTS, policies: BootPolicies::ANY },
    Topic { tests: cpus::TESTS, policies: BootPolicies::ANY },
    Topic { tests: cpus_guests::TESTS, policies: BootPolicies::BOTH },
    Topic { tests: cpus_stores::TESTS, policies: BootPolicies::BOTH },
    Topic { tests: registers::TESTS, policies: BootPolicies::BOTH },
    Topic { tests: float_state::TESTS, policies: BootPolicies::BOTH },
    Topic { tests: floats::TESTS, policies: BootPolicies::ANY },
    Topic { tests: float_calls::TESTS, policies: BootPolicies::ANY },
    Topic { tests: memory_functions::TESTS, policies: BootPolicies::ANY },
    Topic { tests: regions::TESTS, policies: BootPolicies::BOTH },
    Topic { tests: roots::TESTS, policies: BootPolicies::ANY },
    Topic { tests: paging_policies::TESTS, policies: BootPolicies::ANY },
    Topic { tests: paging_bounds::TESTS, policies: BootPolicies::ANY },
    Topic { tests: wasm_touch::TESTS, policies: BootPolicies::BOTH },
    Topic { tests: wasm_forks::TESTS, policies: BootPolicies::BOTH },
    Topic { tests: wasm_images::TESTS, policies: BootPolicies::BOTH },
    Topic { tests: wasm_snapshots::TESTS, policies: BootPolicies::BOTH },
    Topic { tests: wasm_kinds::TESTS, policies: BootPolicies::BOTH },
    Topic { tests: wasm_lives::TESTS, policies: BootPolicies::BOTH },
    Topic { tests: exhaustion::TESTS, policies: BootPolicies::BOTH },
    Topic { tests: wasm_limits::TESTS, policies: BootPolicies::BOTH },
    Topic { tests: wasm_strategies::TESTS, policies: BootPolicies::BOTH },
    Topic { tests: heap::TESTS, policies: BootPolicies::BOTH },
    Topic { tests: wasm_bulk::TESTS, policies: BootPolicies::BOTH },
    Topic { tests: wasm_tasks::TESTS, policies: BootPolicies::BOTH },
    Topic { tests: wasm_interrupts::TESTS, policies: BootPolicies::ANY },
    Topic { tests: wasm_stacks::TESTS, policies: BootPolicies::ANY },
    Topic { tests: soak::TESTS, policies: BootPolicies::ANY },
];

fn tests() -> impl Iterator<Item = (&'static VmTest, BootPolicies)> {
    TOPICS.iter().flat_map(Topic::boots)
}

fn main(machine: Machine) -> ExitStatus {
    match &machine.request().task {
        Task::ListTests => list(),
        Task::Test(name) => run_one(&machine, name),
        Task::Soak(plan) if machine.cpus() > 1 => cpus_stores::soak(&machine, plan),
        Task::Soak(plan) => soak::run(&machine, plan),
        Task::Specification => specification::run(&machine),
        other @ (Task::Tour | Task::Run(_) | Task::Measure(_)) => {
            println!("this kernel supports the tasks ListTests, Test, Soak and Specification, not {other:?}");
            ExitStatus::GuestFailed
        }
    }
}

fn list() -> ExitStatus {
    let tests = tests().map(|(test, policies)| test.listed(policies));
    let attacks = hostile::ATTACKS.iter().map(Attack::listed);
    let self_tests = self_tests::ALL.iter().map(SelfTest::listed);
    let tests: Vec<ListedTest> = tests.chain(attacks).chain(self_tests).collect();
    match serial::report(&TestList { tests }) {
        Ok(()) => ExitStatus::Success,
        Err(error) => {
            println!("the list cannot be sent: {error}");
            ExitStatus::GuestFailed
        }
    }
}

fn run_one(machine: &Machine, name: &str) -> ExitStatus {
    if let Some(self_test) = self_tests::ALL.iter().find(|test| test.name == name) {
        (self_test.run)();
    }
    if let Some(attack) = hostile::ATTACKS.iter().find(|attack| attack.test_name() == name) {
        return attack.run_on(machine);
    }
    match tests().find(|(test, policies)| test.is_named(name, *policies)) {
        Some((test, policies)) => test.run_on(machine, policies),
        None => {
            println!("no test has the name {name}: the task ListTests lists all names");
            ExitStatus::GuestFailed
        }
    }
}
