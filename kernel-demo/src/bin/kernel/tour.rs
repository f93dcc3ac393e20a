//! The tour: seven steps on real frames, and an eighth on a machine with several CPUs.
//!
//! Each step prints its figures and compares them with the expected ones. The first wrong figure
//! ends the tour with a failing status. The last line is the verdict.

mod cpus;
mod grow;
mod png;
mod sparse;

use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;
use kernel_demo::{ExitStatus, Machine, Reason, println};
use palimpsest_engine::{
    Engine, Instance, Limits, Linker, Memory, Module, Paged, Store, WasmParams, WasmResults,
};
use palimpsest_protocol::{MemoryReport, Outcome, Report, Series, console};
use thiserror::Error;

use crate::report;

/// Why the tour ended early.
#[derive(Debug, Error)]
enum TourError {
    /// A figure differs from the expected one.
    #[error("{what}: {found}, but {expected} was expected")]
    Figure { what: &'static str, found: u64, expected: u64 },
    /// An operation failed that must succeed.
    #[error("{what}: {cause}")]
    Broken { what: &'static str, cause: String },
}

/// Adds to an error what the tour was doing.
fn doing<V, E: fmt::Display>(what: &'static str, result: Result<V, E>) -> Result<V, TourError> {
    result.map_err(|cause| TourError::Broken { what, cause: cause.to_string() })
}

/// Compares a figure with the expected one.
fn must_be(what: &'static str, found: u64, expected: u64) -> Result<(), TourError> {
    if found == expected { Ok(()) } else { Err(TourError::Figure { what, found, expected }) }
}

/// A store with one instance.
struct Program {
    store: Store<()>,
    instance: Instance,
}

impl Program {
    fn start(machine: &Machine, wasm: &[u8]) -> Result<Self, TourError> {
        let engine = Engine::new(machine.engine_config(Limits::default()), Paged::new(machine.space()));
        let engine = doing("making an engine", engine)?;
        let module = doing("loading", Module::new(&engine, wasm))?;
        let mut store = Store::new(&engine, ());
        let instance = doing("instantiating", Linker::new().instantiate(&mut store, &module))?;
        Ok(Self { store, instance })
    }

    /// Calls the export `name`.
    fn call<P, R>(&mut self, name: &'static str, params: P) -> Result<R, TourError>
    where
        P: WasmParams,
        R: WasmResults,
    {
        let func = doing(name, self.instance.get_typed_func::<P, R>(&self.store, name))?;
        doing(name, func.call(&mut self.store, params))
    }

    fn memory(&self) -> Result<Memory, TourError> {
        let missing = TourError::Broken { what: "memory", cause: "is not exported".to_string() };
        self.instance.get_memory(&self.store, "memory").ok_or(missing)
    }
}

/// Takes the tour and reports the result.
pub(crate) fn give(machine: &Machine) -> ExitStatus {
    let free_frames_at_start = machine.frames().free_frames();
    println!("Palimpsest: linear memory is virtual memory.");
    println!("{free_frames_at_start} frames of 4 KiB are free.\n");
    let mut memories = Vec::new();
    let went = steps(machine, &mut memories);
    let error = went.err().map(|error| error.to_string());
    let outcome = if error.is_none() { Outcome::Returned } else { Outcome::Error };
    match &error {
        None => {
            println!(
                "\n{}: {} steps, every figure as it must be, every frame is back",
                console::TOUR_PASSED,
                if machine.cpus() > 1 { 8 } else { 7 },
            );
        }
        Some(error) => println!("\ntour failed: {error}"),
    }
    let waiting_table_frames = machine.space().usage().waiting_table_frames;
    let report = Report {
        outcome,
        results: Vec::new(),
        error,
        memories,
        cpus: machine.cpus() as u64,
        interrupts_for_discards: machine.interrupts_sent(Reason::Discard),
        waiting_table_frames,
        free_frames_at_start,
        free_frames_at_end: machine.frames().free_frames(),
        instructions_to_instantiate: None,
        instructions_to_run: None,
        nanoseconds_to_run: None,
        forks: None,
        exit_code: None,
        timeline: Series::new(),
        output_timeline: Series::new(),
    };
    report::send(&report);
    if outcome == Outcome::Returned { ExitStatus::Success } else { ExitStatus::GuestFailed }
}

fn steps(machine: &Machine, memories: &mut Vec<MemoryReport>) -> Result<(), TourError> {
    let free = machine.frames().free_frames();
    let sparse = sparse::steps_1_to_4(machine)?;
    let memory = sparse.memory()?;
    memories.push(report::of_memory(&sparse.store, memory));
    let grown = grow::step_5(machine)?;
    let png = png::step_6(machine)?;

    println!("7. the stores are dropped");
    let held = free - machine.frames().free_frames();
    drop((sparse, grown, png));
    let after = machine.frames().free_frames();
    println!("   {held} frames were held (data and tables); {after} of {free} are free again");
    must_be("free frames after the stores are dropped", after, free)?;
    if machine.cpus() > 1 {
        cpus::step_8(machine)?;
        // Every CPU flushes its TLB afterwards, for which table frames may wait.
        machine.on_all_cpus(|_| {});
        must_be("free frames after the guests ended", machine.frames().free_frames(), free)?;
    }
    Ok(())
}
