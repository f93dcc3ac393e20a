//! The error that a host function returns to suspend its guest.

use alloc::boxed::Box;
use core::fmt;
use wasmi::{Val, errors::HostError};

/// A request of a host function to suspend its guest: `return Err(Error::host(Pause::until(..)))`.
///
/// A [`Task`](super::Task) suspends the guest, and later resumes it as if the host function had
/// returned the results that the pause contains. All other effects on the guest, such as writes to
/// its memory, must happen before the host function returns.
///
/// Outside of a task a pause ends the guest like any other error. The same is true if the pause
/// passes through a nested call.
#[derive(Debug)]
pub struct Pause {
    until_ns: Option<u64>,
    results: Box<[Val]>,
}

impl Pause {
    /// Suspends the guest until the embedder's monotonic clock shows `until_ns` nanoseconds.
    #[must_use]
    pub fn until(until_ns: u64, results: &[Val]) -> Self {
        Self { until_ns: Some(until_ns), results: results.into() }
    }

    /// Ends the slice, with the guest ready to continue: a yield.
    #[must_use]
    pub fn now(results: &[Val]) -> Self {
        Self { until_ns: None, results: results.into() }
    }

    /// Returns when the wait is over, in nanoseconds, or `None` for a yield.
    pub(super) fn until_ns(&self) -> Option<u64> {
        self.until_ns
    }

    /// Returns the results that the guest gets when it is resumed.
    pub(super) fn results(&self) -> &[Val] {
        &self.results
    }
}

impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.until_ns {
            Some(until_ns) => write!(f, "the guest waits until {until_ns} ns")?,
            None => f.write_str("the guest yields")?,
        }
        f.write_str(", which a plain call cannot resume; run it as a task")
    }
}

impl HostError for Pause {}
