//! What makes a run of the specification's tests pass: a pure function of its ending and its
//! output.
//!
//! A run passes if it has the right exit status, *and* the line that counts the directives with as
//! many as the stream has, *and* the totals in the next line. So a program that stops early, or
//! that skips a directive, does not pass.

use palimpsest_host::qemu::Ending;
use palimpsest_spec::COMPLETE;
use std::process::ExitStatus;
use thiserror::Error;

/// The start of every line that reports a failure.
const FAILED: &str = "FAILED ";

/// How a program ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Ended {
    /// With success
    Well,
    /// In another way
    Badly(String),
}

impl From<Ending> for Ended {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Success => Self::Well,
            Ending::GuestFailed
            | Ending::KernelDied
            | Ending::Rebooted
            | Ending::TimedOut(_)
            | Ending::Unknown(_) => Self::Badly(ending.to_string()),
        }
    }
}

impl From<ExitStatus> for Ended {
    fn from(status: ExitStatus) -> Self {
        if status.success() { Self::Well } else { Self::Badly(format!("spec-host ended with {status}")) }
    }
}

/// A run that has ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Run {
    /// How it ended
    pub(crate) ended: Ended,
    /// What it printed
    pub(crate) output: String,
}

impl Run {
    /// The lines that explain a failure, or all if there are none.
    pub(crate) fn failures(&self) -> String {
        let lines: Vec<_> = self.output.lines().filter(|line| line.starts_with(FAILED)).collect();
        if lines.is_empty() { self.output.clone() } else { lines.join("\n") }
    }

    /// The totals, if the run was complete.
    pub(crate) fn totals(&self) -> Option<&str> {
        self.completion().map(|(_, totals)| totals)
    }

    /// What follows [`COMPLETE`], and the next line.
    fn completion(&self) -> Option<(&str, &str)> {
        let mut lines = self.output.lines().skip_while(|line| !line.starts_with(COMPLETE));
        lines.next().and_then(|line| line.strip_prefix(COMPLETE)).zip(lines.next())
    }
}

/// Why a run failed.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub(crate) enum Failure {
    /// The program reported failures, or died
    #[error("{0}")]
    Ended(String),
    /// The line that counts the directives is missing, or the totals are
    #[error("ended with success, but without the line SPEC_COMPLETE and the totals after it")]
    NotComplete,
    /// Some directives were skipped
    #[error("the stream has {expected} directives, the program reports {ran}")]
    WrongCount {
        /// The number in the stream
        expected: u32,
        /// What follows [`COMPLETE`]
        ran: String,
    },
}

/// The verdict on a run of a stream with this many directives: its totals.
///
/// # Errors
/// The run failed, for the reason in [`Failure`].
pub(crate) fn judge(run: &Run, directives: u32) -> Result<&str, Failure> {
    if let Ended::Badly(how) = &run.ended {
        return Err(Failure::Ended(how.clone()));
    }
    let (ran, totals) = run.completion().ok_or(Failure::NotComplete)?;
    if ran.parse() != Ok(directives) {
        return Err(Failure::WrongCount { expected: directives, ran: ran.to_owned() });
    }
    Ok(totals)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOTALS: &str = "7 assertions passed, 0 failed, 1 known misses, 1 text-only";

    fn run(ended: Ended, output: &str) -> Run {
        Run { ended, output: output.to_owned() }
    }

    fn complete(count: u32) -> String {
        format!("simd/a.wast: {TOTALS}\nSPEC_COMPLETE {count}\n{TOTALS}\n")
    }

    #[test]
    fn status_count_and_totals_together_pass() {
        assert_eq!(judge(&run(Ended::Well, &complete(9)), 9), Ok(TOTALS));
    }

    #[test]
    fn a_complete_output_with_a_bad_ending_fails() {
        let ended = Ended::from(Ending::KernelDied);
        let failure = judge(&run(ended, &complete(9)), 9).expect_err("the kernel died");
        assert_eq!(failure, Failure::Ended(Ending::KernelDied.to_string()));
    }

    #[test]
    fn a_directive_that_was_left_out_fails_the_run() {
        let failure = Failure::WrongCount { expected: 10, ran: "9".to_owned() };
        assert_eq!(judge(&run(Ended::Well, &complete(9)), 10), Err(failure));
    }

    #[test]
    fn an_output_that_breaks_off_fails() {
        for output in ["", "simd/a.wast: 1\n", "SPEC_COMPLETE 9\n"] {
            assert_eq!(judge(&run(Ended::Well, output), 9), Err(Failure::NotComplete), "{output}");
        }
    }

    #[test]
    fn a_failed_run_that_came_to_its_end_has_totals() {
        assert_eq!(run(Ended::from(Ending::GuestFailed), &complete(9)).totals(), Some(TOTALS));
        assert_eq!(run(Ended::from(Ending::KernelDied), "panicked\n").totals(), None);
    }

    #[test]
    fn a_failure_is_explained_by_its_lines() {
        let run = run(Ended::Well, "a\nFAILED simd/a.wast:1: why\nb\n");
        assert_eq!(run.failures(), "FAILED simd/a.wast:1: why");
    }
}
