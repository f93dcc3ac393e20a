//! Guests that write to memory and discard it, on one CPU and on all of the machine.
//!
//! A figure is the time of a round, of all guests together: half of it means twice the throughput.
//! `compute` shows how far the machine itself scales. All cases take turns, so that a change of the
//! machine's speed affects all of them.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use kernel_demo::executor::{Moves, Scheduler};
use kernel_demo::timer::TickRate;
use kernel_demo::{Machine, Reason, clock, timer};
use palimpsest_engine::{Caller, Engine, Fuel, Linker, Module, Paged, Store, Task, Val};
use palimpsest_protocol::Unit;

use crate::figures::Figures;
use crate::guest::{config, guest};
use crate::{BenchError, doing};

const WASM: &[u8] = guest!("cpus");

/// How often each case is measured, and for how long.
const RUNS: usize = 3;
const DURATION: Duration = Duration::from_millis(1_500);

const SLICE: Duration = Duration::from_millis(2);

/// A reading is the time of so many rounds.
const ROUNDS: u64 = 1_000;

/// The bytes of a round in Wasm pages.
const WASM_PAGES: [i32; 2] = [1, 16];

/// What a guest does.
#[derive(Clone, Copy)]
enum Work {
    Compute,
    Discard { wasm_pages: i32 },
}

/// Whose rounds are counted.
#[derive(Clone, Copy)]
enum Counted {
    All,
    /// Those of the last guest, the neighbour of the others.
    Last,
}

/// A case that is measured.
struct Case {
    name: String,
    cpus: usize,
    guests: Vec<Work>,
    /// All guests are instances of one module.
    shared: bool,
    moves: Moves,
    counted: Counted,
    readings: Vec<u64>,
}

impl Case {
    fn new(name: String, cpus: usize, guests: Vec<Work>) -> Self {
        let readings = Vec::with_capacity(RUNS);
        Self { name, cpus, guests, shared: false, moves: Moves::IfIdle, counted: Counted::All, readings }
    }
}

/// Measures all cases.
pub(crate) fn measure(machine: &Machine, figures: &mut Figures) -> Result<(), BenchError> {
    let rate = timer::calibrate();
    let mut cases = cases(machine.cpus());
    for _ in 0..RUNS {
        for case in &mut cases {
            let reading = run(machine, rate, case)?;
            case.readings.push(reading);
        }
    }
    for case in &mut cases {
        figures.cost_each(format!("cpus/{}", case.name), &mut case.readings, ROUNDS);
    }
    for (name, reason) in [("discards", Reason::Discard), ("work", Reason::Work)] {
        let sent = machine.interrupts_sent(reason);
        figures.count(format!("cpus/interrupts/{name}"), Unit::Interrupts, sent);
    }
    Ok(())
}

/// The cases of a machine with `all` CPUs. The names end with the number of CPUs that work.
fn cases(all: usize) -> Vec<Case> {
    let compute = |cpus| Case::new(format!("compute/{cpus}"), cpus, alloc::vec![Work::Compute; cpus]);
    let mut cases = alloc::vec![compute(1), compute(all)];
    let neighbour = |name: String, beside: Work, others: usize| {
        let mut guests = alloc::vec![beside; others];
        guests.push(Work::Compute);
        Case { counted: Counted::Last, ..Case::new(name, all, guests) }
    };
    cases.push(neighbour("neighbour_alone/1".into(), Work::Compute, 0));
    cases.push(neighbour(format!("neighbour_compute/{all}"), Work::Compute, all - 1));
    for wasm_pages in WASM_PAGES {
        let work = Work::Discard { wasm_pages };
        let kib = wasm_pages * 64;
        for cpus in [1, all] {
            let guests = |each: usize| alloc::vec![work; each * cpus];
            cases.push(Case::new(format!("discard_{kib}/{cpus}"), cpus, guests(1)));
            let case = Case::new(format!("discard_{kib}_moved/{cpus}"), cpus, guests(4));
            cases.push(Case { moves: Moves::Random, ..case });
            let case = Case::new(format!("discard_{kib}_shared/{cpus}"), cpus, guests(1));
            cases.push(Case { shared: true, ..case });
        }
        cases.push(neighbour(format!("neighbour_{kib}/{all}"), work, all - 1));
    }
    cases
}

/// Runs the guests of a case for [`DURATION`]. Returns the ticks of [`ROUNDS`] rounds.
fn run(machine: &Machine, rate: TickRate, case: &Case) -> Result<u64, BenchError> {
    let scheduler = Scheduler::on_cpus(case.cpus, rate, SLICE, case.moves);
    let shared = if case.shared { Some(module(machine)?) } else { None };
    let mut ids = Vec::new();
    for work in &case.guests {
        let module = shared.clone().map_or_else(|| module(machine), Ok)?;
        ids.push(scheduler.spawn(task(&module, *work)?));
    }
    let start = clock::ticks();
    let until_ns = rate.nanoseconds_in(start + rate.ticks_in(DURATION));
    scheduler.run_until(machine, until_ns, |_, ended| panic!("a guest ended: {:?}", ended.result));
    let ticks = clock::ticks() - start;
    let last = ids.last().copied();
    let counts = |id| matches!(case.counted, Counted::All) || Some(id) == last;
    let rounds: u64 =
        scheduler.kill_all().filter(|(id, _)| counts(*id)).map(|(_, store)| *store.data()).sum();
    doing("running guests", if rounds == 0 { Err("none completed a round") } else { Ok(()) })?;
    Ok(ticks * ROUNDS / rounds)
}

/// Loads the guests' module with its own engine.
fn module(machine: &Machine) -> Result<Module, BenchError> {
    let engine = Engine::new(config().fuel(Fuel::Metered), Paged::new(machine.space()));
    let engine = doing("making an engine", engine)?;
    doing("loading", Module::new(&engine, WASM))
}

/// A guest whose store counts its rounds.
fn task(module: &Module, work: Work) -> Result<Task<u64>, BenchError> {
    let mut linker = Linker::new();
    let round = |mut caller: Caller<'_, u64>| *caller.data_mut() += 1;
    doing("defining an import", linker.func_wrap("bench", "round", round))?;
    let (name, argument) = match work {
        Work::Compute => ("compute", 1),
        Work::Discard { wasm_pages } => ("discard", wasm_pages),
    };
    let store = Store::new(module.engine(), 0);
    let task = Task::instantiate(store, &linker, module, name, &[Val::I32(argument)]);
    doing("instantiating", task)
}
