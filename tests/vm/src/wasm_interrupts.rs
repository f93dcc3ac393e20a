//! Guests that are called in an interrupt handler, while another guest runs.

use kernel_demo::{Machine, interrupts, interrupts::Delivery};
use palimpsest_engine::{EntryError, Error, Instance, Linker, Store, TypedFunc};
use spin::Mutex;

use crate::harness::{Checks, VmTest};
use crate::wasm;

pub(crate) const TESTS: &[VmTest] =
    &[VmTest::new("an-interrupt-handler-calls-guests-while-another-runs", 5, handler_calls_guests)];

/// Cycles of the PIT between two interrupts: about 200 us.
const PERIOD: u16 = 238;

/// Calls of the interrupted guest. Each takes and returns the engine's stacks, under a lock.
const CALLS: u32 = 20_000;

/// The fewest interrupts after which the test may end.
const INTERRUPTS: u64 = 100;

/// The guests of the handler, and what their calls have returned.
struct Handler {
    /// On the engine of the interrupted guest.
    shared: Guest,
    /// On its own engine.
    own: Guest,
    returned: u64,
    refused: u64,
    wrong: u64,
}

static HANDLER: Mutex<Option<Handler>> = Mutex::new(None);

/// Runs in each interrupt. The interrupted code does not use the heap, so the handler may.
fn on_interrupt() {
    let mut handler = HANDLER.lock();
    let Some(handler) = &mut *handler else { return };
    if !matches!(handler.own.count(10), Ok(10)) {
        handler.wrong += 1;
    }
    let is_in_use = handler.shared.store.engine().is_in_use();
    match handler.shared.count(10) {
        Ok(10) if !is_in_use => handler.returned += 1,
        Err(error) if is_in_use && error.downcast_ref() == Some(&EntryError::InUse) => handler.refused += 1,
        Ok(_) | Err(_) => handler.wrong += 1,
    }
}

/// A guest with a function that counts to its argument, in its memory.
struct Guest {
    store: Store<()>,
    count: TypedFunc<u32, u32>,
}

impl Guest {
    fn new(store: Store<()>, instance: Instance) -> Self {
        let count = instance.get_typed_func(&store, "count").expect("the guest exports it");
        let mut guest = Self { store, count };
        // Translates the function, and allocates what later calls reuse.
        guest.count(10).expect("the guest's function returns");
        guest
    }

    fn count(&mut self, rounds: u32) -> Result<u32, Error> {
        self.count.call(&mut self.store, rounds)
    }
}

fn handler_calls_guests(checks: &mut Checks, machine: &Machine) {
    let pair = || {
        let engine = wasm::engine(machine, wasm::config(machine));
        let module = wasm::module(&engine, wasm::guest!("count"));
        let start = || {
            let mut store = Store::new(&engine, ());
            let instance = Linker::new().instantiate(&mut store, &module).expect("the guest links");
            Guest::new(store, instance)
        };
        [start(), start()]
    };
    let [mut interrupted, shared] = pair();
    let [own, unused] = pair();
    drop(unused);
    *HANDLER.lock() = Some(Handler { shared, own, returned: 0, refused: 0, wrong: 0 });
    interrupts::set_handler(Some(on_interrupt));
    interrupts::start(PERIOD, Delivery::Maskable);
    let (mut calls, mut wrong) = (0_u64, 0);
    while calls < u64::from(CALLS) || interrupts::count() < INTERRUPTS {
        match interrupted.count(100) {
            Ok(100) => calls += 1,
            Ok(_) | Err(_) => wrong += 1,
        }
    }
    let interrupted = interrupts::stop();
    interrupts::set_handler(None);
    let handler = HANDLER.lock().take().expect("it was set above");
    checks.equal("calls that failed because of an interrupt", wrong, 0);
    checks.equal("calls of the handler that went wrong", handler.wrong, 0);
    checks.equal("calls of the handler", handler.returned + handler.refused, interrupted.count);
    checks.equal("some were refused because the engine was in use", handler.refused > 0, true);
    checks.equal("no call has it any more", handler.shared.store.engine().is_in_use(), false);
}
