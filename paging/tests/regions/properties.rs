//! Generated operations agree with the bytes that every page must contain.
//!
//! `PROPTEST_CASES` sets the number of cases. A failure is shrunk to few operations.

use proptest::collection::vec;
use proptest::prelude::{Strategy, any};
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};

use crate::operations::{Operation, run};

#[test]
fn any_operations_keep_contents_and_frames_while_frames_run_out() {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(256);
    let config =
        Config { cases, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..Config::default() };
    let operations = vec(any::<[u8; 4]>().prop_map(Operation), 0..200);
    let result = TestRunner::new(config).run(&operations, |operations| {
        run(operations);
        Ok::<(), TestCaseError>(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
}
