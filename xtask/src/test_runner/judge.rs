//! What makes an emulator test pass. Pure: an expectation, an ending and an output go in, a verdict comes
//! out.
//!
//! Owns the rule that a pass is the right exit status *and* the line that counts the checks *and* no timeout.
//! A kernel that triple-faults ends QEMU with status 0, and one that stops early may have printed everything
//! but the end; so no single sign is enough. The expectation [`Expected::Flaw`] turns the verdict round: such
//! a kernel must be reported as failed, for the right reason. Called by `vm` once per boot.

use palimpsest_host::qemu::Ending;
use std::time::Duration;
use thiserror::Error;

/// How the kernel's last line of a test begins; the number of checks follows.
const COMPLETE: &str = "TESTS_COMPLETE ";

/// What must come of a test.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Expected {
    /// Success, after exactly this many checks
    Checks(u32),
    /// The kernel dies before its end and prints this text
    Death(String),
    /// The runner sees it fail, for this reason
    Flaw(Flaw),
}

impl Expected {
    /// How long the test may take.
    pub(super) const fn time_limit(&self) -> Duration {
        match self {
            Self::Flaw(Flaw::Hang) => Duration::from_secs(10),
            Self::Checks(_) | Self::Death(_) | Self::Flaw(Flaw::TripleFault | Flaw::Panic) => {
                Duration::from_secs(120)
            }
        }
    }
}

/// A way in which a kernel can fail without saying so, each made by a test of the runner itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Flaw {
    /// The processor is reset
    TripleFault,
    /// The kernel does nothing any more
    Hang,
    /// The kernel panics
    Panic,
}

impl Flaw {
    /// All of them; a list of tests must have each.
    pub(super) const ALL: [Self; 3] = [Self::TripleFault, Self::Hang, Self::Panic];

    /// The test that makes it.
    pub(super) const fn test_name(self) -> &'static str {
        match self {
            Self::TripleFault => "selftest-triple-fault",
            Self::Hang => "selftest-hang",
            Self::Panic => "selftest-panic",
        }
    }

    const fn explains(self, ending: &Ending) -> bool {
        match self {
            Self::TripleFault => matches!(ending, Ending::Rebooted),
            Self::Hang => matches!(ending, Ending::TimedOut(_)),
            Self::Panic => matches!(ending, Ending::KernelDied),
        }
    }
}

/// Why a test failed.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub(super) enum Failure {
    /// The machine ended in the wrong way
    #[error("{0}")]
    Ended(Ending),
    /// The status says success, and the line that counts the checks is missing
    #[error("ended with success, but without the line TESTS_COMPLETE")]
    NotComplete,
    /// Some checks did not run, or too many
    #[error("{declared} checks are declared, the kernel says it ran {ran}")]
    WrongCount {
        /// The number in the list
        declared: u32,
        /// What follows TESTS_COMPLETE
        ran: String,
    },
    /// It should have died
    #[error("should have died, but the last line says TESTS_COMPLETE")]
    Survived,
    /// It died, but not of what it should have died of
    #[error("died without printing `{0}`")]
    OtherDeath(String),
    /// The runner itself is wrong: it took a broken kernel for a good one
    #[error("the runner reports this broken kernel as passed")]
    FlawMissed,
    /// The runner itself is wrong: it gave another reason
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
            Err(Failure::Ended(ending)) if flaw.explains(&ending) => Ok(()),
            Err(failure) => Err(Failure::FlawMistaken(Box::new(failure))),
        },
    }
}

fn judge_completion(declared: u32, ending: &Ending, output: &str) -> Result<(), Failure> {
    if *ending != Ending::Success {
        return Err(Failure::Ended(ending.clone()));
    }
    let ran = completion(output).ok_or(Failure::NotComplete)?;
    if ran.parse() != Ok(declared) {
        return Err(Failure::WrongCount { declared, ran: ran.to_owned() });
    }
    Ok(())
}

fn judge_death(text: &str, ending: &Ending, output: &str) -> Result<(), Failure> {
    if completion(output).is_some() {
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

/// What follows TESTS_COMPLETE.
fn completion(output: &str) -> Option<&str> {
    output.lines().find_map(|line| line.strip_prefix(COMPLETE))
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
    fn a_skipped_check_fails() {
        let verdict = judge(&Expected::Checks(5), &Ending::Success, COMPLETE_4);
        assert_eq!(verdict, Err(Failure::WrongCount { declared: 5, ran: "4".to_owned() }));
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
