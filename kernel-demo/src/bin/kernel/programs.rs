//! Programs that are libraries: Wasm modules that somebody else compiled for JavaScript hosts, driven from
//! here.
//!
//! Owns [`Library`], an instance whose exports are called by name, in slices, with addresses and lengths.
//! What the exports mean is in [`picture`] and [`mod@quickjs`]. What such a program has to say goes where a WASI
//! command writes it, and it ends with an exit code like one. Called by `run`.

mod picture;
mod quickjs;

use alloc::{format, string::String, vec::Vec};

use kernel_demo::clock;
use palimpsest_engine::{
    Config, Engine, Fuel, Instance, Linker, Memory, Module, Paged, Store, TypedFunc, Val, WasmParams,
    WasmResults,
};
use palimpsest_wasi::Output;
use thiserror::Error;

use crate::{
    run::{Ended, Guest, Measured, RunError},
    slices::Sliced,
    world::{StandardError, Time},
};

pub(crate) use picture::{lodepng, webp};
pub(crate) use quickjs::quickjs;

/// What a library calls once before anything else, if it exports it (WASI application ABI, reactors).
const INITIALIZE: &str = "_initialize";

/// Fuel for a library's start function.
const START_FUEL: u64 = 100_000_000;

/// The exit code of a program that could not do what it was asked to.
const FAILURE: u32 = 1;

/// An instance of a library.
#[derive(Debug)]
struct Library<T: 'static> {
    sliced: Sliced<T>,
    instance: Instance,
    memory: Memory,
}

impl<T: 'static> Library<T> {
    /// Instantiates `guest` with what `linker` has, and initializes it.
    fn load(
        guest: Guest<'_>,
        linker: &Linker<T>,
        time: Time,
        data: T,
        measured: &mut Measured,
    ) -> Result<Self, RunError> {
        let config = Config::default().fuel(Fuel::Metered);
        let engine = Engine::new(config, Paged::new(guest.machine.space()))?;
        let module = Module::new(&engine, guest.wasm)?;
        let mut store = Store::new(&engine, data);
        // For a start function, which is called before there is a task.
        store.set_fuel(START_FUEL).expect("the engine above is metered");
        let before = clock::ticks();
        let instance = linker.instantiate(&mut store, &module)?;
        measured.instantiate_ticks = Some(clock::ticks() - before);
        let memory = instance.get_memory(&store, "memory").ok_or_else(|| other_library("memory"))?;
        let mut library = Self { sliced: Sliced::new(store, guest.machine.space(), time), instance, memory };
        if instance.get_func(&*library.store()?, INITIALIZE).is_some() {
            library.call(INITIALIZE, &[])?;
        }
        Ok(library)
    }

    /// The export `name`, for host functions to call.
    fn typed<P: WasmParams, R: WasmResults>(&mut self, name: &str) -> Result<TypedFunc<P, R>, RunError> {
        let instance = self.instance;
        instance.get_typed_func(&*self.store()?, name).map_err(|_| other_library(name))
    }

    /// Ends the program; see [`Sliced::conclude`].
    fn conclude(self, measured: &mut Measured) {
        self.sliced.conclude(measured);
    }

    /// The store with the library's memory in it.
    fn store(&mut self) -> Result<&mut Store<T>, RunError> {
        self.sliced.store().map_err(|error| RunError::of_call("store", error))
    }

    /// Calls the export `name`, all of whose parameters and results are 32-bit integers. A function without a
    /// result answers 0.
    fn call(&mut self, name: &str, arguments: &[u32]) -> Result<u32, RunError> {
        let instance = self.instance;
        let func = instance.get_func(self.store()?, name).ok_or_else(|| other_library(name))?;
        let arguments: Vec<_> = arguments.iter().map(|word| Val::I32(word.cast_signed())).collect();
        let results = self.sliced.call(func, &arguments).map_err(|error| RunError::of_call(name, error))?;
        Ok(results.first().and_then(Val::i32).map_or(0, i32::cast_unsigned))
    }
}

impl<T: 'static> Library<T> {
    /// Puts `bytes` at the address.
    fn write(&mut self, address: u32, bytes: &[u8]) -> Result<(), RunError> {
        let memory = self.memory;
        let written = memory.write(self.store()?, address as usize, bytes);
        written.map_err(|_| RunError::OutOfBounds { address, bytes: bytes.len() })
    }

    /// The `bytes` bytes at the address.
    fn read(&mut self, address: u32, bytes: usize) -> Result<&[u8], RunError> {
        let memory = self.memory;
        let range = memory.data(&*self.store()?).get(address as usize..).and_then(|rest| rest.get(..bytes));
        range.ok_or(RunError::OutOfBounds { address, bytes })
    }

    /// The little-endian word at the address.
    fn word(&mut self, address: u32) -> Result<u32, RunError> {
        let bytes = self.read(address, size_of::<u32>())?;
        Ok(u32::from_le_bytes(bytes.try_into().expect("`read` returns as many bytes as it was asked for")))
    }
}

fn other_library(name: &str) -> RunError {
    RunError::OtherLibrary { name: name.into() }
}

/// Why a program did not do what it was asked to.
#[derive(Debug, Error)]
enum ProgramError {
    /// It says so itself, like any command: a line on its standard error, and an exit code.
    #[error("{0}")]
    Said(String),
    /// It could not be run, or trapped.
    #[error(transparent)]
    Run(#[from] RunError),
}

/// What a program's end is for the whole run.
fn conclude(ended: Result<(), ProgramError>) -> Result<Ended, RunError> {
    match ended {
        Ok(()) => Ok(Ended::Exited(0)),
        Err(ProgramError::Said(reason)) => {
            StandardError.write(format!("{reason}\n").as_bytes());
            Ok(Ended::Exited(FAILURE))
        }
        Err(ProgramError::Run(error)) => Err(error),
    }
}
