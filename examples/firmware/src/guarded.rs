//! Checks that guests run while hardware uses pages of theirs, and end when they touch them.

use alloc::boxed::Box;
use core::error::Error;
use core::sync::atomic::{AtomicU32, Ordering};

use palimpsest_engine::{
    Config, Engine, Fixed, GuardedPages, Instance, LentPageTouched, Limits, Linker, Module, Store,
};

use crate::checks::Checks;
use crate::ram;
use crate::wasm;

static TOUCHES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/touches.guest"));

/// Each function of the guest that touches the page, and the offset of its first access there.
const TOUCHING: [(&str, u64); 16] = [
    ("load8", 65_536),
    ("load8_s", 65_537),
    ("load16", 65_539),
    ("load32", 65_541),
    ("load64", 65_543),
    ("load_float", 65_544),
    ("store8", 65_536),
    ("store16", 65_537),
    ("store32", 65_539),
    ("store64", 131_064),
    ("store_float", 65_548),
    ("store_across", 65_536),
    ("fill", 65_536),
    ("copy_in", 65_536),
    ("copy_out", 65_537),
    ("loop", 65_536),
];

/// What the hardware has written to the lent page.
const PATTERN: u8 = 0xa5;

/// Checks each way to touch a lent page, each in its own store.
///
/// It is not inlined, because its frame would be below those of all other guests' calls.
#[inline(never)]
pub(crate) fn check(fixed: &Fixed, checks: &mut Checks) -> Result<(), Box<dyn Error>> {
    let limits = Limits::for_heap(ram::HEAP_BYTES);
    let engine = Engine::new(Config::default().limits(limits), fixed.clone())?;
    let module = wasm::module(&engine, TOUCHES)?;

    let (mut store, instance, pages) = lend(&engine, &module)?;
    let beside = instance.get_typed_func::<(), i32>(&store, "beside")?;
    checks.equal("a guest beside a page that hardware uses", beside.call(&mut store, ())?, 42);
    checks.equal("bytes of the page that changed", changed(&pages), 0);
    drop(pages);
    let read = instance.get_typed_func::<(), i32>(&store, "read")?;
    checks.equal("the page when it came back", read.call(&mut store, ())?, 0);
    drop(store);

    for (name, offset) in TOUCHING {
        let (mut store, instance, pages) = lend(&engine, &module)?;
        let touch = instance.get_typed_func::<(), ()>(&store, name)?;
        let ended = touch.call(&mut store, ()).err();
        let ended = ended.as_ref().and_then(|error| error.downcast_ref()).copied();
        let is_refused = touch.call(&mut store, ()).is_err();
        let found = (ended, changed(&pages), is_refused);
        checks.equal(name, found, (Some(LentPageTouched { offset }), 0, true));
    }
    checks.equal("calls of the host after a touch", REPORTED.load(Ordering::Relaxed), 0);
    Ok(())
}

/// Calls of the host function, which no guest makes after it has touched the page.
static REPORTED: AtomicU32 = AtomicU32::new(0);

/// Instantiates the guest and lends page 1 of its memory, as hardware has filled it.
fn lend(engine: &Engine, module: &Module) -> Result<(Store<()>, Instance, GuardedPages), Box<dyn Error>> {
    let mut linker = Linker::new();
    linker.func_wrap("host", "report", |_: i32| {
        REPORTED.fetch_add(1, Ordering::Relaxed);
    })?;
    let mut store = Store::new(engine, ());
    let instance = linker.instantiate(&mut store, module)?;
    let memory = instance.get_memory(&store, "memory").ok_or("the guest exports its memory")?;
    let pages = memory.lend_guarded(&mut store, 1, 1)?;
    // SAFETY: no call of the store runs, and the reference is not used after this line.
    unsafe { pages.as_ptr().as_mut() }.fill(PATTERN);
    Ok((store, instance, pages))
}

/// Returns how many bytes are not as [`lend`] wrote them.
fn changed(pages: &GuardedPages) -> usize {
    // SAFETY: no call of the store runs, and the reference is not used after this line.
    unsafe { pages.as_ptr().as_ref() }.iter().filter(|byte| **byte != PATTERN).count()
}
