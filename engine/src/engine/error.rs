//! Why an engine is refused.

use thiserror::Error;

/// Why an [`Engine`](crate::Engine) was not created.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EngineError {
    /// Interpreted instructions keep native stack, because the build lost wasmi's tail calls.
    #[error(
        "the interpreter's dispatch is not flat: {iterations} rounds of a loop used up {stack_bytes} \
         bytes of native stack; build with opt-level 2 or 3 and with LTO or one codegen unit, or with \
         the feature `portable-dispatch`"
    )]
    DispatchNotFlat {
        /// Native stack that the self-check's loop used up, in bytes.
        stack_bytes: usize,
        /// Rounds of the loop.
        iterations: u32,
    },
    /// The module of the self-check did not run.
    #[error("the self-check of the interpreter failed: {0}")]
    SelfCheck(#[source] wasmi::Error),
}
