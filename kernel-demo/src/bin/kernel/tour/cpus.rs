//! Step 8, on a machine with several CPUs: guests on all of them, and no interrupt for a discard.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use kernel_demo::executor::{Ended, Moves, Scheduler};
use kernel_demo::{Machine, Reason, println, timer};
use palimpsest_engine::{Engine, Fuel, Limits, Linker, Module, Paged, Store, Task, Val};

use super::{TourError, doing, must_be};

const WASM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/rounds.wasm"));

const GUESTS_PER_CPU: usize = 4;
/// The rounds of each guest, in which it writes to 64 KiB and discards them.
const ROUNDS: u32 = 100;
const SLICE: Duration = Duration::from_millis(1);

pub(super) fn step_8(machine: &Machine) -> Result<(), TourError> {
    let guests = GUESTS_PER_CPU * machine.cpus();
    println!(
        "8. {guests} guests on {} CPUs write to 64 KiB and discard them, {ROUNDS} times",
        machine.cpus()
    );
    let scheduler = Scheduler::new(machine, timer::calibrate(), SLICE, Moves::Random);
    for guest in 0..guests {
        scheduler.spawn(task(machine, guest as u64)?);
    }
    let [right, waited] = [AtomicU64::new(0), AtomicU64::new(0)];
    scheduler.run(machine, |_, ended: Box<Ended<()>>| {
        let is_right = matches!(ended.result.as_deref(), Ok([Val::I32(0)]));
        right.fetch_add(is_right.into(), Ordering::Relaxed);
        waited.fetch_add(ended.store.report().tables_waited, Ordering::Relaxed);
    });
    let for_discards = machine.interrupts_sent(Reason::Discard);
    println!(
        "   every byte right, though guests moved to another CPU {} times; {for_discards} interrupts for discards",
        scheduler.moved()
    );
    println!("   {} table frames waited until other CPUs had flushed", waited.into_inner());
    must_be("guests that found what they had written", right.into_inner(), guests as u64)?;
    must_be("interrupts for discards", for_discards, 0)
}

/// A guest on its own engine.
fn task(machine: &Machine, seed: u64) -> Result<Task<()>, TourError> {
    let config = machine.engine_config(Limits::default()).fuel(Fuel::Metered);
    let engine = doing("making an engine", Engine::new(config, Paged::new(machine.space())))?;
    let module = doing("loading", Module::new(&engine, WASM))?;
    let arguments = [Val::I64(seed.cast_signed()), Val::I32(ROUNDS.cast_signed())];
    let store = Store::new(&engine, ());
    doing("instantiating", Task::instantiate(store, &Linker::new(), &module, "rounds", &arguments))
}
