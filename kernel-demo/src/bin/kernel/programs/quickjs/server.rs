//! How QuickJS gets to its script: it is initialized, or it is a fork of a snapshot.
//!
//! The forks of a run are all alive until the last one has evaluated the script. Each has a store
//! with the memory of the snapshot, and its own descriptors and output. The global variable `fork`
//! is its number, from 0.

use alloc::vec::Vec;

use kernel_demo::clock;
use palimpsest_engine::{Linker, Module, Snapshot, Val};
use palimpsest_protocol::files;
use palimpsest_wasi::TscClock;

use super::{
    EXPORTS, evaluate,
    host::{self, Host, HostState},
    new_host, put, start,
};
use crate::{
    programs::{Library, ProgramError, conclude, load},
    run::{Ended, ForkMeter, Guest, Measured, RunError},
};

/// What all instances of a run share.
pub(super) struct Server<'a> {
    pub(super) guest: Guest<'a>,
    pub(super) linker: &'a Linker<Host>,
    pub(super) time: TscClock,
    pub(super) name: &'a str,
    pub(super) script: &'a [u8],
}

impl Server<'_> {
    /// Loads QuickJS with the exports that the kernel uses.
    fn load(&self) -> Result<Module, RunError> {
        let config = self.guest.config()?.exports(EXPORTS);
        load(self.guest, config.snapshots(self.guest.request.snapshot.is_some()))
    }

    /// Initializes QuickJS and passes it to `work`.
    pub(super) fn initialized(
        &self,
        measured: &mut Measured,
        work: impl FnOnce(&mut Library<Host>, &mut Measured) -> Result<(), ProgramError>,
    ) -> Result<Ended, RunError> {
        let before = clock::ticks();
        let host = new_host(self.guest, self.time, measured)?;
        let mut library = Library::start(self.guest, &self.load()?, self.linker, self.time, host, measured)?;
        let started = start(&mut library);
        measured.source_ticks = Some(clock::ticks() - before);
        let ended = started.and_then(|()| work(&mut library, measured));
        library.conclude(measured);
        conclude(ended)
    }

    /// Evaluates the script in a fork of the snapshot in the boot archive.
    pub(super) fn restored(&self, measured: &mut Measured) -> Result<Ended, RunError> {
        let bytes = self.guest.machine.file(files::SNAPSHOT).ok_or(RunError::NoSnapshot)?;
        let snapshot = Snapshot::read_from(&self.load()?, bytes)?;
        let before = clock::ticks();
        let mut fork = self.fork(&snapshot, measured)?;
        measured.instantiate_ticks = Some(clock::ticks() - before);
        let attached = host::attach(&mut fork).map_err(ProgramError::from);
        let ended = attached.and_then(|()| evaluate(&mut fork, self.name, self.script));
        fork.conclude(measured);
        conclude(ended)
    }

    /// Snapshots `library` and evaluates the script in `count` forks.
    pub(super) fn fork_all(
        &self,
        library: &mut Library<Host>,
        count: u32,
        measured: &mut Measured,
    ) -> Result<(), ProgramError> {
        let frames_of_source = library.store()?.report().held_frames;
        let snapshot = library.snapshot()?;
        let mut meter = ForkMeter::start(self.guest.machine, frames_of_source);
        let mut forks = Vec::new();
        for number in 0..count {
            let before = clock::ticks();
            let mut fork = self.fork(&snapshot, measured)?;
            meter.started(before);
            self.evaluate_as(number, &mut fork)?;
            forks.push(fork);
        }
        measured.forks = Some(meter.report(count, measured.source_ticks));
        Ok(())
    }

    /// Starts a fork.
    fn fork(&self, snapshot: &Snapshot<HostState>, measured: &Measured) -> Result<Library<Host>, RunError> {
        let host = new_host(self.guest, self.time, measured)?;
        Library::fork(self.guest, self.linker, self.time, host, snapshot)
    }

    /// Evaluates the script in a fork with this number.
    fn evaluate_as(&self, number: u32, fork: &mut Library<Host>) -> Result<(), ProgramError> {
        host::attach(fork)?;
        let global = fork.call("qjs_get_global", &[])?;
        let (name, _) = put(fork, b"fork")?;
        let value = fork.call_with("qjs_new_number", &[Val::F64(f64::from(number).into())])?;
        fork.call("qjs_set_prop_string", &[global, name, value])?;
        for value in [value, global] {
            fork.call("qjs_free_value", &[value])?;
        }
        fork.call("wasm_free", &[name])?;
        evaluate(fork, self.name, self.script)
    }
}
