//! Many guests on one CPU: turns, waits, and ends, after which nothing remains of a guest.

use alloc::{collections::BTreeMap, vec::Vec};
use core::time::Duration;

use kernel_demo::{
    Machine, clock, errands,
    executor::{Executor, TaskId, Turn},
    timer,
};
use palimpsest_engine::{
    Error, Fuel, Limits, Linker, OutOfFrames, Pause, Poll, Store, StoreOptions, Task, TrapCode, Val,
};

use crate::{
    harness::{Checks, VmTest, free_frames},
    wasm::{config, engine, guest, module},
};

pub(crate) const TESTS: &[VmTest] = &[
    VmTest::new("sixty-one-of-sixty-four-guests-finish", 8, sixty_four),
    VmTest::new("a-killed-guest-gives-its-frames-back", 2, killed),
    VmTest::counting("a-waiting-guest-is-passed-over", 3, waiting),
    VmTest::counting("a-turn-lasts-as-long-as-the-slice", 2, turns_last),
    VmTest::death(
        "a-suspended-call-is-not-resumed-with-another-store",
        "an item was used with another store",
        resume_with_another_store,
    ),
];

const GUESTS: usize = 64;
const FOREVER: usize = 7;
const DEVOUR: usize = 21;
const TRAP: usize = 42;

/// The limit for each guest of the crowd: 2 MiB.
const CAP_FRAMES: u64 = 512;

const SLICE: Duration = Duration::from_millis(1);

/// A task of `tests/vm/guests/worker.wat` that calls `name`, on its own engine.
fn worker(machine: &Machine, name: &str, arguments: &[Val]) -> Task<()> {
    let engine = engine(machine, config(machine).fuel(Fuel::Metered));
    let module = module(&engine, guest!("worker"));
    let mut linker = Linker::new();
    linker
        .func_wrap("host", "sleep_until", |until: u64| Err::<(), _>(Error::host(Pause::until(until, &[]))))
        .expect("the name is free");
    let mut limits = Limits::default();
    limits.resident_frames = Some(CAP_FRAMES);
    let options = StoreOptions { limits: Some(limits), ..StoreOptions::default() };
    let store = Store::with_options(&engine, (), options);
    Task::instantiate(store, &linker, &module, name, arguments).expect("the guest links")
}

/// The store of a suspended call is exchanged, and the call's instance is freed.
fn resume_with_another_store(_: &mut Checks, machine: &Machine) {
    let mut task = worker(machine, "work", &[Val::I64(1)]);
    let other = worker(machine, "work", &[Val::I64(1)]).kill();
    let suspended = task.run(1_000);
    assert!(matches!(suspended, Poll::Runnable), "the work takes longer");
    drop(core::mem::replace(task.store_mut(), other));
    drop(task.run(1_000));
}

/// Computes the result of the guest's `work` in the kernel.
fn expected_sum(seed: u64) -> i64 {
    const NUMBERS_A_ROUND: u32 = 1024;
    const ROUNDS: u32 = 4;
    let (mut seed, mut sum) = (seed, 0_u64);
    for _ in 0..ROUNDS * NUMBERS_A_ROUND {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        // The memory is zero in every round, because it was cleared.
        sum = sum.wrapping_add(seed);
    }
    sum.cast_signed()
}

fn seed(guest: usize) -> u64 {
    0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(guest as u64 + 1)
}

fn spawn_crowd(machine: &Machine, executor: &mut Executor<()>) -> Vec<TaskId> {
    let spawn = |guest| {
        let seed = Val::I64(seed(guest).cast_signed());
        executor.spawn(match guest {
            FOREVER => worker(machine, "forever", &[]),
            DEVOUR => worker(machine, "devour", &[]),
            TRAP => worker(machine, "trap", &[seed]),
            _ => worker(machine, "work", &[seed]),
        })
    };
    (0..GUESTS).map(spawn).collect()
}

fn sixty_four(checks: &mut Checks, machine: &Machine) {
    let free = free_frames(machine);
    let mut executor = Executor::new(timer::calibrate(), SLICE);
    let ids = spawn_crowd(machine, &mut executor);
    let mut ended = BTreeMap::new();
    let mut most_held = 0;
    while ended.len() < ids.len() - 1 {
        match errands::anywhere(|| executor.turn()) {
            Turn::Ended(end) => drop(ended.insert(end.id, end)),
            Turn::Ran(_) | Turn::Idle { .. } => {}
            Turn::Empty => break,
        }
        most_held = most_held.max(free - free_frames(machine));
    }
    let right = ids.iter().zip(0..).filter(|(id, guest)| {
        let end = ended.get(*id).map(|end| &end.result);
        matches!(end, Some(Ok(values)) if matches!(values[..], [Val::I64(sum)] if sum == expected_sum(seed(*guest))))
    });
    checks.equal("guests with the right result", right.count(), 61);
    let error_of = |guest: usize| ended.get(&ids[guest]).and_then(|end| end.result.as_ref().err());
    let code = error_of(TRAP).and_then(Error::as_trap_code);
    checks.equal("the trapping one's trap", code, Some(TrapCode::UnreachableCodeReached));
    let lost = error_of(DEVOUR).is_some_and(|error| error.downcast_ref::<OutOfFrames>().is_some());
    checks.equal("the devouring one is out of frames", lost, true);
    let [(left, endless)] = executor.tasks().collect::<Vec<_>>()[..] else {
        return checks.equal("tasks left", executor.tasks().count(), 1);
    };
    checks.equal("the one that is left", left, ids[FOREVER]);
    checks.equal("it still counts", endless.store().report().resident_frames, 1);
    checks.at_most("frames held at a time", most_held, GUESTS as u64 * 32 + CAP_FRAMES);
    checks.equal("it is killed", executor.kill(left).is_some(), true);
    drop(ended);
    checks.equal("free frames", free_frames(machine), free);
}

fn killed(checks: &mut Checks, machine: &Machine) {
    let free = free_frames(machine);
    let mut executor = Executor::new(timer::calibrate(), SLICE);
    let id = executor.spawn(worker(machine, "forever", &[]));
    for _ in 0..10 {
        let turn = errands::anywhere(|| executor.turn());
        assert!(matches!(turn, Turn::Ran(ran) if ran == id), "an endless loop goes on");
    }
    drop(executor.kill(id));
    checks.equal("free frames", free_frames(machine), free);
    checks.equal("it is gone", executor.kill(id).is_none(), true);
}

/// Under `-icount` the clock counts instructions, so the busy guest takes the same time in every
/// run.
fn waiting(checks: &mut Checks, machine: &Machine) {
    let rate = timer::calibrate();
    let mut executor = Executor::new(rate, SLICE);
    let until_ns = rate.nanoseconds_in(clock::ticks()) + 20_000_000;
    let sleeper = executor.spawn(worker(machine, "nap", &[Val::I64(until_ns.cast_signed())]));
    let busy = executor.spawn(worker(machine, "work", &[Val::I64(1)]));
    let mut order = Vec::new();
    executor.run(|ended| order.push(ended.id));
    checks.equal("the order of the ends", &order[..], &[busy, sleeper][..]);
    let now_ns = rate.nanoseconds_in(clock::ticks());
    checks.equal("it slept until its time", now_ns >= until_ns, true);
    checks.equal("tasks left", executor.tasks().count(), 0);
}

/// Under `-icount` the lengths of turns are the same in every run.
fn turns_last(checks: &mut Checks, machine: &Machine) {
    const TURNS: u64 = 50;
    let rate = timer::calibrate();
    let mut executor = Executor::new(rate, SLICE);
    let id = executor.spawn(worker(machine, "forever", &[]));
    // The first turns measure the instructions of a unit of fuel.
    let mut turns = |count| {
        let start = clock::ticks();
        for _ in 0..count {
            assert!(matches!(executor.turn(), Turn::Ran(_)), "an endless loop goes on");
        }
        clock::ticks() - start
    };
    turns(TURNS);
    let ticks = turns(TURNS) / TURNS;
    let slice = rate.ticks_in(SLICE);
    checks.at_most("ticks of a turn", ticks, slice + slice / 10);
    checks.at_most("ticks of a slice", slice, ticks + ticks / 10);
    drop(executor.kill(id));
}
