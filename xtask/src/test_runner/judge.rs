//! Decides whether an emulator test passed, as a pure function of the expectation, the ending and
//! the output.
//!
//! A test passes only with the right exit status, the line that counts the checks, and no timeout.
//! One of them is not enough: a kernel that triple-faults ends QEMU with status 0, and a kernel
//! that stops early may have printed everything but the end. [`Expected::Flaw`] inverts the
//! verdict: such a kernel must be reported as failed, for the right reason.

use palimpsest_host::protocol::console::TestsComplete;
use palimpsest_host::protocol::{Expected, Flaw};
use palimpsest_host::qemu::Ending;
use std::time::Duration;
use thiserror::Error;

/// Returns how long a test with this expectation may take.
pub(super) const fn time_limit(expected: &Expected) -> Duration {
    match expected {
        Expected::Flaw(Flaw::Hang) => Duration::from_secs(4),
        Expected::Checks(_) | Expected::Death(_) | Expected::Flaw(Flaw::TripleFault | Flaw::Panic) => {
            Duration::from_secs(120)
        }
    }
}

/// Whether `ending` shows `flaw` and no other.
const fn shows(ending: &Ending, flaw: Flaw) -> bool {
    match flaw {
        Flaw::TripleFault => matches!(ending, Ending::Rebooted),
        Flaw::Hang => matches!(ending, Ending::TimedOut(_)),
        Flaw::Panic => matches!(ending, Ending::KernelDied),
    }
}

/// Why a test failed.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub(super) enum Failure {
    /// The machine ended in the wrong way
    #[error("{0}")]
    Ended(Ending),
    /// The status is success, but the line that counts the checks is missing
    #[error("ended with success, but without the line TESTS_COMPLETE and its number")]
    NotComplete,
    /// The status is success, but the last line is another one
    #[error("ended with success, but the last line does not begin with `{0}`")]
    OtherLastLine(&'static str),
    /// Some checks did not run, or too many
    #[error("{declared} checks are declared, the kernel reports {ran}")]
    WrongCount {
        /// The number in the list
        declared: u32,
        /// The number in the line TESTS_COMPLETE
        ran: u32,
    },
    /// It should have died
    #[error("should have died, but the last line says TESTS_COMPLETE")]
    Survived,
    /// It died for another reason than the expected one
    #[error("died without printing `{0}`")]
    OtherDeath(String),
    /// The runner itself is wrong: it accepted a broken kernel
    #[error("the runner reports this broken kernel as passed")]
    FlawMissed,
    /// The runner itself is wrong: it reported another reason
    #[error("the runner reports this broken kernel for the wrong reason: {0}")]
    FlawMistaken(Box<Failure>),
}

/// The verdict on one boot.
///
/// # Errors
/// The test failed, as [`Failure`] says.
pub(super) fn judge(expected: &Expected, ending: &Ending, output: &str) -> Result<(), Failure> {
    match expected {
        Expected::Checks(declared) => judge_completion(*declared, ending, output),
        Expected::Death(text) => judge_death(text, ending, output),
        Expected::Flaw(flaw) => match judge_completion(1, ending, output) {
            Ok(()) => Err(Failure::FlawMissed),
            Err(Failure::Ended(ending)) if shows(&ending, *flaw) => Ok(()),
            Err(failure) => Err(Failure::FlawMistaken(Box::new(failure))),
        },
    }
}

/// The verdict on a boot whose last line must begin with `line`.
///
/// # Errors
/// The test failed, as [`Failure`] says.
pub(super) fn judge_last_line(line: &'static str, ending: &Ending, output: &str) -> Result<(), Failure> {
    if *ending != Ending::Success {
        return Err(Failure::Ended(ending.clone()));
    }
    match output.trim_end().lines().next_back() {
        Some(last) if last.starts_with(line) => Ok(()),
        Some(_) | None => Err(Failure::OtherLastLine(line)),
    }
}

fn judge_completion(declared: u32, ending: &Ending, output: &str) -> Result<(), Failure> {
    if *ending != Ending::Success {
        return Err(Failure::Ended(ending.clone()));
    }
    let TestsComplete(ran) = TestsComplete::find(output).ok_or(Failure::NotComplete)?;
    if ran != declared {
        return Err(Failure::WrongCount { declared, ran });
    }
    Ok(())
}

fn judge_death(text: &str, ending: &Ending, output: &str) -> Result<(), Failure> {
    if TestsComplete::find(output).is_some() {
        return Err(Failure::Survived);
    }
    if *ending != Ending::KernelDied {
        return Err(Failure::Ended(ending.clone()));
    }
    if !output.contains(text) {
        return Err(Failure::OtherDeath(text.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPLETE_4: &str = "check\nTESTS_COMPLETE 4\n";
    const TIMED_OUT: Ending = Ending::TimedOut(Duration::from_secs(10));

    #[test]
    fn status_line_and_count_together_pass() {
        assert_eq!(judge(&Expected::Checks(4), &Ending::Success, COMPLETE_4), Ok(()));
    }

    #[test]
    fn a_complete_output_with_any_other_ending_fails() {
        for ending in [Ending::GuestFailed, Ending::KernelDied, Ending::Rebooted, TIMED_OUT] {
            let verdict = judge(&Expected::Checks(4), &ending, COMPLETE_4);
            assert_eq!(verdict, Err(Failure::Ended(ending)));
        }
    }

    #[test]
    fn success_without_the_last_line_fails() {
        let verdict = judge(&Expected::Checks(4), &Ending::Success, "check\n");
        assert_eq!(verdict, Err(Failure::NotComplete));
    }

    #[test]
    fn status_and_last_line_together_pass() {
        assert_eq!(judge_last_line("passed", &Ending::Success, "a\npassed: 7\n\n"), Ok(()));
        for output in ["", "passed: 7\na\n"] {
            let verdict = judge_last_line("passed", &Ending::Success, output);
            assert_eq!(verdict, Err(Failure::OtherLastLine("passed")));
        }
        for ending in [Ending::GuestFailed, Ending::KernelDied, Ending::Rebooted, TIMED_OUT] {
            let verdict = judge_last_line("passed", &ending, "passed: 7\n");
            assert_eq!(verdict, Err(Failure::Ended(ending)));
        }
    }

    #[test]
    fn a_skipped_check_fails() {
        let verdict = judge(&Expected::Checks(5), &Ending::Success, COMPLETE_4);
        assert_eq!(verdict, Err(Failure::WrongCount { declared: 5, ran: 4 }));
    }

    #[test]
    fn an_expected_death_passes_by_its_text_only() {
        let death = Expected::Death("page 0".to_owned());
        assert_eq!(judge(&death, &Ending::KernelDied, "fault in page 0\n"), Ok(()));
        let other = judge(&death, &Ending::KernelDied, "divide error\n");
        assert_eq!(other, Err(Failure::OtherDeath("page 0".to_owned())));
    }

    #[test]
    fn an_expected_death_that_ends_otherwise_fails() {
        let death = Expected::Death("page 0".to_owned());
        for ending in [Ending::Success, Ending::GuestFailed, Ending::Rebooted, TIMED_OUT] {
            assert_eq!(judge(&death, &ending, "page 0"), Err(Failure::Ended(ending)));
        }
        assert_eq!(judge(&death, &Ending::KernelDied, "page 0\nTESTS_COMPLETE 1"), Err(Failure::Survived));
    }

    #[test]
    fn each_flaw_is_seen_by_its_own_ending() {
        let endings = [Ending::Rebooted, TIMED_OUT, Ending::KernelDied];
        for (flaw, own) in Flaw::ALL.into_iter().zip(&endings) {
            for ending in &endings {
                let verdict = judge(&Expected::Flaw(flaw), ending, "");
                let mistaken = Failure::FlawMistaken(Box::new(Failure::Ended(ending.clone())));
                assert_eq!(verdict, if ending == own { Ok(()) } else { Err(mistaken) });
            }
        }
    }

    #[test]
    fn a_flaw_that_looks_like_a_pass_is_a_failure_of_the_runner() {
        let verdict = judge(&Expected::Flaw(Flaw::Panic), &Ending::Success, "TESTS_COMPLETE 1");
        assert_eq!(verdict, Err(Failure::FlawMissed));
    }
}
