//! The gate of an engine, which one call of each CPU passes at a time.
//!
//! wasmi protects what the stores of an engine share by spin locks: the function types, the
//! reusable stacks, and the body of each function while it is translated. An interrupt handler that
//! waits for one of them waits for the code that it has interrupted, and so forever. Therefore a
//! call takes the engine before it can wait, and keeps it until it returns. Calls of the same store
//! that nest in it, through host functions, share it: wasmi holds no lock while a host function
//! runs.
//!
//! A call on another CPU may pass as well. It waits for a lock at most until that CPU releases it.

use core::sync::atomic::{AtomicUsize, Ordering};
use thiserror::Error;
use wasmi::errors::HostError;

/// Why a guest was not called. Nothing has run, and the call can be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EntryError {
    /// Another call uses the engine: it was interrupted, it runs in another thread, or it has
    /// called the host function that makes this call on another store. Calls that began on other
    /// CPUs do not count.
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

/// The CPUs on which a call uses the engine, as a set of bits.
#[derive(Debug, Default)]
pub(super) struct Gate(AtomicUsize);

/// The use of an engine by a call. The call may end on another CPU than it began on.
#[derive(Debug)]
#[must_use = "the engine stays in use until this is passed to `leave`"]
pub(crate) struct Pass {
    /// The bit of the CPU on which the call began.
    bit: usize,
}

impl Gate {
    /// Takes the engine for a call on this CPU, which must pass [`leave`](Self::leave) when it
    /// returns.
    ///
    /// # Errors
    ///
    /// [`EntryError::InUse`].
    #[inline]
    pub(super) fn enter(&self, cpu: usize) -> Result<Pass, EntryError> {
        let bit = bit(cpu);
        match self.0.fetch_or(bit, Ordering::Acquire) & bit {
            0 => Ok(Pass { bit }),
            _ => Err(EntryError::InUse),
        }
    }

    /// Frees the engine at the end of the call that has taken it.
    #[inline]
    pub(super) fn leave(&self, pass: &Pass) {
        self.0.fetch_and(!pass.bit, Ordering::Release);
    }

    /// Returns whether a call has taken the engine on this CPU.
    pub(super) fn is_taken(&self, cpu: usize) -> bool {
        self.0.load(Ordering::Relaxed) & bit(cpu) != 0
    }
}

/// The set with this CPU. Machines have no more CPUs than bits: 64, or 32 on 32-bit targets, which
/// have no larger atomics. If one had more, a call would fail while another CPU is in the engine.
fn bit(cpu: usize) -> usize {
    1 << (cpu % usize::BITS as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_call_of_each_cpu_passes() {
        let gate = Gate::default();
        let [first, second] = [0, 1].map(|cpu| gate.enter(cpu).expect("the CPU is outside"));
        assert_eq!([0, 1, 2].map(|cpu| gate.is_taken(cpu)), [true, true, false]);
        assert!(matches!(gate.enter(1), Err(EntryError::InUse)));
        gate.leave(&second);
        assert_eq!([0, 1].map(|cpu| gate.is_taken(cpu)), [true, false]);
        gate.leave(&gate.enter(1).expect("the CPU is outside"));
        gate.leave(&first);
        assert!(!gate.is_taken(0));
    }
}
