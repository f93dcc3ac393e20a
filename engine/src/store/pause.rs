//! The error that a host function returns to suspend its guest.

use alloc::boxed::Box;
use core::fmt;
use wasmi::{Val, errors::HostError};

/// A request of a host function to suspend its guest: `return Err(Error::host(Pause::until(..)))`.
///
/// A [`Task`](crate::Task) suspends the guest, and later resumes it as if the host function had
/// returned the results that the pause contains. All other effects on the guest, such as writes to
/// its memory, must happen before the host function returns.
///
/// Outside of a task a pause ends the guest like any other error. The same is true if the pause
/// passes through a nested call. [`Caller::can_pause`](crate::Caller::can_pause) returns whether
/// it suspends the guest.
pub struct Pause {
    kind: PauseKind,
    values: Box<[Val]>,
}

/// How the guest is resumed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PauseKind {
    /// With the values as results, in another slice.
    Now,
    /// With the values as results, at this time in nanoseconds.
    Until(u64),
    /// By another call of the host function, with the values as arguments.
    Again {
        /// What [`Caller::take_progress`](super::Caller::take_progress) returns in that call.
        progress: u64,
    },
}

impl Pause {
    /// Suspends the guest until the embedder's monotonic clock shows `until_ns` nanoseconds.
    #[must_use]
    pub fn until(until_ns: u64, results: &[Val]) -> Self {
        Self { kind: PauseKind::Until(until_ns), values: results.into() }
    }

    /// Ends the slice, with the guest ready to continue: a yield.
    #[must_use]
    pub fn now(results: &[Val]) -> Self {
        Self { kind: PauseKind::Now, values: results.into() }
    }

    /// Divides the work of a host function: the task calls it again with `arguments`. It does so in
    /// the same slice if fuel is left, and in the next one otherwise. What the last of these calls
    /// returns is returned to the guest.
    ///
    /// Each call must do a bounded amount of work and charge for it, because a slice ends only
    /// between two calls. In the next call `progress` is what
    /// [`Caller::take_progress`](crate::Caller::take_progress) returns, and
    /// [`Caller::get_export`](crate::Caller::get_export) returns `None`. If the store is lost, the
    /// guest fails instead.
    #[must_use]
    pub fn again(arguments: &[Val], progress: u64) -> Self {
        Self { kind: PauseKind::Again { progress }, values: arguments.into() }
    }

    pub(crate) fn kind(&self) -> PauseKind {
        self.kind
    }

    /// Returns the results that the guest gets, or the arguments of the next call.
    pub(crate) fn values(&self) -> &[Val] {
        &self.values
    }
}

/// Not derived, because each program would then contain the code that formats floats: an error has
/// its `Debug` with it.
impl fmt::Debug for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pause").field("kind", &self.kind).field("values", &self.values.len()).finish()
    }
}

impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            PauseKind::Until(until_ns) => write!(f, "the guest waits until {until_ns} ns")?,
            PauseKind::Now => f.write_str("the guest yields")?,
            PauseKind::Again { .. } => f.write_str("a host function divides its work")?,
        }
        f.write_str(", which a plain call cannot resume; run it as a task")
    }
}

impl HostError for Pause {}
