//! The reasons why a case of `run_cases` fails, with what was found and what was expected.

use serde_json::Value;
use thiserror::Error;

/// Why a case failed.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub(super) enum Failure {
    /// Another exit status
    #[error("ended with {found} instead of {expected}")]
    Status {
        /// The exit status
        found: String,
        /// The expected one
        expected: String,
    },
    /// The command failed, with another message
    #[error("the message is `{found}`, not one line with `{expected}`")]
    Message {
        /// The message
        found: String,
        /// What it should contain
        expected: &'static str,
    },
    /// The console lacks a line
    #[error("the console lacks the line `{0}`")]
    LineMissing(&'static str),
    /// A success with error lines, or a failure with none, several or another one
    #[error("the console complains with {found:?}, not with one line with `{expected}`")]
    Complaints {
        /// The error lines
        found: Vec<String>,
        /// What the only one should contain, or nothing if there should be none
        expected: &'static str,
    },
    /// A program wrote other output
    #[error("the program wrote {found:?} instead of {expected:?}")]
    Stream {
        /// What it wrote
        found: String,
        /// What it should have written
        expected: String,
    },
    /// The report is missing
    #[error("no report was written")]
    ReportMissing,
    /// There is a report although the guest was not booted
    #[error("a report was written: {0}")]
    ReportUnexpected(Box<Value>),
    /// The report differs
    #[error("the report has {found} where {expected} belongs")]
    Report {
        /// The report, or its field
        found: Box<Value>,
        /// What it should be, or contain
        expected: Box<Value>,
    },
    /// The clock counted instructions, but the report has no number
    #[error("the report has no number in `{0}`")]
    NotCounted(&'static str),
}
