//! Counts what passed and what failed, and prints a line for each.
//!
//! Scripts read the last line, `N passed, N failed`.

use std::fmt;
use std::ops::AddAssign;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;
use thiserror::Error;

/// How many passed and how many failed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    passed: u32,
    failed: u32,
}

impl Tally {
    /// Counts and prints a success.
    pub fn pass(&mut self, name: &dyn fmt::Display) {
        self.passed += 1;
        println!("ok {name}");
    }

    /// Counts and prints a failure, with the output that explains it.
    pub fn fail(&mut self, name: &dyn fmt::Display, reason: &dyn fmt::Display, output: &str) {
        self.failed += 1;
        println!("FAILED {name}: {reason}");
        for line in output.lines() {
            println!("    {line}");
        }
    }

    /// Whether something passed and nothing failed.
    #[must_use]
    pub const fn is_success(self) -> bool {
        self.failed == 0 && self.passed > 0
    }

    /// The exit status of a command that ends with this count.
    #[must_use]
    pub fn exit_code(self) -> ExitCode {
        if self.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// Reads the line that `Display` writes.
impl FromStr for Tally {
    type Err = NotATally;

    fn from_str(line: &str) -> Result<Self, NotATally> {
        let counts = line.strip_suffix(" failed").and_then(|line| line.split_once(" passed, "));
        let (passed, failed) = counts.ok_or(NotATally)?;
        let number = |digits: &str| digits.parse().map_err(|_| NotATally);
        Ok(Self { passed: number(passed)?, failed: number(failed)? })
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} passed, {} failed", self.passed, self.failed)
    }
}

/// A line is not `N passed, N failed`.
#[derive(Clone, Copy, Debug, Error)]
#[error("this is not a line `N passed, N failed`")]
pub struct NotATally;

/// A name with the time that it took, as in `vm/gnu/boots (1.2 s)`.
#[derive(Clone, Copy, Debug)]
pub struct Timed<'a>(pub &'a str, pub Duration);

impl fmt::Display for Timed<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({:.1} s)", self.0, self.1.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_counts_both_kinds() {
        let mut sum = Tally { passed: 2, failed: 0 };
        sum += Tally { passed: 1, failed: 3 };
        assert_eq!(sum.to_string(), "3 passed, 3 failed");
        assert_eq!("3 passed, 3 failed".parse::<Tally>().ok(), Some(sum));
    }

    #[test]
    fn other_lines_are_not_counts() {
        for line in ["", "ok a (0.1 s)", "3 passed", "x passed, 3 failed", "3 passed, 3 failed, 1 ignored"] {
            assert!(line.parse::<Tally>().is_err(), "{line}");
        }
    }

    #[test]
    fn one_failure_or_nothing_at_all_fails_the_command() {
        assert!(!Tally { passed: 9, failed: 1 }.is_success());
        assert!(!Tally::default().is_success());
        assert!(Tally { passed: 1, failed: 0 }.is_success());
    }

    #[test]
    fn times_are_given_in_tenths_of_a_second() {
        assert_eq!(Timed("vm/gnu/boots", Duration::from_millis(1234)).to_string(), "vm/gnu/boots (1.2 s)");
    }
}
