//! Checks that the interpreter does not use up native stack as it runs.
//!
//! wasmi's fast dispatch is a chain of tail calls, which LLVM emits only under some profiles and
//! for some targets. Elsewhere each interpreted instruction keeps a stack frame, and the stack of a
//! kernel overflows without a message. The check runs a loop of the kinds of instruction that were
//! seen to fail (calls, indirect calls, accesses of memory and of tables) and compares the native
//! stack pointer in a host call before the loop with that after it. Each run has twice as many
//! rounds as the last one, and the first that shows growth ends the check. So the check fits a
//! small stack even in a build in which every instruction keeps 120 bytes, as was seen without LTO.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, ElementSection, Elements, EntityType, ExportKind, ExportSection,
    Function, FunctionSection, ImportSection, MemArg, MemorySection, Module, RefType, TableSection,
    TypeSection, ValType,
};

use super::{EngineError, stack::stack_pointer};

/// Rounds of the loop in the longest run. A dispatch that keeps 16 bytes for one instruction of a
/// round shows 4 KiB.
const MOST_ROUNDS: u32 = 256;
/// Bytes by which the stack pointers of the two host calls of a run may differ.
const TOLERANCE: usize = 512;

/// Whether a check has passed. The dispatch is a property of the program image, so one check is
/// enough for all engines.
static HAS_PASSED: AtomicBool = AtomicBool::new(false);

/// Checks the dispatch, unless it was found flat before. CPUs that come here at the same time may
/// each run the check.
///
/// # Errors
///
/// [`EngineError::DispatchNotFlat`] with the number of bytes that were used up.
pub(super) fn check() -> Result<(), EngineError> {
    // Miri has no native stack whose addresses could be compared.
    if HAS_PASSED.load(Ordering::Relaxed) || cfg!(miri) {
        return Ok(());
    }
    if let Some((iterations, stack_bytes)) = first_growth().map_err(EngineError::SelfCheck)? {
        return Err(EngineError::DispatchNotFlat { stack_bytes, iterations });
    }
    HAS_PASSED.store(true, Ordering::Relaxed);
    Ok(())
}

/// Runs the loop with 2 rounds, then with twice as many each time.
///
/// Returns the rounds of the first run that used up native stack, and the number of bytes between
/// the lowest and the highest stack pointer that the host function saw.
fn first_growth() -> Result<Option<(u32, usize)>, wasmi::Error> {
    let mut config = wasmi::Config::default();
    config.wasm_custom_page_sizes(true);
    let engine = wasmi::Engine::new(&config);
    let module = wasmi::Module::new(&engine, module())?;
    let mut store = wasmi::Store::new(&engine, ());
    let (lowest, highest) = (Arc::new(AtomicUsize::new(usize::MAX)), Arc::new(AtomicUsize::new(0)));
    let mut linker = wasmi::Linker::new(&engine);
    let seen = (Arc::clone(&lowest), Arc::clone(&highest));
    linker.func_wrap("host", "probe", move || {
        let here = stack_pointer();
        seen.0.fetch_min(here, Ordering::Relaxed);
        seen.1.fetch_max(here, Ordering::Relaxed);
    })?;
    let instance = linker.instantiate_and_start(&mut store, &module)?;
    let run = instance.get_typed_func::<u32, ()>(&store, "run")?;
    for iterations in (1..=MOST_ROUNDS.ilog2()).map(|exponent| 1 << exponent) {
        run.call(&mut store, iterations)?;
        let stack_bytes = highest.load(Ordering::Relaxed).saturating_sub(lowest.load(Ordering::Relaxed));
        if stack_bytes > TOLERANCE {
            return Ok(Some((iterations, stack_bytes)));
        }
    }
    Ok(None)
}

/// Encodes the module of the check. Its function `run` calls the probe, runs the loop as often as
/// its argument says, and calls the probe again.
fn module() -> alloc::vec::Vec<u8> {
    let mut module = Module::new();
    let mut types = TypeSection::new();
    types.ty().function([], []);
    types.ty().function([ValType::I32], []);
    let mut imports = ImportSection::new();
    imports.import("host", "probe", EntityType::Function(0));
    let mut functions = FunctionSection::new();
    functions.function(0).function(1);
    let mut tables = TableSection::new();
    tables.table(wasm_encoder::TableType {
        element_type: RefType::FUNCREF,
        table64: false,
        minimum: 2,
        maximum: Some(2),
        shared: false,
    });
    let mut memories = MemorySection::new();
    memories.memory(wasm_encoder::MemoryType {
        minimum: 16,
        maximum: Some(16),
        memory64: false,
        shared: false,
        // With pages of one byte the memory takes 16 bytes of the embedder's heap instead of 64
        // KiB.
        page_size_log2: Some(0),
    });
    let mut exports = ExportSection::new();
    exports.export("run", ExportKind::Func, RUN);
    let mut elements = ElementSection::new();
    elements.active(Some(0), &ConstExpr::i32_const(0), Elements::Functions([LEAF].as_slice().into()));
    let mut code = CodeSection::new();
    code.function(&leaf()).function(&run());
    module.section(&types).section(&imports).section(&functions).section(&tables).section(&memories);
    module.section(&exports).section(&elements).section(&code);
    module.finish()
}

const PROBE: u32 = 0;
const LEAF: u32 = 1;
const RUN: u32 = 2;

fn leaf() -> Function {
    let mut function = Function::new([]);
    function.instructions().end();
    function
}

fn run() -> Function {
    let at = MemArg { offset: 0, align: 2, memory_index: 0 };
    let mut function = Function::new([]);
    let mut code = function.instructions();
    code.call(PROBE).loop_(BlockType::Empty);
    code.call(LEAF).i32_const(0).call_indirect(0, 0);
    code.i32_const(0).i32_const(0).i32_load(at).local_get(0).i32_add().i32_store(at);
    code.i32_const(1).i32_const(0).table_get(0).table_set(0);
    code.i32_const(0).i32_const(0).i32_const(8).memory_fill(0).memory_size(0).drop();
    code.local_get(0).i32_const(1).i32_sub().local_tee(0).br_if(0).end();
    code.call(PROBE).end();
    function
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_build_interprets_on_a_flat_stack() {
        assert!(matches!(first_growth(), Ok(None)));
    }
}
