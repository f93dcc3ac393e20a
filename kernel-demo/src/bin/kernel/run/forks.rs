//! Forks of a module that marks when it is initialized, all of them alive at once.

use alloc::vec::Vec;

use kernel_demo::{Machine, clock};
use palimpsest_engine::{Engine, Instance, Linker, Paged, Snapshot, Store, Val};
use palimpsest_heap::HeapState;
use palimpsest_protocol::ForksReport;
use palimpsest_wasi::{TscClock, WasiState};

use super::{Ended, Guest, Measured, RunError, call};
use crate::{
    slices::SliceError,
    world::{self, Waiting, World},
};

/// Initializes the module, and calls the export `invoke` in `count` forks, each with its number.
/// All forks are alive until the last one has returned.
pub(super) fn run(
    guest: Guest<'_>,
    invoke: Option<&str>,
    count: u32,
    measured: &mut Measured,
) -> Result<Ended, RunError> {
    let name = invoke.ok_or(RunError::NoSnapshots)?;
    let before = clock::ticks();
    let engine = Engine::new(guest.config()?.snapshots(true), Paged::new(guest.machine.space()))?;
    let module = guest.load(&engine)?;
    let linker = world::linker(&module)?;
    let time = world::start_clock();
    let mut store = Store::new(&engine, new_world(guest, time, measured)?);
    let instance = linker.instantiate(&mut store, &module)?;
    call::initialize(&mut store, instance)?;
    let source_ticks = Some(clock::ticks() - before);
    if !store.take_snapshot_ready() {
        return Err(RunError::NotReady);
    }
    let frames_of_source = store.report().held_frames;
    let snapshot = store.snapshot(instance)?;
    let mut meter = ForkMeter::start(guest.machine, frames_of_source);
    let mut forks = Vec::new();
    for number in 0..count {
        let before = clock::ticks();
        let (mut fork, instance) = fork(&linker, &snapshot, new_world(guest, time, measured)?)?;
        meter.started(before);
        let missing = || RunError::NoExport { name: name.into(), hint: call::callable(&module) };
        let func = instance.get_func(&fork, name).ok_or_else(missing)?;
        func.call(&mut fork, &[Val::I32(number.cast_signed())], &mut [])
            .map_err(|cause| RunError::of_call(name, SliceError::Guest(cause)))?;
        forks.push(fork);
    }
    measured.forks = Some(meter.report(count, source_ticks));
    measured.record_memories(&store);
    Ok(Ended::Returned(Vec::new()))
}

/// Returns the data of a new store.
fn new_world(guest: Guest<'_>, time: TscClock, measured: &Measured) -> Result<World, RunError> {
    Ok(World::new(world::of(guest, time, Waiting::Spin, &measured.output)?))
}

/// Starts a fork in a new store.
fn fork(
    linker: &Linker<World>,
    snapshot: &Snapshot<(WasiState, HeapState)>,
    world: World,
) -> Result<(Store<World>, Instance), RunError> {
    let mut store = Store::new(snapshot.module().engine(), world);
    let instance = linker.fork(&mut store, snapshot)?;
    Ok((store, instance))
}

/// Measures what forks take, from the time of their snapshot on.
#[derive(Debug)]
pub(crate) struct ForkMeter<'a> {
    machine: &'a Machine,
    frames_of_source: u64,
    free_frames: u64,
    heap_bytes: usize,
    start: u64,
    to_first: Option<u64>,
}

impl<'a> ForkMeter<'a> {
    /// Starts to measure. The program that is forked had `frames_of_source` frames.
    pub(crate) fn start(machine: &'a Machine, frames_of_source: u64) -> Self {
        let free_frames = machine.frames().free_frames();
        let heap_bytes = machine.heap().used_bytes;
        Self { machine, frames_of_source, free_frames, heap_bytes, start: clock::ticks(), to_first: None }
    }

    /// Records that a fork, which was begun at `before`, can run.
    pub(crate) fn started(&mut self, before: u64) {
        self.to_first = self.to_first.or_else(|| Some(clock::ticks() - before));
    }

    /// Returns what `count` forks have taken. `source_ticks` are those of the initialization.
    pub(crate) fn report(self, count: u32, source_ticks: Option<u64>) -> ForksReport {
        let each = |sum: u64| sum.div_ceil(u64::from(count.max(1)));
        let counts = self.machine.request().counts_instructions();
        let icount = |ticks: Option<u64>| ticks.filter(|_| counts);
        ForksReport {
            count,
            frames_per_fork: each(self.free_frames - self.machine.frames().free_frames()),
            frames_of_source: self.frames_of_source,
            heap_bytes_per_fork: each((self.machine.heap().used_bytes - self.heap_bytes) as u64),
            instructions_of_source: icount(source_ticks),
            instructions_to_first: icount(self.to_first),
            instructions_per_fork: icount(Some(each(clock::ticks() - self.start))),
        }
    }
}
