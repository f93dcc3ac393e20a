//! Guests on several CPUs: each is run by one CPU after the other.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;

use kernel_demo::executor::{Ended, Moves, Scheduler};
use kernel_demo::{Machine, Reason, println, timer};
use palimpsest_engine::{Engine, Fuel, Linker, Store, Task, Val};

use crate::harness::{Checks, VmTest};
use crate::wasm::{config, engine, guest, module};

/// The CPUs of these tests.
const CPUS: u32 = 4;

pub(crate) const TESTS: &[VmTest] = &[
    VmTest::new("cpus-run-guests-that-stay", 3, guests_that_stay).on_cpus(CPUS),
    VmTest::new("cpus-run-guests-that-move", 3, guests_that_move).on_cpus(CPUS),
    VmTest::new("cpus-without-tasks-steal-some", 2, stealing).on_cpus(CPUS),
];

/// Short, so that a guest has many turns.
const SLICE: Duration = Duration::from_micros(200);

/// An engine whose guests run in slices.
fn metered(machine: &Machine) -> Engine {
    engine(machine, config(machine).fuel(Fuel::Metered))
}

/// A task of `kernel-demo/guests/cpus/rounds.wat` that works for this many rounds.
fn rounds(engine: &Engine, seed: u64, rounds: u32) -> Task<()> {
    let module = module(engine, guest!("rounds"));
    let arguments = [Val::I64(seed.cast_signed()), Val::I32(rounds.cast_signed())];
    let store = Store::new(engine, ());
    Task::instantiate(store, &Linker::new(), &module, "rounds", &arguments).expect("the guest links")
}

/// Whether the guest has found in every round what it must find.
fn is_right(ended: &Ended<()>) -> bool {
    matches!(ended.result.as_deref(), Ok([Val::I32(0)]))
}

/// Runs guests that write, read and clear, on all CPUs. Returns the scheduler.
fn run_guests(checks: &mut Checks, machine: &Machine, moves: Moves) -> Scheduler<()> {
    const GUESTS: usize = 16;
    const ROUNDS: u32 = 300;
    let scheduler = Scheduler::new(machine, timer::calibrate(), SLICE, moves);
    for guest in 0..GUESTS {
        scheduler.spawn(rounds(&metered(machine), guest as u64, ROUNDS));
    }
    let right = AtomicUsize::new(0);
    scheduler.run(machine, |_, ended| {
        right.fetch_add(usize::from(is_right(&ended)), Ordering::Relaxed);
    });
    println!("{} turns on another CPU than the previous one", scheduler.moved());
    checks.equal("guests that found what they must", right.into_inner(), GUESTS);
    checks.equal("interrupts for discards", machine.interrupts_sent(Reason::Discard), 0);
    scheduler
}

fn guests_that_stay(checks: &mut Checks, machine: &Machine) {
    let scheduler = run_guests(checks, machine, Moves::IfIdle);
    // A task is stolen only when another CPU has nothing left to do.
    checks.at_most("turns on another CPU than the previous one", scheduler.moved(), 100);
}

fn guests_that_move(checks: &mut Checks, machine: &Machine) {
    let scheduler = run_guests(checks, machine, Moves::Random);
    checks.equal("the guests have moved 100 times", scheduler.moved() >= 100, true);
}

/// All long tasks are in the queue of one CPU.
fn stealing(checks: &mut Checks, machine: &Machine) {
    const LONG: usize = 8;
    const LONG_FUEL: u64 = 100_000;
    let scheduler = Scheduler::new(machine, timer::calibrate(), SLICE, Moves::IfIdle);
    for task in 0..LONG * machine.cpus() {
        let is_long = task % machine.cpus() == 0;
        scheduler.spawn(rounds(&metered(machine), task as u64, if is_long { 200 } else { 0 }));
    }
    let right = AtomicUsize::new(0);
    let ends: Vec<_> = (0..machine.cpus()).map(|_| AtomicUsize::new(0)).collect();
    scheduler.run(machine, |cpu, ended| {
        right.fetch_add(usize::from(is_right(&ended)), Ordering::Relaxed);
        ends[cpu].fetch_add(usize::from(ended.fuel_used > LONG_FUEL), Ordering::Relaxed);
    });
    checks.equal("guests that found what they must", right.into_inner(), LONG * machine.cpus());
    let of_first_cpu = ends[0].load(Ordering::Relaxed);
    checks.equal("other CPUs have run some of them", of_first_cpu < LONG, true);
}
