//! What the example claims, checked while it runs.
//!
//! A check prints one line and counts itself; one that fails panics, and the kernel with it. The last line
//! says how many there were, so that none can be left out unseen. Called by `main` and `wasm`.

use core::fmt::Debug;

use crate::console::println;

/// How many checks held.
#[derive(Default)]
pub(crate) struct Checks {
    held: u32,
}

impl Checks {
    /// Checks that `found` is what it must be.
    ///
    /// # Panics
    ///
    /// If it is not.
    pub(crate) fn equal<T: Debug + PartialEq>(&mut self, what: &str, found: T, expected: T) {
        println!("{what}: {found:?}");
        assert_eq!(found, expected, "{what}");
        self.held += 1;
    }

    /// Prints the last line.
    pub(crate) fn complete(self) {
        println!("TESTS_COMPLETE {}", self.held);
    }
}
