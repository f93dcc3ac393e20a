//! Runs a guest: all the code for Wasm in this kernel.
//!
//! The guest has an engine and a store. Dropping them releases everything that it used.

use alloc::boxed::Box;
use core::error::Error;

use palimpsest_engine::{
    Caller, Config, Engine, Extern, Linker, Module, NativeStack, Paged, Store, TrapCode,
};

use example_support::checks::Checks;
use example_support::println;

use crate::frames;
use crate::memory::{HEAP, STACK_END, Space};

/// `guest.wat`, assembled by `build.rs`.
const GUEST: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/guest.wasm"));

/// Runs the guest and checks its memory on the way.
///
/// # Errors
///
/// Returns the first error of loading, linking or running the guest.
pub(crate) fn run(space: &'static Space, checks: &mut Checks) -> Result<(), Box<dyn Error>> {
    let config = Config::default().heap(&HEAP).stack(NativeStack::EndsAt(STACK_END));
    let engine = Engine::new(config, Paged::new(space))?;
    let module = Module::new(&engine, GUEST)?;
    let mut linker = Linker::new();
    linker.func_wrap("kernel", "print", print)?;
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &module)?;
    let memory = instance.get_memory(&store, "memory").ok_or("the guest exports no memory")?;
    checks.equal("frames of its data segment, which all instances share", module.image_frames(), 1);
    checks.equal("data frames of 1 GiB", memory.residency(&store).resident_frames, 0);
    instance.get_typed_func::<(), ()>(&store, "greet")?.call(&mut store, ())?;

    let free_frames = frames::free();
    let write = instance.get_typed_func::<u32, u64>(&store, "write")?;
    checks.equal("sum of 256 numbers, each in a Wasm page", write.call(&mut store, 256)?, 255 * 256 / 2);
    checks.equal("data frames now", memory.residency(&store).resident_frames, 256);
    let mut number = [0];
    memory.read(&store, 200 << 16, &mut number)?;
    checks.equal("number 200, read by the kernel", number, [200]);

    let clear = instance.get_typed_func::<u32, u32>(&store, "clear")?;
    checks.equal("the guest clears 128 Wasm pages, answer", clear.call(&mut store, 128)?, 0);
    checks.equal("data frames now", memory.residency(&store).resident_frames, 128);
    let cleared = memory.clear_pages(&mut store, 128, 128)?;
    checks.equal("the kernel clears the others, frames released", cleared.frames_released, 128);
    checks.equal("frames free, as before the writes", frames::free(), free_frames);
    memory.read(&store, 200 << 16, &mut number)?;
    checks.equal("number 200 now", number, [0]);
    Ok(())
}

/// The import `kernel.print`: prints `length` bytes of the guest's memory from `start`.
fn print(caller: Caller<'_, ()>, start: u32, length: u32) -> Result<(), palimpsest_engine::Error> {
    let memory = caller.get_export("memory").and_then(Extern::into_memory);
    let bytes = memory.and_then(|memory| memory.data(&caller).get(start as usize..)?.get(..length as usize));
    println!("{}", bytes.ok_or(TrapCode::MemoryOutOfBounds)?.escape_ascii());
    Ok(())
}
