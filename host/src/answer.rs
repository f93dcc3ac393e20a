//! The kernel's answer to its request: one line of JSON from the second serial port.

use serde::de::DeserializeOwned;
use std::io;
use thiserror::Error;

/// Why a boot has no usable answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// The kernel sent nothing.
    #[error("the kernel wrote no report")]
    Missing,
    /// QEMU made no file of it, or its bytes are not UTF-8.
    #[error("the kernel's report cannot be read")]
    Unreadable(#[source] io::Error),
    /// The text is not JSON of the expected type.
    #[error("the kernel's report is damaged")]
    Damaged(#[source] serde_json::Error),
}

/// Parses what a kernel sent.
///
/// # Errors
/// - [`AnswerError::Missing`]: `text` is blank.
/// - [`AnswerError::Damaged`]: `text` is not JSON of this type.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, AnswerError> {
    if text.trim().is_empty() {
        return Err(AnswerError::Missing);
    }
    serde_json::from_str(text).map_err(AnswerError::Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use palimpsest_protocol::TestList;

    #[test]
    fn a_kernel_that_died_early_has_no_answer() {
        assert!(matches!(parse::<TestList>("\r\n"), Err(AnswerError::Missing)));
    }

    #[test]
    fn an_answer_that_breaks_off_is_damaged() {
        let whole = r#"{"tests":[{"name":"boots","expected":{"checks":4},"clock":"host","cpus":1}]}"#;
        assert!(parse::<TestList>(whole).is_ok());
        for end in 1..whole.len() {
            assert!(matches!(parse::<TestList>(&whole[..end]), Err(AnswerError::Damaged(_))), "{end}");
        }
    }
}
