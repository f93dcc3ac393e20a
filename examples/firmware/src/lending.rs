//! Checks what a clear gives without an MMU: room for other guests, and buffers.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::error::Error;

use palimpsest_engine::{
    Config, Engine, EntryError, Fixed, Instance, Lent, Limits, Memory, MemoryType, Store,
};

use crate::checks::Checks;
use crate::ram;

/// The stores of this check, each with a memory of one Wasm page. They fill the guests' RAM.
const STORES: usize = 16;

/// Checks that a guest is not called while a page of it is lent.
pub(crate) fn check_guest(
    store: &mut Store<()>,
    instance: &Instance,
    checks: &mut Checks,
) -> Result<(), Box<dyn Error>> {
    let memory = instance.get_memory(&*store, "memory").ok_or("the guest exports its memory")?;
    let mut buffer = memory.lend_pages(&mut *store, 1, 1)?;
    buffer.fill(0xff);
    let read = instance.get_typed_func::<i32, i32>(&*store, "read")?;
    let refused = read.call(&mut *store, 65_536).err();
    let refused = refused.as_ref().and_then(|error| error.downcast_ref()).copied();
    checks.equal("a call of a guest that lends", refused, Some(EntryError::Lent { bytes: 65_536 }));
    drop(buffer);
    checks.equal("the page that came back", read.call(store, 65_536)?, 0);
    Ok(())
}

/// Fills the RAM with memories, clears all but one, and uses what they lend.
pub(crate) fn check_memories(fixed: &Fixed, checks: &mut Checks) -> Result<(), Box<dyn Error>> {
    let limits = Limits::for_heap(ram::HEAP_BYTES);
    let engine = Engine::new(Config::default().limits(limits), fixed.clone())?;
    let mut stores = Vec::new();
    for _ in 0..STORES {
        stores.push(filled(&engine)?);
    }
    checks.equal("bytes that are free with 16 memories", fixed.free_bytes(), 0);
    for (store, memory) in &mut stores[1..] {
        memory.clear_pages(store, 0, 1)?;
    }
    let more = (0..14).map(|_| filled(&engine)).collect::<Result<Vec<_>, _>>()?;
    checks.equal("more memories with 15 of them cleared", more.len(), 14);
    drop(more);
    let lent = stores[1..].iter_mut().map(|(store, memory)| memory.lend_pages(store, 0, 1));
    let lent: Vec<Lent> = lent.collect::<Result<_, _>>()?;
    checks.equal("bytes that they lend", lent.iter().map(|lent| lent.len()).sum(), 15 * 65_536_usize);
    let (store, memory) = &stores[0];
    checks.equal("bytes of the other one that changed", changed(memory.data(store)), 0);
    Ok(())
}

/// Creates a store with a memory of one Wasm page, and writes to all of it.
fn filled(engine: &Engine) -> Result<(Store<()>, Memory), Box<dyn Error>> {
    let mut store = Store::new(engine, ());
    let memory = Memory::new(&mut store, MemoryType::new(1, Some(1)))?;
    memory.data_mut(&mut store).fill(0x5a);
    Ok((store, memory))
}

/// Returns how many bytes are not as [`filled`] wrote them.
fn changed(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte != 0x5a).count()
}
