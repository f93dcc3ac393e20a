//! Loading a module until it can be instantiated, the same after it was prepared, and the same with
//! the interpreter alone.
//!
//! Each uses an existing engine and translates functions when they are first called. Palimpsest's
//! engine validates a module when it is loaded, checks it against its limits and rewrites it. The
//! interpreter has two lazy modes: it validates when it loads, which is the default, or it
//! validates later and also loads modules that are not valid.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use kernel_demo::Machine;
use palimpsest_engine::{Engine, Module, ModuleError};
use palimpsest_protocol::Unit;
use wasmi::CompilationMode;

use crate::figures::{Figures, timed};
use crate::{BenchError, doing, guest};

/// Measures every module.
pub(crate) fn measure(
    machine: &Machine,
    modules: &[String],
    figures: &mut Figures,
) -> Result<(), BenchError> {
    for name in modules {
        let wasm = doing("loading", machine.file(name).ok_or("a module is not in the boot archive"))?;
        // It stays, because a prepared module is used where it is.
        let file = doing("preparing", Module::prepare(&guest::config(), wasm))?.leak();
        let (mut ours, mut prepared) = (Vec::new(), Vec::new());
        let (mut alone, mut unchecked) = (Vec::new(), Vec::new());
        // In turns, so that a change of the machine's speed affects all of them.
        for _ in 0..figures.runs() {
            ours.push(engine(machine, |engine| Module::new(engine, wasm))?);
            // SAFETY: `prepare` has returned the bytes, and they are not changed.
            prepared.push(engine(machine, |engine| unsafe { Module::from_prepared(engine, file) })?);
            alone.push(interpreter(wasm, CompilationMode::LazyTranslation)?);
            unchecked.push(interpreter(wasm, CompilationMode::Lazy)?);
        }
        figures.count(format!("load_bytes/{name}"), Unit::Bytes, wasm.len() as u64);
        figures.cost(format!("load/{name}"), &mut ours);
        figures.count(format!("load_prepared_bytes/{name}"), Unit::Bytes, file.len() as u64);
        figures.cost(format!("load_prepared/{name}"), &mut prepared);
        figures.cost(format!("load_wasmi/{name}"), &mut alone);
        figures.cost(format!("load_wasmi_unchecked/{name}"), &mut unchecked);
    }
    Ok(())
}

fn engine(
    machine: &Machine,
    load: impl FnOnce(&Engine) -> Result<Module, ModuleError>,
) -> Result<u64, BenchError> {
    let engine = guest::engine(machine)?;
    let (ticks, module) = timed(|| load(&engine));
    doing("loading", module).map(|_| ticks)
}

/// Configures wasmi as the engine configures it by default.
fn interpreter(wasm: &[u8], mode: CompilationMode) -> Result<u64, BenchError> {
    let mut config = wasmi::Config::default();
    config.compilation_mode(mode);
    config.ignore_custom_sections(true);
    let engine = wasmi::Engine::new(&config);
    let (ticks, module) = timed(|| wasmi::Module::new(&engine, wasm));
    doing("loading by the interpreter alone", module).map(|_| ticks)
}
