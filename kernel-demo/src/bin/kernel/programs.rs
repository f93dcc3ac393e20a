//! Programs that are libraries: Wasm modules that were compiled for JavaScript hosts.
//!
//! The kernel calls the exports of a [`Library`] by name, in slices, with addresses and lengths.
//! The modules [`picture`] and [`mod@quickjs`] contain what the exports mean. The programs write
//! their output like a WASI command, and end with an exit code.

mod picture;
mod quickjs;

use alloc::{format, string::String, vec::Vec};

use kernel_demo::clock;
use palimpsest_engine::{
    Config, Engine, Fuel, Instance, Linker, Memory, Module, Paged, Snapshot, SnapshotData, Store, TypedFunc,
    Val, WasmParams, WasmResults,
};
use palimpsest_wasi::{Output, TscClock};
use thiserror::Error;

use crate::{
    run::{Ended, Guest, INITIALIZE, Measured, RunError},
    slices::Sliced,
    world::StandardError,
};

pub(crate) use picture::{lodepng, webp};
pub(crate) use quickjs::quickjs;

/// The fuel for a library's start function.
const START_FUEL: u64 = 100_000_000;

/// The exit code of a program that reports an error.
const FAILURE: u32 = 1;

/// An instance of a library.
#[derive(Debug)]
struct Library<T: 'static> {
    sliced: Sliced<T>,
    instance: Instance,
    memory: Memory,
}

impl<T: Send + 'static> Library<T> {
    /// Instantiates `module` with the definitions in `linker`, and initializes it.
    fn start(
        guest: Guest<'_>,
        module: &Module,
        linker: &Linker<T>,
        time: TscClock,
        data: T,
        measured: &mut Measured,
    ) -> Result<Self, RunError> {
        let mut store = Store::new(module.engine(), data);
        // The fuel for a start function, which is called before there is a task.
        store.set_fuel(START_FUEL).expect("`load` makes a metered engine");
        let before = clock::ticks();
        let instance = linker.instantiate(&mut store, module)?;
        measured.instantiate_ticks = Some(clock::ticks() - before);
        let mut library = Self::of(guest, store, instance, time)?;
        if instance.get_func(&*library.store()?, INITIALIZE).is_some() {
            library.call(INITIALIZE, &[])?;
        }
        Ok(library)
    }

    /// Returns the library in `store`.
    fn of(guest: Guest<'_>, store: Store<T>, instance: Instance, time: TscClock) -> Result<Self, RunError> {
        let memory = instance.get_memory(&store, "memory").ok_or_else(|| other_library("memory"))?;
        Ok(Self { sliced: Sliced::new(store, guest.machine.space(), time), instance, memory })
    }

    /// Returns the export `name`, for host functions to call.
    fn typed<P: WasmParams, R: WasmResults>(&mut self, name: &str) -> Result<TypedFunc<P, R>, RunError> {
        let instance = self.instance;
        instance.get_typed_func(&*self.store()?, name).map_err(|_| other_library(name))
    }

    /// Ends the program. See [`Sliced::conclude`].
    fn conclude(self, measured: &mut Measured) {
        self.sliced.conclude(measured);
    }

    /// Returns the store, which contains the library's memory.
    fn store(&mut self) -> Result<&mut Store<T>, RunError> {
        self.sliced.store().map_err(|error| RunError::of_call("store", error))
    }

    /// Calls the export `name`, whose parameters and results must all be 32-bit integers. Returns 0
    /// if it has no result.
    fn call(&mut self, name: &str, arguments: &[u32]) -> Result<u32, RunError> {
        let arguments: Vec<_> = arguments.iter().map(|word| Val::I32(word.cast_signed())).collect();
        self.call_with(name, &arguments)
    }

    /// Calls the export `name`, whose result must be a 32-bit integer. Returns 0 if it has none.
    fn call_with(&mut self, name: &str, arguments: &[Val]) -> Result<u32, RunError> {
        let instance = self.instance;
        let func = instance.get_func(self.store()?, name).ok_or_else(|| other_library(name))?;
        let results = self.sliced.call(func, arguments).map_err(|error| RunError::of_call(name, error))?;
        Ok(results.first().and_then(Val::i32).map_or(0, i32::cast_unsigned))
    }
}

impl<T: SnapshotData + Send + 'static> Library<T> {
    /// Starts a fork of `snapshot` with `data`.
    fn fork(
        guest: Guest<'_>,
        linker: &Linker<T>,
        time: TscClock,
        data: T,
        snapshot: &Snapshot<T::State>,
    ) -> Result<Self, RunError> {
        let mut store = Store::new(snapshot.module().engine(), data);
        let instance = linker.fork(&mut store, snapshot)?;
        Self::of(guest, store, instance, time)
    }

    /// Makes a snapshot. No call may be active.
    fn snapshot(&mut self) -> Result<Snapshot<T::State>, RunError> {
        let instance = self.instance;
        Ok(self.store()?.snapshot(instance)?)
    }
}

impl<T: Send + 'static> Library<T> {
    /// Writes `bytes` at `address`.
    fn write(&mut self, address: u32, bytes: &[u8]) -> Result<(), RunError> {
        let memory = self.memory;
        let written = memory.write(self.store()?, address as usize, bytes);
        written.map_err(|_| RunError::OutOfBounds { address, bytes: bytes.len() })
    }

    /// Returns the `bytes` bytes at `address`.
    fn read(&mut self, address: u32, bytes: usize) -> Result<&[u8], RunError> {
        let memory = self.memory;
        let range = memory.data(&*self.store()?).get(address as usize..).and_then(|rest| rest.get(..bytes));
        range.ok_or(RunError::OutOfBounds { address, bytes })
    }

    /// Returns the little-endian word at `address`.
    fn word(&mut self, address: u32) -> Result<u32, RunError> {
        let bytes = self.read(address, size_of::<u32>())?;
        Ok(u32::from_le_bytes(bytes.try_into().expect("`read` returned 4 bytes")))
    }
}

/// Loads the module of `guest` in an engine with this configuration, which becomes a metered one.
fn load(guest: Guest<'_>, config: Config) -> Result<Module, RunError> {
    let engine = Engine::new(config.fuel(Fuel::Metered), Paged::new(guest.machine.space()))?;
    Ok(guest.load(&engine)?)
}

fn other_library(name: &str) -> RunError {
    RunError::OtherLibrary { name: name.into() }
}

/// Why a program failed.
#[derive(Debug, Error)]
enum ProgramError {
    /// It reports an error: a line on standard error, and an exit code.
    #[error("{0}")]
    Reported(String),
    /// It could not be run, or trapped.
    #[error(transparent)]
    Run(#[from] RunError),
}

/// Converts the end of a program to the end of the run.
fn conclude(ended: Result<(), ProgramError>) -> Result<Ended, RunError> {
    match ended {
        Ok(()) => Ok(Ended::Exited(0)),
        Err(ProgramError::Reported(reason)) => {
            StandardError.write(format!("{reason}\n").as_bytes());
            Ok(Ended::Exited(FAILURE))
        }
        Err(ProgramError::Run(error)) => Err(error),
    }
}
