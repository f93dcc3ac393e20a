//! Several CPUs: that all are started, run at the same time, and end together.

use alloc::vec::Vec;
use core::hint::{black_box, spin_loop};
use core::sync::atomic::{AtomicUsize, Ordering};

use kernel_demo::Machine;
use raw_cpuid::CpuId;
use spin::Mutex;
use x86_64::VirtAddr;

use crate::access::load;
use crate::harness::{Checks, VmTest};

/// The CPUs of these tests.
const CPUS: u32 = 4;

pub(crate) const TESTS: &[VmTest] = &[
    VmTest::new("cpus-are-all-started", 3, all_are_started).on_cpus(CPUS),
    VmTest::new("cpus-run-at-the-same-time", 1, run_at_the_same_time).on_cpus(CPUS),
    VmTest::new("cpus-are-woken-for-each-piece-of-work", 1, are_woken_each_time).on_cpus(CPUS),
    VmTest::death("cpus-end-with-a-panic-on-one", "kernel panicked at", panic_on_one).on_cpus(CPUS),
    VmTest::death("cpus-report-their-page-faults", "page fault at 0x0,", fault_on_one).on_cpus(CPUS),
    VmTest::death("cpus-have-guarded-stacks", "stack overflow:", overflow_on_one).on_cpus(CPUS),
];

fn all_are_started(checks: &mut Checks, machine: &Machine) {
    checks.equal("CPUs", machine.cpus(), CPUS as usize);
    let seen = Mutex::new(Vec::with_capacity(machine.cpus()));
    machine.on_all_cpus(|cpu| {
        let hardware = CpuId::new().get_feature_info().map(|info| info.initial_local_apic_id());
        let local = 0_u8;
        seen.lock().push((cpu, hardware, VirtAddr::from_ptr(black_box(&local)).as_u64() >> 20));
    });
    let mut seen = seen.into_inner();
    seen.sort_unstable();
    let numbers: Vec<usize> = seen.iter().map(|&(cpu, ..)| cpu).collect();
    checks.equal("their numbers", numbers, (0..CPUS as usize).collect());
    let are_distinct = (1..seen.len())
        .all(|n| seen[..n].iter().all(|earlier| earlier.1 != seen[n].1 && earlier.2 != seen[n].2));
    checks.equal("no two have the same APIC or stack", are_distinct, true);
}

/// Each CPU waits for all others inside of the work.
fn run_at_the_same_time(checks: &mut Checks, machine: &Machine) {
    let arrived = AtomicUsize::new(0);
    machine.on_all_cpus(|_| {
        arrived.fetch_add(1, Ordering::Relaxed);
        while arrived.load(Ordering::Relaxed) < machine.cpus() {
            spin_loop();
        }
    });
    checks.equal("CPUs that arrived", arrived.into_inner(), CPUS as usize);
}

fn are_woken_each_time(checks: &mut Checks, machine: &Machine) {
    const ROUNDS: usize = 1000;
    let calls = AtomicUsize::new(0);
    for _ in 0..ROUNDS {
        machine.on_all_cpus(|_| {
            calls.fetch_add(1, Ordering::Relaxed);
        });
    }
    checks.equal("calls", calls.into_inner(), ROUNDS * CPUS as usize);
}

fn panic_on_one(_: &mut Checks, machine: &Machine) {
    on_one(machine, || panic!("on purpose"));
}

fn fault_on_one(_: &mut Checks, machine: &Machine) {
    on_one(machine, || {
        load(VirtAddr::zero());
    });
}

fn overflow_on_one(_: &mut Checks, machine: &Machine) {
    fn descend(depth: u64) -> u64 {
        if black_box(depth) == u64::MAX { depth } else { black_box(descend(depth + 1)) + 1 }
    }
    on_one(machine, || {
        black_box(descend(0));
    });
}

/// Calls `work` on the last CPU, while the others wait forever.
fn on_one(machine: &Machine, work: impl Fn() + Sync) {
    machine.on_all_cpus(|cpu| {
        if cpu + 1 == machine.cpus() {
            work();
        }
        loop {
            spin_loop();
        }
    });
}
