//! Lines of the first serial port that the host looks for among the text for people.

use alloc::string::String;
use core::fmt;

/// The start of the last line of a tour in which every figure was right.
pub const TOUR_PASSED: &str = "tour passed";

/// The last line of an emulator test: `TESTS_COMPLETE`, and how many checks passed.
///
/// A test passes only if this line is there *and* the count is the declared one *and* the exit
/// status is
/// [`Success`](crate::ExitStatus::Success). A kernel that triple-faults ends QEMU with status 0,
/// and a test that returns early may have printed everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TestsComplete(pub u32);

impl TestsComplete {
    const MARKER: &str = "TESTS_COMPLETE ";

    /// Returns the first such line of `output`.
    #[must_use]
    pub fn find(output: &str) -> Option<Self> {
        let count = output.lines().find_map(|line| line.strip_prefix(Self::MARKER))?;
        count.parse().ok().map(Self)
    }
}

impl fmt::Display for TestsComplete {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{}", Self::MARKER, self.0)
    }
}

/// A line of a test of hostile guests: `LONGEST`, how many instructions nothing else could run for,
/// and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Longest {
    /// What took the time.
    pub cause: String,
    /// How long it took.
    pub instructions: u64,
}

impl Longest {
    const MARKER: &str = "LONGEST ";

    /// Returns the content of `line`, if it is such a line.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let (instructions, cause) = line.strip_prefix(Self::MARKER)?.split_once(' ')?;
        Some(Self { cause: cause.into(), instructions: instructions.parse().ok()? })
    }
}

impl fmt::Display for Longest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{} {}", Self::MARKER, self.instructions, self.cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn a_longest_time_is_read_back() {
        let longest = Longest { cause: "a clear".into(), instructions: 12 };
        assert_eq!(Longest::parse(&format!("{longest}")), Some(longest));
        for line in ["LONGEST", "LONGEST 12", "LONGEST x clear", "12 clear"] {
            assert_eq!(Longest::parse(line), None, "{line}");
        }
    }

    #[test]
    fn the_count_is_read_back() {
        let output = format!("check\n{}\n", TestsComplete(4));
        assert_eq!(TestsComplete::find(&output), Some(TestsComplete(4)));
    }

    #[test]
    fn a_line_that_breaks_off_is_not_a_count() {
        for output in ["", "check\n", "TESTS_COMPLETE\n", "TESTS_COMPLETE \n", "TESTS_COMPLETE 4x\n"] {
            assert_eq!(TestsComplete::find(output), None, "{output}");
        }
    }
}
