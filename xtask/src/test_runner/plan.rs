//! The list of emulator tests, as the test kernel prints it.
//!
//! Owns its grammar, one line each among other text:
//!
//! ```text
//! TEST <name> <checks>                       ends with success after this many checks
//! TEST <name> <checks> clock=instructions    the same, while the machine's clock counts instructions
//! TEST <name> <checks> death=<text>          dies on purpose, printing the text
//! SELFTEST <name>                            must be seen to fail: tests the runner
//! LIST_COMPLETE <n>                          last: there were n lines of the kinds above
//! ```
//!
//! The kernel is believed in nothing: a list that breaks off, miscounts or lacks a self-test is an error.

use super::judge::{Expected, Flaw};
use palimpsest_host::qemu::Clock;
use thiserror::Error;

/// A test and what must come of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct PlannedTest {
    /// The name to ask the kernel for
    pub(super) name: String,
    /// What makes it pass
    pub(super) expected: Expected,
    /// What the machine's clock has to count
    pub(super) clock: Clock,
}

/// Why a list cannot be used.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub(super) enum PlanError {
    /// A line begins like one of ours and goes on differently
    #[error("the kernel's list has a line of no known form: {0}")]
    Malformed(String),
    /// The last line is missing
    #[error("the kernel's list has no last line LIST_COMPLETE")]
    Incomplete,
    /// The last line counts differently
    #[error("the kernel's list announces {announced} tests and has {listed}")]
    Miscounted {
        /// The number in the last line
        announced: usize,
        /// The number of lines before it
        listed: usize,
    },
    /// A test of the runner itself is not there
    #[error("the kernel's list lacks {0}")]
    SelfTestMissing(&'static str),
}

/// Reads a list out of the kernel's output.
///
/// # Errors
/// As [`PlanError`] says.
pub(super) fn parse(output: &str) -> Result<Vec<PlannedTest>, PlanError> {
    let mut tests = Vec::new();
    let mut announced = None;
    for line in output.lines() {
        let malformed = || PlanError::Malformed(line.to_owned());
        if let Some(test) = line.strip_prefix("TEST ") {
            tests.push(planned_test(test).ok_or_else(malformed)?);
        } else if let Some(name) = line.strip_prefix("SELFTEST ") {
            let flaw = Flaw::ALL.into_iter().find(|flaw| flaw.test_name() == name).ok_or_else(malformed)?;
            let expected = Expected::Flaw(flaw);
            tests.push(PlannedTest { name: name.to_owned(), expected, clock: Clock::Host });
        } else if let Some(count) = line.strip_prefix("LIST_COMPLETE ") {
            announced = Some(count.parse().map_err(|_| malformed())?);
        }
    }
    let announced = announced.ok_or(PlanError::Incomplete)?;
    if announced != tests.len() {
        return Err(PlanError::Miscounted { announced, listed: tests.len() });
    }
    for flaw in Flaw::ALL {
        if !tests.iter().any(|test| test.expected == Expected::Flaw(flaw)) {
            return Err(PlanError::SelfTestMissing(flaw.test_name()));
        }
    }
    Ok(tests)
}

/// `<name> <checks>`, then nothing, `clock=instructions` or `death=<text>`; the text goes to the end of the line.
fn planned_test(line: &str) -> Option<PlannedTest> {
    let mut parts = line.splitn(3, ' ');
    let name = parts.next().filter(|name| !name.is_empty())?.to_owned();
    let checks = parts.next()?.parse().ok()?;
    let (expected, clock) = match parts.next() {
        None => (Expected::Checks(checks), Clock::Host),
        Some("clock=instructions") => (Expected::Checks(checks), Clock::Instructions),
        Some(rest) => {
            let text = rest.strip_prefix("death=").filter(|text| !text.is_empty())?;
            (Expected::Death(text.to_owned()), Clock::Host)
        }
    };
    Some(PlannedTest { name, expected, clock })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SELF_TESTS: &str =
        "SELFTEST selftest-triple-fault\nSELFTEST selftest-hang\nSELFTEST selftest-panic\n";

    fn list(lines: &str, announced: usize) -> String {
        format!("booting\n{lines}{SELF_TESTS}LIST_COMPLETE {announced}\n")
    }

    #[test]
    fn each_kind_of_line_is_a_test() -> Result<(), PlanError> {
        let tests = parse(&list(
            "TEST boots 4\nTEST cheap 1 clock=instructions\nTEST page-zero 1 death=not ours: 0x0\n",
            6,
        ))?;
        let expected = [
            ("boots", Expected::Checks(4), Clock::Host),
            ("cheap", Expected::Checks(1), Clock::Instructions),
            ("page-zero", Expected::Death("not ours: 0x0".to_owned()), Clock::Host),
            ("selftest-triple-fault", Expected::Flaw(Flaw::TripleFault), Clock::Host),
            ("selftest-hang", Expected::Flaw(Flaw::Hang), Clock::Host),
            ("selftest-panic", Expected::Flaw(Flaw::Panic), Clock::Host),
        ]
        .map(|(name, expected, clock)| PlannedTest { name: name.to_owned(), expected, clock });
        assert_eq!(tests, expected);
        Ok(())
    }

    #[test]
    fn a_list_that_breaks_off_is_refused() {
        assert_eq!(parse("TEST boots 4\n"), Err(PlanError::Incomplete));
        assert_eq!(parse(""), Err(PlanError::Incomplete));
    }

    #[test]
    fn a_list_that_lost_a_line_is_refused() {
        assert_eq!(parse(&list("TEST boots 4\n", 5)), Err(PlanError::Miscounted { announced: 5, listed: 4 }));
    }

    #[test]
    fn a_list_without_the_self_tests_is_refused() {
        assert_eq!(
            parse("SELFTEST selftest-panic\nSELFTEST selftest-hang\nLIST_COMPLETE 2"),
            Err(PlanError::SelfTestMissing("selftest-triple-fault"))
        );
    }

    #[test]
    fn lines_of_no_known_form_are_refused() {
        for line in [
            "TEST boots",
            "TEST boots x",
            "TEST boots 4 dies",
            "TEST boots 4 death=",
            "TEST boots 4 clock=time",
            "SELFTEST other",
        ] {
            assert_eq!(parse(&list(&format!("{line}\n"), 4)), Err(PlanError::Malformed(line.to_owned())));
        }
    }
}
