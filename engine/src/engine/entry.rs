//! The gate of an engine, which one call passes at a time.
//!
//! wasmi protects what the stores of an engine share by spin locks: the function types, the
//! reusable stacks, and the body of each function while it is translated. An interrupt handler that
//! waits for one of them waits for the code that it has interrupted, and so forever. Therefore a
//! call takes the engine before it can wait, and keeps it until it returns. Calls of the same store
//! that nest in it, through host functions, share it: wasmi holds no lock while a host function
//! runs.

use core::sync::atomic::{AtomicBool, Ordering};
use thiserror::Error;
use wasmi::errors::HostError;

/// Why a guest was not called. Nothing has run, and the call can be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EntryError {
    /// Another call uses the engine: it was interrupted, it runs in another thread, or it has
    /// called the host function that makes this call on another store.
    #[error(
        "the engine is in use by a call that has not returned; call again when it has, or give each \
         program its own engine"
    )]
    InUse,
    /// The native stack that [`Config::stack`](crate::Config::stack) describes may be too small.
    #[error(
        "the native stack has {remaining_bytes} bytes left, and the engine needs {needed_bytes}; call on \
         a larger stack, or optimize more: see step 1 of docs/embedding.md"
    )]
    StackTooSmall {
        /// Bytes from the stack pointer to the end of the stack.
        remaining_bytes: usize,
        /// Bytes that a call may take in this build.
        needed_bytes: usize,
    },
    /// Pages of the store's memories are lent: a [`Lent`](crate::Lent) has them, or a memory of
    /// another store was placed there.
    #[error("{bytes} bytes of the store's memories are lent and in use; drop what uses them, and call again")]
    Lent {
        /// The number of bytes.
        bytes: u64,
    },
}

impl HostError for EntryError {}

/// A call that was not made fails with this error.
impl From<EntryError> for wasmi::Error {
    fn from(error: EntryError) -> Self {
        Self::host(error)
    }
}

/// Whether a call uses the engine.
#[derive(Debug, Default)]
pub(super) struct Gate(AtomicBool);

impl Gate {
    /// Takes the engine for a call, which must pass [`leave`](Self::leave) when it returns.
    ///
    /// # Errors
    ///
    /// [`EntryError::InUse`].
    pub(super) fn enter(&self) -> Result<(), EntryError> {
        match self.0.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => Ok(()),
            Err(_) => Err(EntryError::InUse),
        }
    }

    /// Frees the engine at the end of the call that has taken it.
    pub(super) fn leave(&self) {
        self.0.store(false, Ordering::Release);
    }

    pub(super) fn is_taken(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
