//! The guest in the engine.

use palimpsest_engine::{
    Config, Engine, Error, Extern, Fuel, Func, Images, Instance, InstantiateError, Linker, Module,
    ModuleError, Poll, Ref, Store, Task, Val,
};

use super::{
    Guest, Metering, host,
    plain::{arguments, code, step, value},
    trace::{CALLS, Item, State, Trace},
};
use crate::backing::backing;

/// More fuel than a guest uses.
const FUEL: u64 = 1 << 40;

/// Runs the guest. Returns `None` if the module exceeds a limit.
pub(super) fn run(guest: &Guest) -> Option<Trace> {
    let fuel = if matches!(guest.metering, Metering::Off) { Fuel::Unmetered } else { Fuel::Metered };
    let images = if guest.has_images { Images::CopyOnWrite } else { Images::Off };
    let engine = Engine::new(Config::default().fuel(fuel).images(images), backing().clone());
    let engine = engine.expect("the build's dispatch is flat");
    let module = match Module::new(&engine, &guest.wasm) {
        Ok(module) => module,
        Err(ModuleError::Limit { .. }) => return None,
        Err(error) => panic!("a valid module is refused: {error}"),
    };
    let host = Module::new(&engine, host()).expect("the module is valid");
    let mut store = Store::new(&engine, ());
    refuel(&mut store, guest);
    let mut linker = Linker::new();
    let host = linker.instantiate(&mut store, &host).expect("the host module has no imports");
    linker.instance(&store, "host", host).expect("the names are different");
    let mut trace = Trace::default();
    let instance = linker.instantiate(&mut store, &module);
    let outcome = instance.as_ref().map(|_| Vec::new()).map_err(|error| match error {
        InstantiateError::Segment(error) | InstantiateError::Start(error) => code(error),
        error => panic!("the module is not instantiated: {error}"),
    });
    let instance = instance.ok();
    trace.0.push(step("instantiate", outcome, state(&store, host, instance)));
    let Some(instance) = instance else { return Some(trace) };
    let mut names: Vec<String> = module
        .exports()
        .filter(|export| export.ty().func().is_some())
        .map(|export| export.name().into())
        .collect();
    names.sort();
    for (number, name) in names.iter().take(CALLS).enumerate() {
        let func = instance.get_func(&store, name).expect("it is exported");
        let arguments = arguments(func.ty(&store).params(), guest.arguments, number);
        let outcome;
        (store, outcome) = call(store, func, &arguments, guest);
        let outcome = outcome.map_err(|error| code(&error));
        trace.0.push(step(name, outcome, state(&store, host, Some(instance))));
    }
    Some(trace)
}

fn refuel(store: &mut Store<()>, guest: &Guest) {
    if !matches!(guest.metering, Metering::Off) {
        store.set_fuel(FUEL).expect("the engine is metered");
    }
}

fn call(
    mut store: Store<()>,
    func: Func,
    arguments: &[Val],
    guest: &Guest,
) -> (Store<()>, Result<Vec<Val>, Error>) {
    let Metering::Slices(units) = guest.metering else {
        refuel(&mut store, guest);
        let ty = func.ty(&store);
        let mut results: Vec<_> = ty.results().iter().map(|ty| Val::default_for_ty(*ty)).collect();
        let called = func.call(&mut store, arguments, &mut results);
        return (store, called.map(|()| results));
    };
    let mut task = Task::new(store, func, arguments).expect("the arguments have the function's types");
    let outcome = loop {
        match task.run(u64::from(units) + 20) {
            Poll::Runnable => {}
            Poll::Waiting { .. } => panic!("no function pauses"),
            Poll::Returned(values) => break Ok(values),
            Poll::Failed(error) => break Err(error),
        }
    };
    (task.kill(), outcome)
}

fn state(store: &Store<()>, host: Instance, guest: Option<Instance>) -> State {
    let mut state = State::new();
    for (module, instance) in [("host", Some(host)), ("guest", guest)] {
        for (name, item) in instance.iter().flat_map(|instance| instance.exports(store)) {
            let item = match item {
                Extern::Global(global) => Item::Global(value(&global.get(store))),
                Extern::Memory(memory) => Item::memory(memory.data(store)),
                Extern::Table(table) => {
                    let is_null = |index| match table.get(store, index).expect("it is inside") {
                        Ref::Func(reference) => reference.is_null(),
                        Ref::Extern(reference) => reference.is_null(),
                    };
                    Item::Table((0..table.size(store)).map(is_null).collect())
                }
                Extern::Func(_) => continue,
            };
            state.insert((module, name.to_owned()), item);
        }
    }
    state
}
