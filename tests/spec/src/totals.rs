//! What a run came to, in numbers.
//!
//! Owns the form of the line that ends a run, which `cargo xtask` passes on. Every directive is
//! counted exactly once, so the sum of all fields is the number of directives and nothing can be
//! left out unseen.

use core::fmt;
use core::ops::AddAssign;

/// Directives, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Assertions that hold.
    pub passed: u32,
    /// Directives that failed, assertions or not, and known misses that pass now.
    pub failed: u32,
    /// Directives that failed and are listed with a reason.
    pub known_misses: u32,
    /// Assertions about the text format, which the engine does not read.
    pub text_only: u32,
    /// Directives that assert nothing (modules, registrations, plain calls) and went well.
    pub actions: u32,
}

impl Totals {
    /// The number of all directives that were counted.
    #[must_use]
    pub fn directives(&self) -> u32 {
        self.passed + self.failed + self.known_misses + self.text_only + self.actions
    }
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.known_misses += other.known_misses;
        self.text_only += other.text_only;
        self.actions += other.actions;
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, known_misses, text_only, actions: _ } = self;
        write!(
            f,
            "{passed} assertions passed, {failed} failed, {known_misses} known misses, {text_only} text-only"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn every_directive_is_in_the_sum_and_the_line_has_the_assertions() {
        let mut sum = Totals { passed: 5, failed: 1, known_misses: 2, text_only: 3, actions: 4 };
        assert_eq!(sum.directives(), 15);
        assert_eq!(sum.to_string(), "5 assertions passed, 1 failed, 2 known misses, 3 text-only");
        sum += sum;
        assert_eq!(sum.directives(), 30);
    }
}
