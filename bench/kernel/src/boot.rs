//! From reset to the first Wasm instruction.
//!
//! The time-stamp counter is zero at reset, so one reading is the whole time: the firmware, loading
//! the kernel and its archive, the kernel's boot, the engine with its self-check, and a small
//! module from its bytes to its call.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};

use kernel_demo::{Machine, clock};
use palimpsest_engine::{Config, Engine, Linker, Module, Paged, Store};

use crate::guest::guest;
use crate::{BenchError, doing};

/// Returns the ticks from reset to a guest's first instruction.
pub(crate) fn reach_the_first_instruction(machine: &Machine) -> Result<u64, BenchError> {
    let reached = Arc::new(AtomicU64::new(0));
    let engine = Engine::new(Config::default(), Paged::new(machine.space()));
    let engine = doing("making an engine", engine)?;
    let module = doing("loading", Module::new(&engine, guest!("first")))?;
    let mut store = Store::new(&engine, ());
    let mut linker = Linker::new();
    let mark = Arc::clone(&reached);
    let defined = linker.func_wrap("bench", "reached", move || mark.store(clock::ticks(), Ordering::Relaxed));
    doing("defining an import", defined)?;
    let instance = doing("instantiating", linker.instantiate(&mut store, &module))?;
    let run = doing("looking for an export", instance.get_typed_func::<(), ()>(&store, "run"))?;
    doing("calling a guest", run.call(&mut store, ()))?;
    Ok(reached.load(Ordering::Relaxed))
}
