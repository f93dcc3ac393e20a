//! Why an engine is refused.

use thiserror::Error;

use super::EntryError;

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
    /// wasmi was compiled without optimizations. Its translator then takes more native stack than
    /// most kernels have.
    #[error(
        "wasmi was compiled without optimizations and needs {needed_bytes} bytes of native stack; set \
         `opt-level = 1` in `[profile.dev.package.\"*\"]`, or state with `Config::stack` that they are there"
    )]
    Unoptimized {
        /// Bytes of native stack that a call may take in this build.
        needed_bytes: usize,
    },
    /// The global allocator has no block of the size that an engine takes.
    #[error(
        "an engine takes up to {needed_bytes} bytes of heap, and the global allocator has no such block; give \
         the heap more memory, or make the engine before the heap is used up"
    )]
    HeapTooSmall {
        /// Bytes that the engine takes at most.
        needed_bytes: usize,
    },
    /// The native stack is too small.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// The module of the self-check did not run.
    #[error("the self-check of the interpreter failed: {0}")]
    SelfCheck(#[source] wasmi::Error),
}
