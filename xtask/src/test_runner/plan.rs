//! The list of emulator tests, as the test kernel sends it.

use palimpsest_host::protocol::{Expected, Flaw, ListedTest, TestList};
use std::collections::HashSet;
use thiserror::Error;

/// Why a list cannot be used.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub(super) enum PlanError {
    /// The test that shows whether the runner notices a flaw is missing.
    #[error("the kernel's list has no test of the runner for the flaw {0:?}")]
    SelfTestMissing(Flaw),
    /// Two tests have the same name, so one of them would never be run.
    #[error("the kernel's list has two tests with the name {0}")]
    Duplicate(String),
}

/// Returns the tests of a list that is complete.
///
/// # Errors
/// - [`PlanError::SelfTestMissing`]: a flaw has no test.
/// - [`PlanError::Duplicate`]: a name occurs twice.
pub(super) fn check(list: TestList) -> Result<Vec<ListedTest>, PlanError> {
    let TestList { tests } = list;
    for flaw in Flaw::ALL {
        if !tests.iter().any(|test| test.expected == Expected::Flaw(flaw)) {
            return Err(PlanError::SelfTestMissing(flaw));
        }
    }
    let mut names = HashSet::new();
    match tests.iter().find(|test| !names.insert(test.name.as_str())) {
        Some(test) => Err(PlanError::Duplicate(test.name.clone())),
        None => Ok(tests),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use palimpsest_host::protocol::Clock;

    fn test(name: &str, expected: Expected) -> ListedTest {
        ListedTest { name: name.to_owned(), expected, clock: Clock::Host, cpus: 1 }
    }

    fn complete() -> Vec<ListedTest> {
        let self_test = |flaw: Flaw| test(&format!("{flaw:?}"), Expected::Flaw(flaw));
        [test("boots", Expected::Checks(4))].into_iter().chain(Flaw::ALL.map(self_test)).collect()
    }

    #[test]
    fn a_complete_list_is_taken_as_it_is() {
        assert_eq!(check(TestList { tests: complete() }), Ok(complete()));
    }

    #[test]
    fn a_list_that_lacks_a_self_test_is_refused() {
        for flaw in Flaw::ALL {
            let mut tests = complete();
            tests.retain(|test| test.expected != Expected::Flaw(flaw));
            assert_eq!(check(TestList { tests }), Err(PlanError::SelfTestMissing(flaw)));
        }
    }

    #[test]
    fn a_name_that_occurs_twice_is_refused() {
        let mut tests = complete();
        tests.push(test("boots", Expected::Checks(5)));
        assert_eq!(check(TestList { tests }), Err(PlanError::Duplicate("boots".to_owned())));
    }
}
