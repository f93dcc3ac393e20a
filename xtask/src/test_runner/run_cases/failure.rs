//! Why a case of `run_cases` failed: what [`judge`](mod@super::judge) finds wrong, with what was there and
//! what belongs there. The message stands behind the case's name in the test's output.

use serde_json::Value;
use thiserror::Error;

/// Why a case failed.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub(super) enum Failure {
    /// Another exit status
    #[error("ended with {found} instead of {expected}")]
    Status {
        /// What came
        found: String,
        /// What should have come
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
    /// A success with complaints, or a failure with none, several or another one
    #[error("the console complains with {found:?}, not with one line with `{expected}`")]
    Complaints {
        /// The lines that complain
        found: Vec<String>,
        /// What the only one should contain; nothing if there should be none
        expected: &'static str,
    },
    /// A program wrote something else
    #[error("the program wrote {found:?} instead of {expected:?}")]
    Stream {
        /// What it wrote
        found: String,
        /// What it should have written
        expected: String,
    },
    /// There is no report
    #[error("no report was written")]
    ReportMissing,
    /// There is a report of what did not happen
    #[error("a report was written: {0}")]
    ReportUnexpected(Box<Value>),
    /// The report says something else
    #[error("the report has {found} where {expected} belongs")]
    Report {
        /// The report, or its field
        found: Box<Value>,
        /// What it should be, or contain
        expected: Box<Value>,
    },
    /// The clock counted instructions, and the report has no number
    #[error("the report has no number in `{0}`")]
    NotCounted(&'static str),
}
