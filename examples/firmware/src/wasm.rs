//! Loads and runs the guests.

use alloc::boxed::Box;
use core::error::Error;

use palimpsest_engine::{
    Config, Engine, Fixed, Instance, Limits, Linker, Module, ModuleError, Store, TrapCode, WasmParams,
    WasmResults,
};
use semihosting::println;

use crate::checks::Checks;
use crate::lending;
use crate::ram;

static ANSWER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/answer.guest"));
static CHECKS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/checks.guest"));
static WORDS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/words.guest"));

/// Runs the guests and prints what they take.
pub(crate) fn run(checks: &mut Checks) -> Result<(), Box<dyn Error>> {
    let fixed = guarded(Fixed::new(ram::guest_bytes()));
    let free_bytes = fixed.free_bytes();
    println!("{:<24} {:>10} {:>10}", "bytes of heap", "in use", "peak");
    {
        let mut guest = Guest::load(&fixed, ANSWER)?;
        checks.equal("the answer", guest.call::<(), u32>("answer", ())?, 42);
        row("after its call");
    }
    {
        let mut guest = Guest::load(&fixed, CHECKS)?;
        check(&mut guest, checks)?;
        row("after its calls");
        lending::check_guest(&mut guest.store, &guest.instance, checks)?;
    }
    {
        let mut guest = Guest::load(&fixed, WORDS)?;
        checks.equal("the most frequent of 100 words", guest.call::<u32, u32>("most_frequent", 100)?, 29);
        row("after its call");
    }
    row("after all guests");
    checks.equal("bytes of guest memory that are free", fixed.free_bytes(), free_bytes);
    println!("bytes of flash: {}", ram::flash_used());
    println!("bytes of stack: {}", ram::stack_peak());
    println!("bytes of heap: {}", ram::heap_peak_ever());
    #[cfg(all(target_arch = "arm", feature = "guard"))]
    crate::guarded::check(&fixed, checks)?;
    lending::check_memories(&fixed, checks)
}

/// Lets the memory protection unit guard lent pages, on machines for which the example has a
/// driver.
fn guarded(fixed: Fixed) -> Fixed {
    #[cfg(all(target_arch = "arm", feature = "guard"))]
    let fixed = crate::machine::mpu::guard(fixed);
    fixed
}

/// Checks each function of the first guest.
fn check(guest: &mut Guest, checks: &mut Checks) -> Result<(), Box<dyn Error>> {
    let hypotenuse = guest.call::<_, f64>("hypotenuse", (30.0, 40.0))?;
    checks.equal("the hypotenuse of 30.0 and 40.0 is 50.0", hypotenuse == 50.0, true);
    checks.equal("fib(15)", guest.call("fib", 15)?, 610);
    checks.equal("entry 0 of the table", guest.call("indirect", (0, 5))?, -5);
    checks.equal("entry 1 of the table", guest.call("indirect", (1, 5))?, 25);
    checks.equal("old size of the table", guest.call("grow_table", ())?, 3);
    let uninitialized = guest.call::<_, i32>("indirect", (3, 5)).err().and_then(|error| error.as_trap_code());
    checks.equal("entry 3 of the table", uninitialized, Some(TrapCode::IndirectCallToNull));
    checks.equal("a call of the host", guest.call("call_host", 21)?, 42);
    checks.equal("sum of the active segment", guest.call("sum_active", ())?, 1090);
    checks.equal("sum of the passive segment", guest.call("sum_passive", ())?, 861);
    let out_of_bounds = guest.call::<_, i32>("read", 65_536).err().and_then(|error| error.as_trap_code());
    checks.equal("a read past the end", out_of_bounds, Some(TrapCode::MemoryOutOfBounds));
    checks.equal("old size of the memory", guest.call("grow", ())?, 1);
    checks.equal("old size at the second growth", guest.call("grow", ())?, 2);
    checks.equal("growth past the maximum", guest.call("grow", ())?, -1);
    checks.equal("a page that was cleared, whose frames are retained", guest.call("clear", ())?, 0x100);
    checks.equal("a page that was discarded", guest.call("discard", ())?, 0);
    Ok(())
}

/// An instance with its store and its own engine, because code is freed with its engine.
struct Guest {
    store: Store<()>,
    instance: Instance,
}

impl Guest {
    fn load(fixed: &Fixed, guest: &'static [u8]) -> Result<Self, Box<dyn Error>> {
        // A hostile guest takes no more of the heap either. The second one is known, and has a
        // function that is larger than these limits allow.
        let mut limits = Limits::for_heap(ram::HEAP_BYTES);
        limits.function_bytes = 8 << 10;
        let engine = Engine::new(Config::default().limits(limits), fixed.clone())?;
        row("an engine");
        println!("a module of {} bytes", guest.len());
        let module = module(&engine, guest)?;
        row("and a module");
        let mut linker = Linker::new();
        linker.func_wrap("host", "double", |number: i32| number * 2)?;
        let mut store = Store::new(&engine, ());
        let instance = linker.instantiate(&mut store, &module)?;
        row("and an instance");
        Ok(Self { store, instance })
    }

    fn call<P: WasmParams, R: WasmResults>(
        &mut self,
        name: &str,
        parameters: P,
    ) -> Result<R, palimpsest_engine::Error> {
        self.instance.get_typed_func::<P, R>(&self.store, name)?.call(&mut self.store, parameters)
    }
}

/// Loads a Wasm binary.
#[cfg(feature = "splice")]
pub(crate) fn module(engine: &Engine, guest: &[u8]) -> Result<Module, ModuleError> {
    Module::new(engine, guest)
}

/// Loads a guest that the build script has prepared.
#[cfg(not(feature = "splice"))]
pub(crate) fn module(engine: &Engine, guest: &'static [u8]) -> Result<Module, ModuleError> {
    // SAFETY: the build script has prepared the guest with the same version of the engine, and it
    //         is a part of the program.
    unsafe { Module::from_prepared(engine, guest) }
}

/// Prints how the heap is used, and its peak since the last row.
fn row(what: &str) {
    println!("{what:<24} {:>10} {:>10}", ram::heap_used(), ram::heap_peak());
}
