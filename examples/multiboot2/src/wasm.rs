//! Runs a guest: all the code for Wasm in this kernel.

use alloc::boxed::Box;
use core::error;

use example_support::println;
use palimpsest_engine::{Caller, Config, Engine, Error, Extern, Linker, Module, Paged, Store, TrapCode};

use crate::memory::{self, HEAP, Space};

/// `guest.wat`, assembled by `build.rs`.
const GUEST: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/guest.wasm"));

/// Runs the guest and returns its result. Everything that it used is released.
pub(crate) fn run(space: &'static Space) -> Result<u32, Box<dyn error::Error>> {
    let engine = Engine::new(Config::default().heap(&HEAP), Paged::new(space))?;
    let module = Module::new(&engine, GUEST)?;
    let mut linker = Linker::new();
    linker.func_wrap("kernel", "print", print)?;
    linker.func_wrap("kernel", "free_frames", || memory::pool().free_frames())?;
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &module)?;
    Ok(instance.get_typed_func::<(), u32>(&store, "run")?.call(&mut store, ())?)
}

/// The import `kernel.print`: prints `length` bytes of the guest's memory from `start`.
fn print(caller: Caller<'_, ()>, start: u32, length: u32) -> Result<(), Error> {
    let memory = caller.get_export("memory").and_then(Extern::into_memory);
    let bytes = memory.and_then(|memory| memory.data(&caller).get(start as usize..)?.get(..length as usize));
    println!("{}", bytes.ok_or(TrapCode::MemoryOutOfBounds)?.escape_ascii());
    Ok(())
}
