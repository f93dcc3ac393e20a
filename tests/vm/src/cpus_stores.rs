//! Stores that one CPU clears and another one resumes, while freed frames are overwritten and lent.

use alloc::vec::Vec;
use core::hint::spin_loop;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use core::time::Duration;

use kernel_demo::executor::{Ended, Moves, Scheduler};
use kernel_demo::memory::{PHYSICAL_OFFSET, Space};
use kernel_demo::{ExitStatus, Machine, Reason, clock, println, timer};
use palimpsest_engine::{
    Caller, Cleared, Error, Extern, Fuel, Linker, Module, Pause, Store, Strategy, Task, Val,
};
use palimpsest_paging::{CacheUsage, CachedPool, Frame};
use palimpsest_protocol::Soak;
use spin::Mutex;

use crate::harness::{Accounts, Checks, VmTest, warm_up};
use crate::wasm::{Program, config, engine, guest, module};

/// The CPUs of these tests.
const CPUS: u32 = 4;

pub(crate) const TESTS: &[VmTest] = &[
    VmTest::new("cpus-resume-what-others-cleared", 4, moving).on_cpus(CPUS),
    VmTest::new("cpus-share-a-module-and-an-image", 2, sharing).on_cpus(CPUS),
    VmTest::new("cpus-free-frames-when-a-clear-returns", 2, frames_at_once).on_cpus(CPUS),
    VmTest::new("cpus-take-frames-back-from-idle-stores", 3, relief).on_cpus(CPUS),
];

/// Longer than most rounds, which end their turns themselves.
const SLICE: Duration = Duration::from_millis(1);

/// What the host keeps for a store.
struct World {
    frames: &'static CachedPool,
    space: &'static Space,
    rounds: u64,
    /// Rounds in which the frames that the clear has released could be counted.
    counted: u64,
}

impl World {
    fn new(machine: &Machine) -> Self {
        Self { frames: machine.frames(), space: machine.space(), rounds: 0, counted: 0 }
    }

    /// The free frames of the calling CPU.
    fn nearby(&self) -> CacheUsage {
        self.frames.cache(self.space.cpu()).expect("each CPU has a cache")
    }

    /// Returns how many frames more or fewer than the clear reports the calling CPU has got since
    /// `before`.
    ///
    /// A clear releases frames to the calling CPU, which alone uses them until it exchanges some
    /// with the pool. Then they cannot be counted.
    fn difference(&mut self, before: CacheUsage, cleared: Cleared) -> u64 {
        let after = self.nearby();
        let exchanges = |usage: CacheUsage| (usage.refills, usage.spills, usage.recalls);
        if exchanges(before) != exchanges(after) {
            return 0;
        }
        self.counted += 1;
        let released = cleared.frames_released + cleared.tables_released;
        (after.free_frames - before.free_frames).abs_diff(released)
    }
}

/// Clears pages, and compares the frames that are free then with what the clear reports. Then it
/// overwrites free frames. In three of four rounds the guest's turn ends.
fn clear(mut caller: Caller<'_, World>, start: u32, count: u32) -> Result<u32, Error> {
    let memory = caller.get_export("memory").and_then(Extern::into_memory).expect("the guest exports it");
    let before = caller.data().nearby();
    let cleared = memory.clear_pages(&mut caller, start.into(), count.into()).expect("the range is inside");
    let world = caller.data_mut();
    let wrong = u32::try_from(world.difference(before, cleared)).unwrap_or(u32::MAX);
    world.rounds += 1;
    poison(world.frames);
    if world.rounds.is_multiple_of(4) {
        return Ok(wrong);
    }
    Err(Error::host(Pause::until(0, &[Val::I32(wrong.cast_signed())])))
}

/// Overwrites the four frames that are allocated next.
fn poison(pool: &CachedPool) {
    let frames: [Option<Frame>; 4] = core::array::from_fn(|_| pool.allocate_frame());
    for frame in frames.into_iter().flatten() {
        let words = (PHYSICAL_OFFSET + frame.phys().start_address().as_u64()).as_mut_ptr::<[u64; 512]>();
        // SAFETY: all RAM is mapped there, and the test owns the frame.
        unsafe { words.write([0xdead_dead_dead_dead; 512]) };
        pool.release_frame(frame);
    }
}

/// Runs guests of `tests/vm/guests/moving.wat`, which move between the CPUs.
struct Crowd<'m> {
    machine: &'m Machine,
    linker: Linker<World>,
    scheduler: Scheduler<World>,
    right: AtomicUsize,
    rounds: AtomicU64,
    counted: AtomicU64,
}

impl<'m> Crowd<'m> {
    fn new(machine: &'m Machine) -> Self {
        let mut linker = Linker::new();
        linker.func_wrap("host", "clear", clear).expect("the name is free");
        let scheduler = Scheduler::new(machine, timer::calibrate(), SLICE, Moves::Random);
        Self {
            machine,
            linker,
            scheduler,
            right: AtomicUsize::new(0),
            rounds: AtomicU64::new(0),
            counted: AtomicU64::new(0),
        }
    }

    /// Adds a guest that works for this many rounds.
    fn spawn(&self, module: &Module, seed: u64, rounds: u32) {
        let arguments = [Val::I64(seed.cast_signed()), Val::I32(rounds.cast_signed())];
        let store = Store::new(module.engine(), World::new(self.machine));
        let task = Task::instantiate(store, &self.linker, module, "rounds", &arguments);
        self.scheduler.spawn(task.expect("the guest links"));
    }

    /// Counts a guest that has ended.
    fn count(&self, ended: &Ended<World>) {
        self.rounds.fetch_add(ended.store.data().rounds, Ordering::Relaxed);
        self.counted.fetch_add(ended.store.data().counted, Ordering::Relaxed);
        let is_right = matches!(ended.result.as_deref(), Ok([Val::I32(0)]));
        self.right.fetch_add(usize::from(is_right), Ordering::Relaxed);
        if !is_right {
            println!("{:?}", ended.result);
        }
    }

    fn print(&self) {
        let [rounds, counted] = [&self.rounds, &self.counted].map(|count| count.load(Ordering::Relaxed));
        println!("{rounds} rounds, frames counted in {counted} of them, {} moves", self.scheduler.moved());
    }
}

/// A module of these guests, with its own engine.
fn moving_module(machine: &Machine) -> Module {
    module(&engine(machine, config(machine).fuel(Fuel::Metered)), guest!("moving"))
}

/// The guests of a crowd, and the rounds of each.
const GUESTS: usize = 16;
const ROUNDS: u32 = 5_000;

/// Runs a crowd of guests, each with its own engine.
fn crowd(machine: &Machine, seed: u64) -> Crowd<'_> {
    let crowd = Crowd::new(machine);
    for guest in 0..GUESTS {
        crowd.spawn(&moving_module(machine), seed + guest as u64, ROUNDS);
    }
    crowd.scheduler.run(machine, |_, ended| crowd.count(&ended));
    crowd
}

/// Runs one crowd after the other, for the time or the rounds that `plan` states.
pub(crate) fn soak(machine: &Machine, plan: &Soak) -> ExitStatus {
    warm_up(machine);
    // The first crowd allocates what the kernel keeps.
    drop(crowd(machine, plan.seed));
    machine.on_all_cpus(|_| {});
    let rate = timer::calibrate();
    let (start, limit) = (clock::ticks(), rate.ticks_in(Duration::from_secs(plan.seconds)));
    let before = Accounts::of(machine);
    let [mut rounds, mut counted, mut moves, mut minutes] = [0; 4];
    loop {
        let elapsed = clock::ticks() - start;
        let is_over = plan.rounds.map_or(elapsed >= limit, |most| rounds >= most);
        if is_over || elapsed / rate.ticks_in(Duration::from_secs(60)).max(1) > minutes {
            minutes += 1;
            println!(
                "seed {}: {rounds} rounds, frames counted in {counted} of them, {moves} moves",
                plan.seed
            );
        }
        if is_over {
            return ExitStatus::Success;
        }
        let crowd = crowd(machine, plan.seed.wrapping_add(rounds));
        rounds += crowd.rounds.load(Ordering::Relaxed);
        counted += crowd.counted.load(Ordering::Relaxed);
        moves += crowd.scheduler.moved();
        let right = crowd.right.load(Ordering::Relaxed);
        drop(crowd);
        machine.on_all_cpus(|_| {});
        let after = Accounts::of(machine);
        if right != GUESTS || after != before || machine.interrupts_sent(Reason::Discard) != 0 {
            println!(
                "FAILED after {rounds} rounds: {right} of {GUESTS} guests are right; {after:?}, at first {before:?}"
            );
            return ExitStatus::GuestFailed;
        }
    }
}

fn moving(checks: &mut Checks, machine: &Machine) {
    let crowd = crowd(machine, 0);
    crowd.print();
    let (rounds, counted) = (crowd.rounds.load(Ordering::Relaxed), crowd.counted.load(Ordering::Relaxed));
    checks.equal("the released frames were counted in half of the rounds", counted >= rounds / 2, true);
    checks.equal("guests that found what they must", crowd.right.into_inner(), GUESTS);
    checks.equal("the guests have moved 1,000 times", crowd.scheduler.moved() >= 1_000, true);
    checks.equal("interrupts for discards", machine.interrupts_sent(Reason::Discard), 0);
}

/// The stores of one module end on any CPU, and others begin there meanwhile. The module is dropped
/// last, on the last CPU.
fn sharing(checks: &mut Checks, machine: &Machine) {
    const LIVES: u64 = 200;
    const AT_ONCE: u64 = 8;
    let crowd = Crowd::new(machine);
    let shared = Mutex::new(Some(moving_module(machine)));
    let lives = AtomicU64::new(0);
    let begin = || {
        let module = shared.lock().clone().expect("it is dropped when all lives have ended");
        let life = lives.fetch_add(1, Ordering::Relaxed);
        if life < LIVES {
            let rounds = 50 + u32::try_from(life * 37 % 100).expect("it is below 100");
            crowd.spawn(&module, life, rounds);
        }
    };
    (0..AT_ONCE).for_each(|_| begin());
    crowd.scheduler.run(machine, |_, ended| {
        crowd.count(&ended);
        drop(ended);
        begin();
    });
    crowd.print();
    checks.equal("guests that found what they must", crowd.right.into_inner() as u64, LIVES);
    drop((crowd.linker, crowd.scheduler));
    machine.on_all_cpus(|cpu| {
        if cpu + 1 == machine.cpus() {
            drop(shared.lock().take());
        }
    });
    checks.equal("the module is gone", shared.into_inner().is_none(), true);
}

/// Lets all CPUs wait for each other.
struct Barrier {
    arrived: AtomicUsize,
    cpus: usize,
}

impl Barrier {
    fn new(machine: &Machine) -> Self {
        Self { arrived: AtomicUsize::new(0), cpus: machine.cpus() }
    }

    /// Returns when all CPUs have called it as often.
    fn wait(&self) {
        let arrived = self.arrived.fetch_add(1, Ordering::AcqRel) + 1;
        let all = arrived.next_multiple_of(self.cpus);
        while self.arrived.load(Ordering::Acquire) < all {
            spin_loop();
        }
    }
}

/// All CPUs clear at the same time, each another store in each round. What they report is what the
/// free frames have grown by.
fn frames_at_once(checks: &mut Checks, machine: &Machine) {
    const ROUNDS: usize = 100;
    const PAGES: usize = 16;
    let new = |_| Mutex::new(Program::start(machine, guest!("four-gib")));
    let programs: Vec<_> = (0..machine.cpus()).map(new).collect();
    let barrier = Barrier::new(machine);
    let [before, reported] = [AtomicU64::new(0), AtomicU64::new(0)];
    let (right, released) = (AtomicUsize::new(0), AtomicU64::new(0));
    machine.on_all_cpus(|cpu| {
        for round in 0..ROUNDS {
            let mut program = programs[(cpu + round) % programs.len()].lock();
            let memory = program.memory();
            let bytes = memory.data_mut(&mut program.store);
            // The first Wasm page is kept, and so are all page tables.
            bytes[0] = 1;
            for page in 0..PAGES {
                bytes[65_536 + page * 4096] = 1;
            }
            barrier.wait();
            if cpu == 0 {
                before.store(machine.frames().free_frames(), Ordering::Relaxed);
                reported.store(0, Ordering::Relaxed);
            }
            barrier.wait();
            let cleared = memory.clear_pages(&mut program.store, 1, 1).expect("the range is inside");
            reported.fetch_add(cleared.frames_released, Ordering::Relaxed);
            barrier.wait();
            if cpu == 0 {
                let grown = machine.frames().free_frames() - before.load(Ordering::Relaxed);
                let reported = reported.load(Ordering::Relaxed);
                right.fetch_add(usize::from(grown == reported), Ordering::Relaxed);
                released.fetch_add(reported, Ordering::Relaxed);
            }
            barrier.wait();
        }
    });
    checks.equal("rounds in which the free frames grew by what was reported", right.into_inner(), ROUNDS);
    let frames = (ROUNDS * PAGES * machine.cpus()) as u64;
    checks.equal("frames that were reported", released.into_inner(), frames);
}

/// One CPU leaves deferred frames in a store that it does not run any more. Another one needs them.
fn relief(checks: &mut Checks, machine: &Machine) {
    const NEEDED: usize = 1_000;
    const LEFT: u64 = 200;
    let [idle, busy] = [(); 2].map(|()| Mutex::new(Program::start(machine, guest!("accesses"))));
    on_cpu(machine, 1, || {
        let mut program = idle.lock();
        write_pages(&mut program, 2 * NEEDED, 1);
        let memory = program.memory();
        let cleared = memory.clear_pages_with(&mut program.store, 0, 1_024, Strategy::Deferred);
        cleared.expect("the range is inside");
    });
    let mut held = Vec::new();
    while machine.frames().free_frames() > LEFT {
        held.push(machine.frames().allocate_frame().expect("frames are free"));
    }
    on_cpu(machine, 2, || write_pages(&mut busy.lock(), NEEDED, 2));
    let count = |program: &Mutex<Program>, byte| {
        let program = program.lock();
        let bytes = program.memory().data(&program.store);
        (0..2 * NEEDED).filter(|page| bytes[page * 4096] == byte).count()
    };
    checks.equal("pages with what was written", count(&busy, 2), NEEDED);
    checks.equal("pages that were cleared", count(&idle, 0), 2 * NEEDED);
    held.into_iter().for_each(|frame| machine.frames().release_frame(frame));
    let lost = busy.lock().store.report().lost.is_some();
    checks.equal("the store that needed frames is lost", lost, false);
}

/// Writes `byte` to each of the first `pages` pages.
fn write_pages(program: &mut Program, pages: usize, byte: u8) {
    let memory = program.memory();
    let bytes = memory.data_mut(&mut program.store);
    (0..pages).for_each(|page| bytes[page * 4096] = byte);
}

/// Calls `work` on this CPU, and returns when it has.
fn on_cpu(machine: &Machine, cpu: usize, work: impl Fn() + Sync) {
    machine.on_all_cpus(|this| {
        if this == cpu {
            work();
        }
    });
}
