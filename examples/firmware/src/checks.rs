//! Checks the example while it runs.
//!
//! A check that holds prints a line, and one that fails panics. The last line contains their
//! number, so that a missing check is noticed.

use core::fmt::Debug;

use semihosting::println;

/// Counts the checks that held.
#[derive(Default)]
pub(crate) struct Checks {
    held: u32,
}

impl Checks {
    /// Checks that `found` equals `expected`.
    ///
    /// # Panics
    ///
    /// Panics if they differ.
    pub(crate) fn equal<T: Debug + PartialEq>(&mut self, what: &str, found: T, expected: T) {
        println!("{what}: {found:?}");
        assert_eq!(found, expected, "{what}");
        self.held += 1;
    }

    /// Prints the number of checks.
    pub(crate) fn complete(self) {
        println!("TESTS_COMPLETE {}", self.held);
    }
}
