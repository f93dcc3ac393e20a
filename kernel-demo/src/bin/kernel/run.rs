//! Runs the guest that the kernel was booted with: load, instantiate, call, report.
//!
//! Whatever is wrong with the file, the name or the arguments becomes one line that says what to do; nothing of
//! the guest is left when the report is sent.

use alloc::{format, string::String, string::ToString, sync::Arc, vec::Vec};
use kernel_demo::{ExitStatus, Machine, clock, println};
use palimpsest_engine::{
    Config, Engine, EngineError, Func, Instance, InstantiateError, Linker, Memory, Module, ModuleError,
    Paged, Store, Val,
};
use thiserror::Error;

use crate::{
    report::{MemoryReport, Outcome, Report},
    values::{self, ArgumentError, Value},
};

/// What is called where no name is given, as command modules of WASI export it.
const DEFAULT_EXPORT: &str = "_start";

/// Why a guest did not return.
#[derive(Debug, Error)]
enum RunError {
    #[error("error: there is no guest.wasm in the boot archive; pass a Wasm file")]
    NoGuest,
    #[error("error: {0}")]
    Engine(#[from] EngineError),
    #[error("error: {0}")]
    Module(#[from] ModuleError),
    #[error("error: {0}")]
    Instantiate(InstantiateError),
    #[error("trap: {0}")]
    Start(InstantiateError),
    #[error("error: the module exports no function `{name}`; {hint}")]
    NoExport { name: String, hint: String },
    #[error("error: {0}")]
    Arguments(#[from] ArgumentError),
    #[error("trap: {cause}, in the call of `{name}`")]
    Trap { name: String, cause: palimpsest_engine::Error },
}

impl From<InstantiateError> for RunError {
    fn from(error: InstantiateError) -> Self {
        if matches!(error, InstantiateError::Start(_)) {
            Self::Start(error)
        } else {
            Self::Instantiate(error)
        }
    }
}

impl RunError {
    fn outcome(&self) -> Outcome {
        match self {
            Self::Start(_) | Self::Trap { .. } => Outcome::Trap,
            Self::NoGuest
            | Self::Engine(_)
            | Self::Module(_)
            | Self::Instantiate(_)
            | Self::NoExport { .. }
            | Self::Arguments(_) => Outcome::Error,
        }
    }
}

/// Runs `guest.wasm` as the request says, and reports.
pub(crate) fn guest(machine: &Machine) -> ExitStatus {
    let free_frames_at_start = machine.frames().free_frames();
    let mut measured = Measured::default();
    let ended = call(machine, &mut measured);
    let icount = |ticks: Option<u64>| ticks.filter(|_| machine.request().icount);
    let (outcome, results, error) = match ended {
        Ok(results) => (Outcome::Returned, results, None),
        Err(error) => (error.outcome(), Vec::new(), Some(error.to_string())),
    };
    let report = Report {
        outcome,
        results,
        error,
        memories: measured.memories,
        free_frames_at_start,
        free_frames_at_end: machine.frames().free_frames(),
        instructions_to_instantiate: icount(measured.instantiate_ticks),
        instructions_to_run: icount(measured.run_ticks),
    };
    report.publish();
    if outcome == Outcome::Returned { ExitStatus::Success } else { ExitStatus::GuestFailed }
}

/// What is known about a run however it ends.
#[derive(Default)]
struct Measured {
    instantiate_ticks: Option<u64>,
    run_ticks: Option<u64>,
    memories: Vec<MemoryReport>,
}

fn call(machine: &Machine, measured: &mut Measured) -> Result<Vec<Value>, RunError> {
    let wasm = machine.file("guest.wasm").ok_or(RunError::NoGuest)?;
    let engine = Engine::new(Config::default(), Arc::new(Paged::new(machine.space())))?;
    let module = Module::new(&engine, wasm)?;
    let mut store = Store::new(&engine, ());
    let before = clock::ticks();
    let instance = Linker::new().instantiate(&mut store, &module);
    measured.instantiate_ticks = Some(clock::ticks() - before);
    let ended = instance.map_err(RunError::from).and_then(|instance| {
        let before = clock::ticks();
        let ended = invoke(machine, &module, &mut store, instance);
        measured.run_ticks = Some(clock::ticks() - before);
        ended
    });
    measured.memories = store.memories().map(|memory| report_of(&store, memory)).collect();
    ended
}

fn report_of(store: &Store<()>, memory: Memory) -> MemoryReport {
    MemoryReport::new(memory.size(store), memory.residency(store))
}

fn invoke(
    machine: &Machine,
    module: &Module,
    store: &mut Store<()>,
    instance: Instance,
) -> Result<Vec<Value>, RunError> {
    let request = machine.request();
    let Some((name, func)) = chosen(module, store, instance, request.invoke.as_deref())? else {
        println!("instantiated; {}", callable(module));
        return Ok(Vec::new());
    };
    let ty = func.ty(&*store);
    let arguments = values::parse_arguments(name, &ty, &request.args)?;
    let mut results: Vec<Val> = ty.results().iter().map(|ty| Val::default_for_ty(*ty)).collect();
    func.call(store, &arguments, &mut results)
        .map_err(|cause| RunError::Trap { name: name.into(), cause })?;
    Ok(results.iter().map(Value::from).collect())
}

/// The function to call: the requested one, else `_start`, else none.
fn chosen<'a>(
    module: &Module,
    store: &Store<()>,
    instance: Instance,
    invoke: Option<&'a str>,
) -> Result<Option<(&'a str, Func)>, RunError> {
    let Some(name) = invoke else {
        return Ok(instance.get_func(store, DEFAULT_EXPORT).map(|func| (DEFAULT_EXPORT, func)));
    };
    let missing = || RunError::NoExport { name: name.into(), hint: callable(module) };
    instance.get_func(store, name).ok_or_else(missing).map(|func| Some((name, func)))
}

/// Which functions could be called, for a user who named none or a wrong one.
fn callable(module: &Module) -> String {
    let functions = module.exports().filter_map(|export| {
        let ty = export.ty().func()?;
        let words: Vec<_> = ty.params().iter().map(|param| values::type_name(*param)).collect();
        Some(format!("`{}`", [&[export.name()], &words[..]].concat().join(" ")))
    });
    let functions: Vec<_> = functions.collect();
    if functions.is_empty() {
        return String::from("it exports no function at all");
    }
    format!("call one of {} with --invoke", functions.join(", "))
}
