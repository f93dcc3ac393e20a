//! A plain call: calls one export with arguments from the command line, and prints its results.
//!
//! The guest is not metered and runs in one piece, so that its cost is that of the engine. A module
//! that imports WASI or the heap functions gets them. A reactor of WASI is initialized first.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use kernel_demo::{clock, errands, println};
use palimpsest_engine::{Engine, Func, Instance, Module, Paged, Store, Val};

use super::{Ended, Guest, Measured, RunError};
use crate::{
    slices::SliceError,
    values,
    world::{self, Waiting, World},
};

/// The export that is called by default. Command modules of WASI have it.
const DEFAULT_EXPORT: &str = "_start";

/// The export that must be called before all others, if it exists (WASI application ABI, reactors).
pub(crate) const INITIALIZE: &str = "_initialize";

pub(super) fn run(
    guest: Guest<'_>,
    invoke: Option<&str>,
    measured: &mut Measured,
) -> Result<Ended, RunError> {
    let engine = Engine::new(guest.config()?, Paged::new(guest.machine.space()))?;
    let module = guest.load(&engine)?;
    let wasi = world::of(guest, world::start_clock(), Waiting::Spin, &measured.output)?;
    let mut store = Store::new(&engine, World::new(wasi));
    let linker = world::linker(&module)?;
    let before = clock::ticks();
    let instance = linker.instantiate(&mut store, &module);
    measured.instantiate_ticks = Some(clock::ticks() - before);
    let ended = instance.map_err(RunError::from).and_then(|instance| {
        let before = clock::ticks();
        let ended = call(&module, &mut store, instance, invoke, &guest.request.arguments);
        measured.run_ticks = Some(clock::ticks() - before);
        ended
    });
    measured.record_memories(&store);
    ended
}

fn call(
    module: &Module,
    store: &mut Store<World>,
    instance: Instance,
    invoke: Option<&str>,
    words: &[String],
) -> Result<Ended, RunError> {
    let Some((name, func)) = chosen(module, store, instance, invoke)? else {
        println!("instantiated; {}", callable(module));
        return Ok(Ended::Returned(Vec::new()));
    };
    let ty = func.ty(&*store);
    let arguments = values::parse_arguments(name, &ty, words)?;
    if name != DEFAULT_EXPORT && name != INITIALIZE {
        initialize(store, instance)?;
    }
    let mut results: Vec<Val> = ty.results().iter().map(|ty| Val::default_for_ty(*ty)).collect();
    match errands::anywhere(|| func.call(store, &arguments, &mut results)) {
        Ok(()) => Ok(Ended::Returned(results.iter().map(values::result).collect())),
        Err(cause) => Err(RunError::of_call(name, SliceError::Guest(cause))),
    }
}

/// Calls the export of a reactor that must be called before all others, if it exists.
pub(super) fn initialize(store: &mut Store<World>, instance: Instance) -> Result<(), RunError> {
    let Ok(func) = instance.get_typed_func::<(), ()>(&*store, INITIALIZE) else { return Ok(()) };
    func.call(store, ()).map_err(|cause| RunError::of_call(INITIALIZE, SliceError::Guest(cause)))
}

/// Returns the function to call: the requested one, or `_start`. Returns None if neither exists.
fn chosen<'a>(
    module: &Module,
    store: &Store<World>,
    instance: Instance,
    invoke: Option<&'a str>,
) -> Result<Option<(&'a str, Func)>, RunError> {
    let Some(name) = invoke else {
        return Ok(instance.get_func(store, DEFAULT_EXPORT).map(|func| (DEFAULT_EXPORT, func)));
    };
    let missing = || RunError::NoExport { name: name.into(), hint: callable(module) };
    instance.get_func(store, name).ok_or_else(missing).map(|func| Some((name, func)))
}

/// The limit of functions in a list of those that can be called.
const LISTED_MAX: usize = 32;

/// The limit of characters of a name in such a list.
const LISTED_CHARS_MAX: usize = 80;

/// The limit of parameters that are written in such a list for one function.
const LISTED_PARAMS_MAX: usize = 16;

/// Describes the functions that can be called, for a user who gave no name or a wrong one.
pub(super) fn callable(module: &Module) -> String {
    let functions = module.exports().filter_map(|export| {
        let ty = export.ty().func()?;
        let params = ty.params().iter().take(LISTED_PARAMS_MAX);
        let words: Vec<_> = params.map(|param| values::type_name(*param)).collect();
        let name: String = export.name().chars().take(LISTED_CHARS_MAX).collect();
        Some(format!("`{}`", [&[&*name.escape_debug().to_string()], &words[..]].concat().join(" ")))
    });
    let mut listed = Vec::new();
    let mut count = 0;
    for function in functions {
        if count < LISTED_MAX {
            listed.push(function);
        }
        count += 1;
    }
    match count {
        0 => String::from("it exports no functions"),
        _ if count > LISTED_MAX => {
            format!("call one of {} or {} more with --invoke", listed.join(", "), count - LISTED_MAX)
        }
        _ => format!("call one of {} with --invoke", listed.join(", ")),
    }
}
