//! Runs the guest that the kernel was booted with: load, instantiate, call, report.
//!
//! This module contains what all guests share. A plain call is in [`call`], and one in each of
//! several forks in [`forks`]. A WASI command is in [`command`], and the libraries are in
//! [`programs`]. An error in the file, the name or the arguments becomes one line that states what
//! to do. Everything of the guest is dropped before the report.

mod call;
mod command;
mod error;
mod forks;
mod limits;

use alloc::{string::ToString, vec::Vec};

use kernel_demo::{ExitStatus, Machine, Reason, errands};
use palimpsest_engine::{Config, Engine, Module, ModuleError, Store};
use palimpsest_protocol::{
    Driver, Entry, ForksReport, MemoryReport, Outcome, Report, Run, SnapshotUse, Value, files,
};

use crate::{programs, report, samples::Samples, world::SharedOutputLog};

pub(crate) use {call::INITIALIZE, error::RunError, forks::ForkMeter};

/// A guest, and the inputs of its run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guest<'a> {
    pub(crate) machine: &'a Machine,
    pub(crate) request: &'a Run,
    /// A Wasm binary or a prepared module.
    pub(crate) bytes: &'static [u8],
}

impl Guest<'_> {
    /// Returns the configuration of its engine, with the limits that its request sets.
    pub(crate) fn config(self) -> Result<Config, RunError> {
        let limits = limits::of_lone_guest(&self.request.limits)?;
        Ok(self.machine.engine_config_for_one(limits))
    }

    /// Loads the module.
    pub(crate) fn load(self, engine: &Engine) -> Result<Module, ModuleError> {
        if !Module::is_prepared(self.bytes) {
            return Module::new(engine, self.bytes);
        }
        // SAFETY: the user who boots the kernel passes this file with it. The help of
        //         `cargo xtask run` requires that `cargo xtask prepare` has written the file.
        unsafe { Module::from_prepared(engine, self.bytes) }
    }
}

/// How a run ended that was not aborted by an error.
#[derive(Debug)]
pub(crate) enum Ended {
    /// A function returned these values.
    Returned(Vec<Value>),
    /// A program ended with this code.
    Exited(u32),
}

/// Figures of a run that exist however it ends.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    pub(crate) instantiate_ticks: Option<u64>,
    pub(crate) run_ticks: Option<u64>,
    pub(crate) run_ns: Option<u64>,
    /// Ticks from the start of loading a program until it was initialized.
    pub(crate) source_ticks: Option<u64>,
    pub(crate) forks: Option<ForksReport>,
    pub(crate) memories: Vec<MemoryReport>,
    pub(crate) timeline: Samples,
    pub(crate) output: SharedOutputLog,
}

impl Measured {
    /// Records the figures of all memories in `store`.
    pub(crate) fn record_memories<T: 'static>(&mut self, store: &Store<T>) {
        self.memories = store.memories().map(|memory| report::of_memory(store, memory)).collect();
    }
}

/// Runs the guest as `request` specifies, and reports. With several CPUs, each of its slices or
/// calls is on one that is chosen at random.
pub(crate) fn guest(machine: &Machine, request: &Run) -> ExitStatus {
    errands::lend(machine, || on_any_cpu(machine, request))
}

fn on_any_cpu(machine: &Machine, request: &Run) -> ExitStatus {
    let free_frames_at_start = machine.frames().free_frames();
    let mut measured = Measured::default();
    let ended = match run(machine, request, &mut measured) {
        Err(RunError::Exit(exit)) => Ok(Ended::Exited(exit.code)),
        ended => ended,
    };
    let icount = |ticks: Option<u64>| ticks.filter(|_| machine.request().counts_instructions());
    let (outcome, results, exit_code, error) = match ended {
        Ok(Ended::Returned(results)) => (Outcome::Returned, results, None, None),
        Ok(Ended::Exited(0)) => (Outcome::Returned, Vec::new(), Some(0), None),
        Ok(Ended::Exited(code)) => (Outcome::Exited, Vec::new(), Some(code), None),
        Err(error) => (error.outcome(), Vec::new(), None, Some(error.to_string())),
    };
    let waiting_table_frames = machine.space().usage().waiting_table_frames;
    errands::flush_all();
    let report = Report {
        outcome,
        results,
        exit_code,
        error,
        memories: measured.memories,
        cpus: machine.cpus() as u64,
        interrupts_for_discards: machine.interrupts_sent(Reason::Discard),
        waiting_table_frames,
        free_frames_at_start,
        free_frames_at_end: machine.frames().free_frames(),
        instructions_to_instantiate: icount(measured.instantiate_ticks),
        instructions_to_run: icount(measured.run_ticks),
        nanoseconds_to_run: measured.run_ns,
        forks: measured.forks,
        timeline: measured.timeline.into_series(),
        output_timeline: core::mem::take(&mut measured.output.lock().samples).into_series(),
    };
    report::publish(&report);
    if outcome == Outcome::Returned { ExitStatus::Success } else { ExitStatus::GuestFailed }
}

fn run(machine: &Machine, request: &Run, measured: &mut Measured) -> Result<Ended, RunError> {
    let bytes = machine.file(files::GUEST).ok_or(RunError::NoGuest)?;
    let guest = Guest { machine, request, bytes };
    match &request.entry {
        Entry::Program { driver: Driver::Command | Driver::LodePng | Driver::WebP, .. }
            if request.snapshot.is_some() =>
        {
            Err(RunError::NoSnapshots)
        }
        Entry::Call { invoke } => match request.snapshot {
            None => call::run(guest, invoke.as_deref(), measured),
            Some(SnapshotUse::Forks(count)) => forks::run(guest, invoke.as_deref(), count, measured),
            Some(SnapshotUse::Write | SnapshotUse::Read) => Err(RunError::NoSnapshots),
        },
        Entry::Program { driver, .. } => match driver {
            Driver::Command => command::run(guest, measured),
            Driver::QuickJs => programs::quickjs(guest, measured),
            Driver::LodePng => programs::lodepng(guest, measured),
            Driver::WebP => programs::webp(guest, measured),
        },
    }
}
