//! The script.

use alloc::{boxed::Box, format, string::String, string::ToString, sync::Arc, vec, vec::Vec};
use core::fmt::Display;

use palimpsest_engine::{
    AsContextMut, Backing, Caller, Config, DataError, Engine, Error, ExternRef, ForkError, Fuel, Func,
    Global, Instance, InstantiateError, Linker, Lost, Memory, MemoryType, Module, ModuleError, Mutability,
    OutOfHeap, Pause, Poll, Ref, RefType, SnapshotData, SnapshotError, Store, Table, TableType, Task,
    TaskError, TrapCode, Val,
};
use palimpsest_heap::{Heap, HeapOptions};
use palimpsest_wasi::{BLOCK_BYTES, Block, Blocks, Clock, Wait, Wasi};
use thiserror::Error;

/// The Wasm binary of `guests/life.wat`.
const GUEST: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/life.wasm"));

/// The Wasm binary of `guests/unlinkable.wat`.
const UNLINKABLE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/unlinkable.wasm"));

/// Fuel for all calls of a store that runs no task.
const FUEL: u64 = 10_000_000;

/// Fuel of a slice. The task takes many.
const SLICE: u64 = 300;

/// Why a life ended early.
#[derive(Debug, Error)]
pub enum End {
    /// The heap had no room, and the engine reported it.
    #[error("out of heap while {doing}")]
    OutOfHeap {
        /// The step of the script.
        doing: &'static str,
    },
    /// Something else happened, which is a defect of the engine.
    #[error("{cause} while {doing}")]
    Wrong {
        /// The step of the script.
        doing: &'static str,
        /// What happened.
        cause: String,
    },
}

/// Runs the script: creates an engine, loads a module, instantiates it, calls it in many ways,
/// loads one that cannot be linked, runs a task in slices, and drops everything.
///
/// The engine is metered. `config` must have a heap budget.
///
/// # Errors
///
/// Returns where the script ended, and whether for the reason that it may end for.
pub fn live(config: Config, backing: impl Into<Backing>) -> Result<(), End> {
    let engine = Engine::new(config.fuel(Fuel::Metered), backing);
    let engine = engine.map_err(|error| wrong("creating an engine", error))?;
    let module = load(&engine, GUEST)?;
    let linker = linker();
    calls(&engine, &module, &linker)?;
    unlinkable(&engine, &linker)?;
    slices(&engine, &module, &linker)
}

/// Runs another script: makes snapshots of a guest, and goes on in forks of them.
///
/// # Errors
///
/// As for [`live`].
pub fn live_in_forks(config: Config, backing: impl Into<Backing>) -> Result<(), End> {
    let engine = Engine::new(config.fuel(Fuel::Metered).snapshots(true), backing);
    let engine = engine.map_err(|error| wrong("creating an engine", error))?;
    let module = load(&engine, GUEST)?;
    forks(&engine, &module, &linker())
}

/// What the script keeps in a store.
struct Data {
    heap: Heap,
    wasi: Wasi,
}

impl SnapshotData for Data {
    type State = (<Heap as SnapshotData>::State, <Wasi as SnapshotData>::State);

    fn save(&mut self) -> Result<Self::State, DataError> {
        Ok((self.heap.save()?, self.wasi.save()?))
    }

    fn restore(&mut self, (heap, wasi): &Self::State) -> Result<(), DataError> {
        self.heap.restore(heap)?;
        self.wasi.restore(wasi)
    }
}

fn data() -> Data {
    let wasi = Wasi::builder().arg("life").env("HOME", "/").clock(NoTime);
    Data { heap: Heap::new(HeapOptions::default()), wasi: wasi.scratch("/tmp", HeapBlocks).build() }
}

fn linker() -> Linker<Data> {
    let mut linker = Linker::new();
    let again = |mut caller: Caller<'_, Data>, depth: u32| -> Result<u32, Error> {
        let again = caller.get_export("again").and_then(palimpsest_engine::Extern::into_func);
        let again = again.ok_or(TrapCode::UnreachableCodeReached)?;
        again.typed::<u32, u32>(&caller)?.call(&mut caller, depth)
    };
    let pause = |number: u32| -> Result<u32, Error> {
        Err(Error::host(Pause::until(number.into(), &[Val::I32(number.cast_signed())])))
    };
    linker.func_wrap("env", "again", again).expect("the name is free");
    linker.func_wrap("env", "pause", pause).expect("the name is free");
    palimpsest_heap::add_to_linker(&mut linker, |data: &mut Data| &mut data.heap)
        .expect("the names are free");
    palimpsest_wasi::add_to_linker(&mut linker, |data: &mut Data| &mut data.wasi)
        .expect("the names are free");
    linker
}

fn load(engine: &Engine, wasm: &[u8]) -> Result<Module, End> {
    let doing = "loading a module";
    Module::new(engine, wasm).map_err(|error| {
        let is_right = matches!(error, ModuleError::OutOfHeap);
        if is_right { End::OutOfHeap { doing } } else { wrong(doing, error) }
    })
}

fn wrong(doing: &'static str, cause: impl Display) -> End {
    End::Wrong { doing, cause: cause.to_string() }
}

fn ended(doing: &'static str, error: &Error) -> End {
    match error.downcast_ref::<OutOfHeap>() {
        Some(_) => End::OutOfHeap { doing },
        None => wrong(doing, error),
    }
}

fn instantiate(linker: &Linker<Data>, store: &mut Store<Data>, module: &Module) -> Result<Instance, End> {
    let doing = "instantiating";
    linker.instantiate(store, module).map_err(|error| {
        let is_right = matches!(error, InstantiateError::OutOfHeap(_));
        if is_right { End::OutOfHeap { doing } } else { wrong(doing, error) }
    })
}

/// Calls every export, and the functions of the embedder that allocate.
fn calls(engine: &Engine, module: &Module, linker: &Linker<Data>) -> Result<(), End> {
    let mut store = Store::new(engine, data());
    store.set_fuel(FUEL).expect("the engine is metered");
    let instance = instantiate(linker, &mut store, module)?;
    for name in ["grow", "blocks", "files"] {
        call(&mut store, instance, name, &[])?;
    }
    call(&mut store, instance, "recurse", &[Val::I32(200)])?;
    call(&mut store, instance, "again", &[Val::I32(5)])?;
    embedder(&mut store, instance)?;
    match call(&mut store, instance, "trap", &[]) {
        Err(End::Wrong { .. }) => {}
        Err(lost @ End::OutOfHeap { .. }) => return Err(lost),
        Ok(()) => return Err(wrong("calling", "no trap")),
    }
    let again = instantiate(linker, &mut store, module)?;
    call(&mut store, again, "blocks", &[])
}

/// Snapshots a guest that has blocks, files and a table, and goes on in a fork of a fork.
fn forks(engine: &Engine, module: &Module, linker: &Linker<Data>) -> Result<(), End> {
    let mut store = Store::new(engine, data());
    store.set_fuel(FUEL).expect("the engine is metered");
    let mut instance = instantiate(linker, &mut store, module)?;
    for name in ["grow", "blocks", "files"] {
        call(&mut store, instance, name, &[])?;
    }
    for _ in 0..2 {
        let doing = "making a snapshot";
        let snapshot = store.snapshot(instance).map_err(|error| {
            if let SnapshotError::Call(error) = &error {
                return ended(doing, error);
            }
            let is_right = matches!(error, SnapshotError::OutOfHeap);
            if is_right { End::OutOfHeap { doing } } else { wrong(doing, error) }
        })?;
        store = Store::new(engine, data());
        store.set_fuel(FUEL).expect("the engine is metered");
        let doing = "forking a snapshot";
        instance = linker.fork(&mut store, &snapshot).map_err(|error| {
            if let ForkError::Restore(error) = &error {
                return ended(doing, error);
            }
            let is_right =
                matches!(error, ForkError::NoHeap | ForkError::Instantiate(InstantiateError::OutOfHeap(_)));
            if is_right { End::OutOfHeap { doing } } else { wrong(doing, error) }
        })?;
        call(&mut store, instance, "blocks", &[])?;
    }
    Ok(())
}

/// Calls the export `name`, which must return 1.
fn call(
    store: &mut Store<Data>,
    instance: Instance,
    name: &'static str,
    arguments: &[Val],
) -> Result<(), End> {
    let func = instance.get_func(&*store, name).expect("the guest exports it");
    let mut results = vec![Val::I32(0); func.ty(&*store).results().len()];
    let returned = func.call(&mut *store, arguments, &mut results);
    let lost = store.report().lost;
    match (returned, lost) {
        (Ok(()), None) if matches!(results[0], Val::I32(1)) => Ok(()),
        (Ok(()), None) => Err(wrong(name, format!("the guest returned {results:?}, but is not lost"))),
        (Ok(()), Some(_)) => Err(wrong(name, "a call into a lost store returned")),
        (Err(error), None | Some(Lost::OutOfHeap(_))) => Err(ended(name, &error)),
        (Err(_), Some(other)) => Err(wrong(name, other)),
    }
}

/// Creates and grows items of the store from outside. These belong to the kernel, which must get
/// what it allocates.
fn embedder(store: &mut Store<Data>, instance: Instance) -> Result<(), End> {
    let doing = "creating items";
    let memory = instance.get_memory(&*store, "memory").expect("the guest exports it");
    memory.grow(&mut *store, 1).map_err(|error| wrong(doing, error))?;
    memory.clear_pages(&mut *store, 1, 2).map_err(|error| wrong(doing, error))?;
    Memory::new(&mut *store, MemoryType::new(1, Some(2))).map_err(|error| wrong(doing, error))?;
    let object = ExternRef::new(&mut *store, String::from("an object"));
    let table = Table::new(&mut *store, TableType::new(RefType::Extern, 1, Some(2_000)), object.into());
    let table = table.map_err(|error| wrong(doing, error))?;
    table.grow(&mut *store, 1_000, object.into()).map_err(|error| wrong(doing, error))?;
    let global = Global::new(&mut *store, Val::I64(1), Mutability::Var);
    global.set(&mut *store, Val::I64(2)).map_err(|error| wrong(doing, error))?;
    let func = Func::wrap(&mut *store, |number: u32| number + 1);
    let typed = func.typed::<u32, u32>(&*store).map_err(|error| ended(doing, &error))?;
    typed.call(store.as_context_mut(), 1).map_err(|error| ended(doing, &error))?;
    let functions = instance.get_table(&*store, "functions").expect("the guest exports it");
    functions.set(&mut *store, 0, Ref::from(func)).map_err(|error| wrong(doing, error))?;
    let exports: Vec<_> = instance.exports(&*store);
    if exports.len() < 10 { Err(wrong(doing, "exports are missing")) } else { Ok(()) }
}

/// Instantiates a module whose second import is not defined.
fn unlinkable(engine: &Engine, linker: &Linker<Data>) -> Result<(), End> {
    let module = load(engine, UNLINKABLE)?;
    let mut store = Store::new(engine, data());
    match linker.instantiate(&mut store, &module) {
        Err(InstantiateError::UnknownImports(unknown)) if unknown.names[0].1 == "missing" => Ok(()),
        Err(InstantiateError::OutOfHeap(_)) => Err(End::OutOfHeap { doing: "refusing a module" }),
        Err(other) => Err(wrong("refusing a module", other)),
        Ok(_) => Err(wrong("refusing a module", "it was instantiated")),
    }
}

/// Runs a task to its end.
fn slices(engine: &Engine, module: &Module, linker: &Linker<Data>) -> Result<(), End> {
    let doing = "running a task";
    let store = Store::new(engine, data());
    let task = Task::instantiate(store, linker, module, "task", &[Val::I32(3)]);
    let mut task = task.map_err(|error| {
        let is_right = matches!(error, TaskError::Instantiate(InstantiateError::OutOfHeap(_)));
        if is_right { End::OutOfHeap { doing } } else { wrong(doing, error) }
    })?;
    loop {
        match task.run(SLICE) {
            Poll::Runnable | Poll::Waiting { .. } => {}
            Poll::Returned(values) if matches!(values[..], [Val::I32(1)]) => return Ok(()),
            Poll::Returned(_) => return Err(wrong(doing, "another result")),
            Poll::Failed(error) => return Err(ended(doing, &error)),
        }
    }
}

/// Blocks of files on the kernel's heap.
struct HeapBlocks;

impl Blocks for HeapBlocks {
    fn allocate(&mut self) -> Option<Arc<dyn Block>> {
        Some(Arc::new(Box::new([0; BLOCK_BYTES])))
    }
}

/// A clock that stands still.
struct NoTime;

impl Clock for NoTime {
    fn monotonic_ns(&mut self) -> u64 {
        0
    }

    fn wait_until(&mut self, _until_ns: u64) -> Wait {
        Wait::Done
    }
}
