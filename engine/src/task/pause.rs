//! What a host function returns as its error when the guest is to wait instead of the CPU.

use alloc::boxed::Box;
use core::fmt;
use wasmi::{Val, errors::HostError};

/// A wait, asked for by a host function: `return Err(Error::host(Pause::until(..)))`.
///
/// A [`Task`](super::Task) suspends the guest, and resumes it as if the host function had returned the results
/// that the pause carries. Everything else that the function does to the guest, such as writing to its memory, it
/// does before it returns. Outside of a task, in a plain call, a pause is an error like any other and ends the
/// guest; so it does where it passes through a nested call.
#[derive(Debug)]
pub struct Pause {
    until_ns: Option<u64>,
    results: Box<[Val]>,
}

impl Pause {
    /// A wait until the embedder's monotonic clock shows `until_ns` nanoseconds.
    #[must_use]
    pub fn until(until_ns: u64, results: &[Val]) -> Self {
        Self { until_ns: Some(until_ns), results: results.into() }
    }

    /// The end of this slice, with the guest ready to go on: what a yield is.
    #[must_use]
    pub fn now(results: &[Val]) -> Self {
        Self { until_ns: None, results: results.into() }
    }

    /// When the wait is over, in nanoseconds; nothing for a yield.
    pub(super) fn until_ns(&self) -> Option<u64> {
        self.until_ns
    }

    /// What the host function returns to the guest when the wait is over.
    pub(super) fn results(&self) -> &[Val] {
        &self.results
    }
}

impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.until_ns {
            Some(until_ns) => write!(f, "the guest waits until {until_ns} ns, and nobody resumes it")?,
            None => f.write_str("the guest yields, and nobody resumes it")?,
        }
        f.write_str("; run it as a task")
    }
}

impl HostError for Pause {}
