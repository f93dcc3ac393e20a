//! Runs an attack next to a neighbour, and judges.
//!
//! All guests take turns on one executor. What the attack costs outside of its turns, which is the
//! loading, the instantiation and the drop of its guests, is charged to it as well: the neighbour
//! runs alone until it has had as much time.

use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use core::time::Duration;

use kernel_demo::executor::{Ended, Executor, TaskId, Turn};
use kernel_demo::interrupts::{self, Interrupted};
use kernel_demo::memory::{self, FaultEntry};
use kernel_demo::timer::{self, TickRate};
use kernel_demo::{ExitStatus, Machine, clock, println};
use palimpsest_engine::{
    Commit, Engine, Error, Fuel, InstantiateError, Limits, Linker, Module, ModuleError, OutOfFrames,
    OutOfHeap, ReentryTooDeep, Store, StoreOptions, Task, TaskError, Val, ValType,
};
use palimpsest_protocol::console::Longest;
use palimpsest_protocol::{Clock, Expected as Ending, ListedTest};

use super::attack::{Attack, Cause, End};
use super::world::{StepRefused, Units, World, linker, sum_of_unit};
use crate::harness::{Accounts, Checks, warm_up};
use crate::wasm::guest;

/// The length of a turn: a million instructions.
const SLICE: Duration = Duration::from_millis(1);

/// The period of the interrupts in cycles of the PIT: 20 microseconds, which are 20,000
/// instructions.
const PERIOD: u16 = 24;

/// How many turns the two sides take at least.
const TURNS: u32 = 16;

/// The turns in which the executors measure what a unit of fuel takes.
const FIRST_TURNS: u32 = 8;

/// Ticks after which an attack is not repeated because it had few turns: some of them take long to
/// load.
const ENOUGH_TICKS: u64 = 50_000_000;

/// An attack that has not ended after as many turns never does.
const MOST_TURNS: u32 = 600;

/// The part of the heap that is set aside for the kernel.
const HEAP_RESERVE_DIVISOR: usize = 8;

/// The share of the work next to an honest guest that a neighbour must do, in percent.
const PACE_PERCENT: u64 = 80;

/// The number of the checks of every attack.
const CHECKS: u32 = 14;

impl Attack {
    /// The name of its test.
    pub(crate) fn test_name(&self) -> alloc::string::String {
        alloc::format!("hostile-{}", self.name)
    }

    /// Describes the test.
    pub(crate) fn listed(&self) -> ListedTest {
        ListedTest {
            name: self.test_name(),
            expected: Ending::Checks(CHECKS),
            clock: Clock::Instructions,
            cpus: 1,
        }
    }

    /// Runs the attack. Returns only if no check failed.
    pub(crate) fn run_on(&self, machine: &Machine) -> ExitStatus {
        let rate = timer::calibrate();
        // Both fill lists that never shrink.
        warm_up(machine);
        assert!(newcomer_works(machine), "an honest guest works");
        let reserve = machine.heap().size_bytes / HEAP_RESERVE_DIVISOR;
        machine.reserve_heap(reserve).expect("the heap is almost empty");
        let pace = honest_pace(machine, rate, self);
        let mut checks = Checks::new();
        let before = Accounts::of(machine);
        let reserved = machine.space().usage().reserved_bytes;
        let mut duel = Duel::new(self, machine, rate);
        memory::set_fault_entry(self.fault_entry);
        interrupts::start(PERIOD, self.delivery);
        duel.fight();
        let interrupted = interrupts::stop();
        memory::set_fault_entry(FaultEntry::RegisterAware);
        let report = duel.conclude();
        report.print(self.cause, interrupted, pace);
        report.judge(&mut checks, self, interrupted, pace);
        drop(report);
        let after = Accounts::of(machine);
        checks.equal("free frames", after.free_frames, before.free_frames);
        checks.equal("heap bytes in use", after.heap_bytes, before.heap_bytes);
        checks.equal("reserved bytes", machine.space().usage().reserved_bytes, reserved);
        checks.complete(CHECKS)
    }
}

/// The work of a neighbour in a time.
#[derive(Clone, Copy, Debug)]
struct Pace {
    units: u64,
    ticks: u64,
}

impl Pace {
    /// Returns the pace in percent of `other`.
    fn percent_of(self, other: Self) -> u64 {
        self.units * 100 * other.ticks / (other.units * self.ticks).max(1)
    }
}

/// Measures the work of a neighbour next to as many honest guests as the attack has guests.
fn honest_pace(machine: &Machine, rate: TickRate, attack: &Attack) -> Pace {
    let mut executor = Executor::new(rate, SLICE);
    let neighbour = Neighbour::spawn(machine, &mut executor, attack);
    for _ in 0..attack.guests {
        Neighbour::spawn(machine, &mut executor, attack);
    }
    let guests = attack.guests + 1;
    interrupts::start(PERIOD, attack.delivery);
    let mut turns = |count| {
        let (units, start) = (neighbour.units_done(), clock::ticks());
        for _ in 0..count * guests {
            assert!(matches!(executor.turn(), Turn::Ran(_)), "honest guests run on");
        }
        Pace { units: neighbour.units_done() - units, ticks: clock::ticks() - start }
    };
    turns(FIRST_TURNS);
    let pace = turns(TURNS);
    let _ = interrupts::stop();
    pace
}

/// A metered engine with the default limits, which accounts for the heap.
fn engine(machine: &Machine) -> Engine {
    crate::wasm::engine(machine, machine.engine_config(Limits::default()).fuel(Fuel::Metered))
}

/// An honest guest on an executor, which works in units.
struct Neighbour {
    id: TaskId,
    units: Arc<Units>,
}

impl Neighbour {
    /// Starts a neighbour of `attack`.
    ///
    /// The default share of a store is three quarters of the frames that are free when it is made.
    /// Several stores can therefore take all frames together. Next to them a guest that must not
    /// fail reserves its own.
    fn spawn(machine: &Machine, executor: &mut Executor<World>, attack: &Attack) -> Self {
        let engine = engine(machine);
        let module = Module::new(&engine, guest!("neighbour")).expect("the neighbour is valid");
        let units = Arc::new(Units::default());
        let commit = if attack.guests > 1 { Commit::Reserved } else { Commit::OnTouch };
        let options = StoreOptions { commit, ..StoreOptions::default() };
        let store = Store::with_options(&engine, World::new(&units), options);
        let task = Task::instantiate(store, &linker(), &module, "run", &[]).expect("the neighbour links");
        Self { id: executor.spawn(task), units }
    }

    fn units_done(&self) -> u64 {
        self.units.done.load(Ordering::Relaxed)
    }
}

/// The pages that a neighbour keeps while it runs.
const KEPT_PAGES: u64 = 32;

/// Whether a guest that starts now gets its result.
fn newcomer_works(machine: &Machine) -> bool {
    let engine = engine(machine);
    let module = Module::new(&engine, guest!("neighbour")).expect("the neighbour is valid");
    let units = Arc::new(Units::default());
    let mut store = Store::new(&engine, World::new(&units));
    if store.set_fuel(u64::MAX / 2).is_err() {
        return false;
    }
    let started = linker().instantiate(&mut store, &module).ok();
    let once = started.and_then(|it| it.get_typed_func::<(), u64>(&store, "once").ok());
    once.and_then(|once| once.call(&mut store, ()).ok()) == Some(sum_of_unit())
}

/// The longest times in which nothing else could run, in ticks.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    load: u64,
    instantiate: u64,
    /// Beyond the slice.
    turn: u64,
    drop: u64,
}

/// An attack on a neighbour.
struct Duel<'a> {
    attack: &'a Attack,
    machine: &'a Machine,
    executor: Executor<World>,
    neighbour: Neighbour,
    wasm: alloc::borrow::Cow<'static, [u8]>,
    linker: Linker<World>,
    /// The units that the attack may report, which are not the neighbour's.
    units: Arc<Units>,
    times: Times,
    slice_ticks: u64,
    /// Ticks in which the attacking side ran outside of its turns, and which the neighbour has not
    /// had yet.
    owed: u64,
    /// Turns of the attacking side, where a guest that never ran counts as one.
    turns: u32,
    lives: u32,
    /// The ends that are not as expected.
    wrong_ends: Vec<End>,
    last_end: Option<End>,
    newcomers_failed: u32,
    /// The ticks that newcomers took. They are not the attack's.
    newcomer_ticks: u64,
    pace: Pace,
}

impl<'a> Duel<'a> {
    fn new(attack: &'a Attack, machine: &'a Machine, rate: TickRate) -> Self {
        let mut executor = Executor::new(rate, SLICE);
        let neighbour = Neighbour::spawn(machine, &mut executor, attack);
        for _ in 0..FIRST_TURNS {
            assert!(matches!(executor.turn(), Turn::Ran(_)), "the neighbour runs on");
        }
        Self {
            attack,
            machine,
            executor,
            neighbour,
            wasm: attack.wasm.bytes(),
            linker: linker(),
            units: Arc::new(Units::default()),
            times: Times::default(),
            slice_ticks: rate.ticks_in(SLICE),
            owed: 0,
            turns: 0,
            lives: 0,
            wrong_ends: Vec::new(),
            last_end: None,
            newcomers_failed: 0,
            newcomer_ticks: 0,
            pace: Pace { units: 0, ticks: 0 },
        }
    }

    /// Repeats the attack until both sides have had enough turns.
    fn fight(&mut self) {
        let (units, start) = (self.neighbour.units_done(), clock::ticks());
        while self.lives < self.attack.lives || (self.turns < TURNS && clock::ticks() - start < ENOUGH_TICKS)
        {
            self.live();
            self.lives += 1;
        }
        let ticks = clock::ticks() - start - self.newcomer_ticks;
        self.pace = Pace { units: self.neighbour.units_done() - units, ticks };
    }

    /// One life of the attack, from loading its module to the drop of its stores.
    fn live(&mut self) {
        let engine = engine(self.machine);
        let (module, ticks) = timed(|| Module::new(&engine, &self.wasm));
        self.times.load = self.times.load.max(ticks);
        self.owed += ticks;
        match module {
            Ok(module) => self.live_with(&engine, module),
            Err(error) => {
                self.turns += 1;
                self.ended(end_of_load(error));
            }
        }
        self.drop_timed(engine);
        self.pay();
    }

    /// Instantiates and runs the guests of a life.
    fn live_with(&mut self, engine: &Engine, module: Module) {
        let mut tasks = Vec::new();
        for _ in 0..self.attack.guests {
            let (task, ticks) = timed(|| self.instantiate(engine, &module));
            self.times.instantiate = self.times.instantiate.max(ticks);
            self.owed += ticks;
            match task {
                Ok(task) => tasks.push(task),
                Err(error) => {
                    self.turns += 1;
                    self.ended(end_of_instantiation(error));
                }
            }
        }
        self.pay();
        let ids = tasks.into_iter().map(|task| self.executor.spawn(task)).collect();
        self.take_turns(ids);
        self.drop_timed(module);
    }

    fn instantiate(&self, engine: &Engine, module: &Module) -> Result<Task<World>, TaskError> {
        let mut limits = *engine.limits();
        (self.attack.limits)(&mut limits);
        let options = StoreOptions { limits: Some(limits), commit: self.attack.commit };
        let world = World::failing_at(&self.units, u64::from(self.lives) + 1);
        let store = Store::with_options(engine, world, options);
        let arguments = self.arguments(module);
        Task::instantiate(store, &self.linker, module, self.attack.export, &arguments)
    }

    /// Returns the attack's arguments as values of the export's types.
    fn arguments(&self, module: &Module) -> Vec<Val> {
        let export = module.exports().find(|export| export.name() == self.attack.export);
        let ty = export.and_then(|export| export.ty().func().cloned());
        let params = ty.iter().flat_map(|ty| ty.params());
        let value = |(ty, number): (&ValType, &i64)| {
            if *ty == ValType::I32 {
                Val::I32(i32::try_from(*number).expect("the table has a number of 32 bits"))
            } else {
                Val::I64(*number)
            }
        };
        params.zip(self.attack.arguments).map(value).collect()
    }

    /// Lets the attack's tasks and the neighbour take turns until all of them have ended, or have
    /// run for long enough. Then kills those that are left, in the middle of a slice.
    fn take_turns(&mut self, mut ids: Vec<TaskId>) {
        let (most, mut turns) = (MOST_TURNS * self.attack.guests, 0);
        let enough = if self.attack.end.admits(&End::Runs) { TURNS * 2 } else { most };
        while !ids.is_empty() && turns < enough {
            let (turn, ticks) = timed(|| self.executor.turn());
            let id = match turn {
                Turn::Ran(id) => id,
                Turn::Ended(ended) => {
                    let Ended { id, result, store, .. } = *ended;
                    ids.retain(|task| *task != id);
                    // The executor forgets what an ended task has overdrawn.
                    self.owed += ticks.saturating_sub(self.slice_ticks);
                    self.ended(end_of_call(result));
                    self.drop_timed(store);
                    id
                }
                Turn::Idle { .. } | Turn::Empty => unreachable!("the neighbour is ready"),
            };
            if id != self.neighbour.id {
                self.times.turn = self.times.turn.max(ticks.saturating_sub(self.slice_ticks));
                turns += 1;
                if turns == TURNS / 2 {
                    self.start_newcomer();
                }
            }
        }
        self.turns += turns;
        for id in ids {
            self.ended(if enough < most { End::Runs } else { End::Other("it does not end".to_string()) });
            let killed = self.executor.kill(id);
            self.drop_timed(killed);
        }
        self.start_newcomer();
    }

    /// Starts another guest, which must work.
    fn start_newcomer(&mut self) {
        let (works, ticks) = timed(|| newcomer_works(self.machine));
        self.newcomers_failed += u32::from(!works);
        self.newcomer_ticks += ticks;
    }

    fn drop_timed<D>(&mut self, dropped: D) {
        let ((), ticks) = timed(|| drop(dropped));
        self.dropped(ticks);
    }

    fn dropped(&mut self, ticks: u64) {
        self.times.drop = self.times.drop.max(ticks);
        self.owed += ticks;
    }

    fn ended(&mut self, end: End) {
        if !self.attack.end.admits(&end) {
            self.wrong_ends.push(end.clone());
        }
        self.last_end = Some(end);
    }

    /// Lets the neighbour run for as long as the attacking side ran outside of its turns.
    fn pay(&mut self) {
        while self.owed > 0 {
            let (turn, ticks) = timed(|| self.executor.turn());
            assert!(matches!(turn, Turn::Ran(id) if id == self.neighbour.id), "the neighbour runs alone");
            self.owed = self.owed.saturating_sub(ticks);
        }
    }

    fn conclude(self) -> Report {
        let store = self
            .executor
            .tasks()
            .find(|(id, _)| *id == self.neighbour.id)
            .map(|(_, task)| task.store().report());
        Report {
            times: self.times,
            lives: self.lives,
            turns: self.turns,
            wrong_ends: self.wrong_ends,
            last_end: self.last_end,
            newcomers_failed: self.newcomers_failed,
            pace: self.pace,
            wrong_units: self.neighbour.units.wrong.load(Ordering::Relaxed),
            neighbour_lost: store.as_ref().is_none_or(|store| store.lost.is_some()),
            neighbour_frames: store.map_or(0, |store| store.resident_frames),
        }
    }
}

fn timed<R>(work: impl FnOnce() -> R) -> (R, u64) {
    let start = clock::ticks();
    let result = work();
    (result, clock::ticks() - start)
}

fn end_of_load(error: ModuleError) -> End {
    if let ModuleError::Limit { limit, .. } = error {
        return End::Refused(limit);
    }
    if matches!(error, ModuleError::OutOfHeap) {
        return End::OutOfHeap;
    }
    if matches!(error, ModuleError::Invalid { .. } | ModuleError::Truncated { .. }) {
        return End::Invalid;
    }
    End::Other(error.to_string())
}

fn end_of_instantiation(error: TaskError) -> End {
    if let TaskError::Instantiate(InstantiateError::Start(error)) = error {
        return end_of_error(error);
    }
    if matches!(error, TaskError::Instantiate(InstantiateError::OutOfHeap(_))) {
        return End::OutOfHeap;
    }
    End::NotInstantiated(error.to_string())
}

pub(crate) fn end_of_call(result: Result<Vec<Val>, Error>) -> End {
    match result {
        Ok(values) => End::Returned(match values.first() {
            Some(Val::I32(value)) => i64::from(*value),
            Some(Val::I64(value)) => *value,
            _ => 0,
        }),
        Err(error) => end_of_error(error),
    }
}

fn end_of_error(error: Error) -> End {
    if error.downcast_ref::<OutOfFrames>().is_some() {
        return End::OutOfFrames;
    }
    if error.downcast_ref::<OutOfHeap>().is_some() {
        return End::OutOfHeap;
    }
    if error.downcast_ref::<ReentryTooDeep>().is_some() {
        return End::ReentryTooDeep;
    }
    if error.downcast_ref::<StepRefused>().is_some() {
        return End::HostFailed;
    }
    match error.as_trap_code() {
        Some(code) => End::Trapped(code),
        None => End::Other(error.to_string()),
    }
}

/// What came of an attack.
struct Report {
    times: Times,
    lives: u32,
    turns: u32,
    wrong_ends: Vec<End>,
    last_end: Option<End>,
    newcomers_failed: u32,
    pace: Pace,
    wrong_units: u64,
    neighbour_lost: bool,
    neighbour_frames: u64,
}

impl Report {
    /// Prints the figures, and the longest times in the form that the host collects.
    fn print(&self, cause: Cause, interrupted: Interrupted, honest: Pace) {
        println!(
            "{} lives, {} turns, the last end: {:?}; pace {} %, {} interrupts",
            self.lives,
            self.turns,
            self.last_end,
            self.pace.percent_of(honest),
            interrupted.count
        );
        let Times { load, instantiate, turn, drop } = self.times;
        for (cause, instructions) in
            [(Cause::Load, load), (Cause::Instantiate, instantiate), (cause, turn), (Cause::Drop, drop)]
        {
            println!("{}", Longest { cause: cause.to_string(), instructions });
        }
        let cause = "interrupts-disabled".to_string();
        println!("{}", Longest { cause, instructions: interrupted.longest_gap_ticks });
    }

    fn judge(&self, checks: &mut Checks, attack: &Attack, interrupted: Interrupted, honest: Pace) {
        checks.equal("ends that are not as expected", &self.wrong_ends[..], &[]);
        checks.equal("wrong results of the neighbour", self.wrong_units, 0);
        checks.equal("the neighbour is lost", self.neighbour_lost, false);
        checks.at_most("pages that the neighbour keeps", KEPT_PAGES, self.neighbour_frames);
        checks.at_most("percent of its pace that it keeps", PACE_PERCENT, self.pace.percent_of(honest));
        let Times { load, instantiate, turn, drop } = self.times;
        checks.at_most("ticks of a load", load, attack.load_bound);
        checks.at_most("ticks of an instantiation", instantiate, Cause::Instantiate.bound());
        checks.at_most("ticks of the longest turn beyond its slice", turn, attack.cause.bound());
        checks.at_most("ticks of a drop", drop, Cause::Drop.bound());
        checks.equal("guests that could not start meanwhile", self.newcomers_failed, 0);
        checks.equal("the machine was interrupted", interrupted.count > 0, true);
    }
}
