//! Any bytes as a module: `Module::new` returns an error or a module that can be instantiated and
//! called, within the heap of a small kernel. The program that runs the target bounds the time.

use arbitrary::{Result, Unstructured};
use palimpsest_counting::Growth;
use palimpsest_engine::{Config, Engine, Fuel, Linker, Module, Store, Val};

use crate::{HEAP, backing::backing};

/// The heap for which the default limits are made, in bytes.
const BUDGET: usize = 32 << 20;

/// Fuel for each call.
const FUEL: u64 = 10_000;

/// Runs the target.
///
/// # Panics
///
/// Panics if the heap grows by more than 32 MiB, or if memory is not free afterwards.
pub fn run(data: &[u8]) {
    let Ok(wasm) = wasm(&mut Unstructured::new(data)) else { return };
    let backing = backing();
    let free = backing.free_bytes();
    let (Growth { peak, left }, ()) = HEAP.measure(|| {
        let engine = Engine::new(Config::default().fuel(Fuel::Metered), backing.clone());
        live(&engine.expect("the build's dispatch is flat"), &wasm);
    });
    assert!(peak < BUDGET, "the heap grew by {peak} bytes for a module of {} bytes", wasm.len());
    assert_eq!(left, 0, "bytes are still allocated after the end of the engine");
    assert_eq!(backing.free_bytes(), free, "memory is in use after the end of the store");
}

/// Loads the module, instantiates it, and calls its functions, as far as that succeeds.
fn live(engine: &Engine, wasm: &[u8]) {
    let Ok(module) = Module::new(engine, wasm) else { return };
    let mut store = Store::new(engine, ());
    store.set_fuel(FUEL).expect("the engine is metered");
    let Ok(instance) = Linker::new().instantiate(&mut store, &module) else { return };
    let names: Vec<String> = module.exports().map(|export| export.name().into()).collect();
    for name in names {
        let Some(func) = instance.get_func(&store, &name) else { continue };
        let ty = func.ty(&store);
        let defaults = |types: &[_]| types.iter().map(|ty| Val::default_for_ty(*ty)).collect::<Vec<_>>();
        store.set_fuel(FUEL).expect("the engine is metered");
        // The guest may trap.
        let _ = func.call(&mut store, &defaults(ty.params()), &mut defaults(ty.results()));
    }
}

/// Returns raw bytes, bytes after the header of a module, or a valid module that was changed.
fn wasm(data: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    match data.int_in_range(0..=7)? {
        0 => Ok(data.bytes(data.len())?.to_vec()),
        1 | 2 => Ok([b"\0asm\x01\0\0\0", data.bytes(data.len())?].concat()),
        _ => {
            let changes: Vec<(u16, u8, u8)> = data.arbitrary()?;
            let mut wasm = generated(data)?;
            for (place, kind, byte) in changes {
                change(&mut wasm, place, kind, byte);
            }
            Ok(wasm)
        }
    }
}

fn generated(data: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let config: wasm_smith::Config = data.arbitrary()?;
    let config = wasm_smith::Config {
        exceptions_enabled: false,
        export_everything: true,
        gc_enabled: false,
        max_imports: 0,
        min_imports: 0,
        max_memories: 4,
        max_memory32_bytes: 1 << 19,
        max_memory64_bytes: 1 << 19,
        max_tables: 4,
        shared_everything_threads_enabled: false,
        threads_enabled: false,
        ..config
    };
    Ok(wasm_smith::Module::new(config, data)?.to_bytes())
}

fn change(wasm: &mut Vec<u8>, place: u16, kind: u8, byte: u8) {
    let place = usize::from(place) % (wasm.len() + 1);
    match kind % 4 {
        0 => wasm.insert(place, byte),
        1 => wasm.truncate(place),
        2 if place < wasm.len() => drop(wasm.remove(place)),
        _ if place < wasm.len() => wasm[place] = byte,
        _ => wasm.push(byte),
    }
}
