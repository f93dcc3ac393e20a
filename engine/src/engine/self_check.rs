//! Checks that the interpreter does not use up native stack as it runs.
//!
//! wasmi's fast dispatch is a chain of tail calls, which LLVM emits only under some profiles and
//! for some targets. Elsewhere each interpreted instruction keeps a stack frame, and the stack of a
//! kernel overflows without a message. The check runs a loop of the kinds of instruction that have
//! failed (calls, indirect calls, accesses of memory and of tables). It compares the native stack
//! pointer in host calls before and after the loop. Each run has twice as many rounds as the last
//! one, and the first run that shows growth ends the check. So the check fits a small stack, even
//! in a build without LTO in which every instruction keeps 120 bytes.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{EngineError, stack::stack_pointer};
use crate::config::accept_all;

/// Rounds of the loop in the longest run. A dispatch that keeps 16 bytes for one instruction of a
/// round shows 4 KiB.
const MOST_ROUNDS: u32 = 256;
/// Bytes by which the stack pointers of the two host calls of a run may differ.
const TOLERANCE: usize = 512;

/// The module of the check. Its function `run` calls the probe, runs the loop for the number of
/// rounds that is its argument, and calls the probe again. It is assembled, so that a program
/// without the splice needs no encoder.
static MODULE: &[u8] = include_bytes!("self_check.wasm");

/// Whether a check has passed. The dispatch is a property of the program image, so one check is
/// enough for all engines.
static HAS_PASSED: AtomicBool = AtomicBool::new(false);

/// Returns whether a check has passed.
pub(super) fn has_passed() -> bool {
    HAS_PASSED.load(Ordering::Relaxed)
}

/// Checks the dispatch, unless it was found flat before. CPUs that call this at the same time may
/// each run the check.
///
/// # Errors
///
/// [`EngineError::DispatchNotFlat`] with the number of bytes that were used up.
pub(super) fn check() -> Result<(), EngineError> {
    // Miri has no native stack whose addresses could be compared.
    if has_passed() || cfg!(miri) {
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
    accept_all(&mut config);
    let engine = wasmi::Engine::new(&config);
    let module = module(&engine)?;
    let mut store = wasmi::Store::new(&engine, ());
    let lowest = Arc::new(AtomicUsize::new(usize::MAX));
    let highest = Arc::new(AtomicUsize::new(0));
    let seen = (Arc::clone(&lowest), Arc::clone(&highest));
    let probe = wasmi::Func::wrap(&mut store, move || {
        let here = stack_pointer();
        seen.0.fetch_min(here, Ordering::Relaxed);
        seen.1.fetch_max(here, Ordering::Relaxed);
    });
    // Without a linker, which would be another 3 KB of code in a small program.
    let instance = wasmi::Instance::new(&mut store, &module, &[probe.into()])?;
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

#[cfg(feature = "lazy-validation")]
fn module(engine: &wasmi::Engine) -> Result<wasmi::Module, wasmi::Error> {
    wasmi::Module::new(engine, MODULE)
}

#[cfg(not(feature = "lazy-validation"))]
#[allow(unsafe_code, reason = "no validator checks the bytes")]
fn module(engine: &wasmi::Engine) -> Result<wasmi::Module, wasmi::Error> {
    // SAFETY: [`MODULE`] is valid. In a build with the validator, the function of the same name
    //         passes the same bytes to it.
    unsafe { wasmi::Module::new_unchecked(engine, MODULE) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_build_interprets_on_a_flat_stack() {
        assert!(matches!(first_growth(), Ok(None)));
    }

    #[test]
    fn the_module_is_what_its_text_assembles_to() {
        assert_eq!(wat::parse_str(include_str!("self_check.wat")).as_deref().ok(), Some(MODULE));
    }
}
