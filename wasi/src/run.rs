//! Runs programs: the application ABI of WASI, which defines what an embedder calls.
//!
//! A *command* exports `_start`, which is called once. A *reactor* exports `_initialize`, which is
//! called before its other exports.

use alloc::string::String;
use palimpsest_engine::{
    AsContextMut, DuplicateDefinition, Error, Instance, InstantiateError, Linker, Module, Store,
};
use thiserror::Error;

use crate::{
    linker::{Exit, add_to_linker},
    wasi::Wasi,
};

/// The function that a reactor exports.
const INITIALIZE: &str = "_initialize";
/// The function that a command exports.
const START: &str = "_start";

/// Why a program did not run to its end.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunError {
    /// The linker already defines a function of preview 1.
    #[error(transparent)]
    Define(#[from] DuplicateDefinition),
    /// The module was not instantiated.
    #[error(transparent)]
    Instantiate(InstantiateError),
    /// The module exports no function that starts it.
    #[error("the module exports neither `{START}` nor `{INITIALIZE}`, so it is not a program for WASI")]
    NotAProgram,
    /// The program failed, without calling `proc_exit`.
    #[error("`{function}` failed: {cause}")]
    Failed {
        /// The export that was called.
        function: String,
        /// The trap, or the error of a host function.
        #[source]
        cause: Error,
    },
}

/// Runs the program `module` in the world `wasi`, and returns its exit code.
///
/// The program has a store, which is dropped when it ends. It can import preview 1 and the engine's
/// own functions. See [`run_with`] for programs that import more.
///
/// # Errors
///
/// See [`RunError`]. A program that calls `proc_exit` does not fail, even if its code is not 0.
///
/// # Examples
///
/// ```
/// use palimpsest_engine::{Engine, Module};
/// use palimpsest_wasi::{RunError, Wasi, run};
///
/// fn hello(module: &Module) -> Result<u32, RunError> {
///     let serial = |bytes: &[u8]| println!("{}", bytes.escape_ascii());
///     run(module, Wasi::builder().arg("hello").stdout(serial).build())
/// }
/// ```
pub fn run(module: &Module, wasi: Wasi) -> Result<u32, RunError> {
    let mut linker = Linker::new();
    add_to_linker(&mut linker, |wasi| wasi)?;
    run_with(&linker, &mut Store::new(module.engine(), wasi), module)
}

/// Instantiates `module` with the definitions of `linker`, runs it, and returns its exit code.
///
/// The program's `_initialize` is called first, and then its `_start`. One of them must exist. The
/// code is that of `proc_exit`, which may also be called by the module's start function, or 0.
///
/// # Errors
///
/// See [`RunError`]. The store keeps the instance in any case.
pub fn run_with<T: 'static>(
    linker: &Linker<T>,
    store: &mut Store<T>,
    module: &Module,
) -> Result<u32, RunError> {
    let instance = match linker.instantiate(store.as_context_mut(), module) {
        Ok(instance) => instance,
        Err(InstantiateError::Start(cause)) => {
            return exit_code(&cause).ok_or(RunError::Instantiate(InstantiateError::Start(cause)));
        }
        Err(error) => return Err(RunError::Instantiate(error)),
    };
    let mut was_called = false;
    for function in [INITIALIZE, START] {
        match call(store, instance, function) {
            None => {}
            Some(Ok(())) => was_called = true,
            Some(Err(cause)) => {
                return exit_code(&cause).ok_or(RunError::Failed { function: function.into(), cause });
            }
        }
    }
    if was_called { Ok(0) } else { Err(RunError::NotAProgram) }
}

/// Calls the export `name`, or returns None if it does not exist.
fn call<T: 'static>(store: &mut Store<T>, instance: Instance, name: &str) -> Option<Result<(), Error>> {
    let func = instance.get_func(&*store, name)?;
    Some(func.typed::<(), ()>(&*store).and_then(|func| func.call(store, ())))
}

/// Returns the code that the program passed to `proc_exit`, or None if it failed otherwise.
fn exit_code(error: &Error) -> Option<u32> {
    error.downcast_ref::<Exit>().map(|exit| exit.code)
}
