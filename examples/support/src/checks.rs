//! Checks an example while it runs.
//!
//! A check that holds prints a line, and one that fails panics. The last line contains their
//! number, so that a missing check is noticed.

use core::fmt::Debug;

use crate::println;

/// Counts the checks that held.
#[derive(Debug, Default)]
pub struct Checks {
    held: u32,
}

impl Checks {
    /// Checks that `found` equals `expected`.
    ///
    /// # Panics
    ///
    /// Panics if they differ.
    pub fn equal<T: Debug + PartialEq>(&mut self, what: &str, found: T, expected: T) {
        println!("{what}: {found:?}");
        assert_eq!(found, expected, "{what}");
        self.held += 1;
    }

    /// Prints the number of checks.
    pub fn complete(self) {
        println!("TESTS_COMPLETE {}", self.held);
    }
}
