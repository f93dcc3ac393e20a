//! The kernel's machine-readable report of a run.
//!
//! Owns the list of its fields and the check that they are there. Numbers keep every digit that the kernel
//! wrote. The kernel writes the report once, when the run is over, to the second serial port.

use anyhow::{Context, Result};
use serde_json::Value;
use std::fs;
use std::io;
use std::path::Path;
use thiserror::Error;

/// What a report has at least.
const FIELDS: [&str; 12] = [
    "outcome",
    "results",
    "error",
    "exit_code",
    "memories",
    "free_frames_at_start",
    "free_frames_at_end",
    "instructions_to_instantiate",
    "instructions_to_run",
    "nanoseconds_to_run",
    "timeline",
    "output_timeline",
];

/// How the guest's call ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It returned, or ended itself with 0
    Returned,
    /// It ended itself with this code, which is not 0
    Exited(u64),
    /// It trapped
    Trap,
    /// It could not be made
    Error,
}

/// Why bytes are no report.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReportError {
    /// Nothing was written
    #[error("the kernel wrote no report")]
    Missing,
    /// QEMU made no file of it, or what was written is no text
    #[error("the kernel's report cannot be read")]
    Unreadable(#[source] io::Error),
    /// What was written is no JSON
    #[error("the kernel's report is not JSON")]
    NotJson(#[source] serde_json::Error),
    /// A field is not there
    #[error("the kernel's report lacks the field `{0}`")]
    FieldMissing(&'static str),
    /// A field holds no whole number, or no pairs of them
    #[error("the kernel's report has no number in `{0}`")]
    NoNumber(&'static str),
    /// The outcome is none of those above
    #[error("the kernel's report has the unknown outcome {0}")]
    UnknownOutcome(Value),
}

/// A report with all its fields.
#[derive(Debug)]
pub struct Report {
    value: Value,
    outcome: Outcome,
}

impl Report {
    /// Parses what came over the serial port.
    ///
    /// # Errors
    /// As [`ReportError`] says.
    pub fn parse(text: &str) -> Result<Self, ReportError> {
        if text.trim().is_empty() {
            return Err(ReportError::Missing);
        }
        let value: Value = serde_json::from_str(text).map_err(ReportError::NotJson)?;
        if let Some(field) = FIELDS.into_iter().find(|field| value.get(field).is_none()) {
            return Err(ReportError::FieldMissing(field));
        }
        let outcome = match value["outcome"].as_str() {
            Some("returned") => Outcome::Returned,
            Some("exited") => Outcome::Exited(whole(&value, "exit_code")?),
            Some("trap") => Outcome::Trap,
            Some("error") => Outcome::Error,
            Some(_) | None => return Err(ReportError::UnknownOutcome(value["outcome"].clone())),
        };
        Ok(Self { value, outcome })
    }

    /// How the guest's call ended.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// The whole report.
    #[must_use]
    pub const fn value(&self) -> &Value {
        &self.value
    }

    /// A field that holds a whole number.
    ///
    /// # Errors
    /// It holds something else.
    pub fn figure(&self, field: &'static str) -> Result<u64, ReportError> {
        whole(&self.value, field)
    }

    /// The sum of a figure over all memories.
    ///
    /// # Errors
    /// A memory has no such figure.
    pub fn memory_figure(&self, field: &'static str) -> Result<u64, ReportError> {
        let memories = self.value["memories"].as_array().map_or(&[][..], Vec::as_slice);
        memories.iter().map(|memory| whole(memory, field)).sum()
    }

    /// A field that holds pairs of whole numbers.
    ///
    /// # Errors
    /// It holds something else.
    pub fn series(&self, field: &'static str) -> Result<Vec<(u64, u64)>, ReportError> {
        let pairs = self.value[field].as_array().ok_or(ReportError::NoNumber(field))?;
        let pair = |pair: &Value| Some((pair[0].as_u64()?, pair[1].as_u64()?));
        pairs.iter().map(|found| pair(found).ok_or(ReportError::NoNumber(field))).collect()
    }

    /// Writes the report for the user, indented.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        fs::write(path, format!("{:#}\n", self.value))
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

fn whole(value: &Value, field: &'static str) -> Result<u64, ReportError> {
    value[field].as_u64().ok_or(ReportError::NoNumber(field))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = r#"{"outcome":"returned","results":[{"type":"i64","value":-9223372036854775808},
        {"type":"f64","value":0.1000000000000000055511151231257827,"bits":"0x3fb999999999999a"}],"error":null,
        "exit_code":null,"memories":[],"free_frames_at_start":1,"free_frames_at_end":1,
        "instructions_to_instantiate":null,"instructions_to_run":null,"nanoseconds_to_run":null,
        "timeline":[],"output_timeline":[[5,20],[9,7]]}"#;

    #[test]
    fn a_complete_report_is_taken_with_every_digit() -> Result<()> {
        let report = Report::parse(REPORT)?;
        assert_eq!(report.outcome(), Outcome::Returned);
        let written = report.value.to_string();
        assert!(written.contains("-9223372036854775808"), "{written}");
        assert!(written.contains("0.1000000000000000055511151231257827"), "{written}");
        assert!(written.starts_with(r#"{"outcome""#), "{written}");
        Ok(())
    }

    #[test]
    fn a_kernel_that_died_early_has_no_report() {
        assert!(matches!(Report::parse("\r\n"), Err(ReportError::Missing)));
    }

    #[test]
    fn a_report_that_breaks_off_is_not_taken() {
        assert!(matches!(Report::parse(&REPORT[..40]), Err(ReportError::NotJson(_))));
    }

    #[test]
    fn each_field_is_asked_for() {
        for field in FIELDS {
            let renamed = REPORT.replace(&format!("\"{field}\""), "\"other\"");
            let error = Report::parse(&renamed).expect_err("a field is missing");
            assert!(matches!(error, ReportError::FieldMissing(missing) if missing == field), "{error}");
        }
    }

    #[test]
    fn a_program_that_ends_itself_has_an_exit_code() -> Result<()> {
        let exited = REPORT.replace("returned", "exited").replace(r#""exit_code":null"#, r#""exit_code":7"#);
        assert_eq!(Report::parse(&exited)?.outcome(), Outcome::Exited(7));
        let error = Report::parse(&REPORT.replace("returned", "exited")).expect_err("there is no code");
        assert!(matches!(error, ReportError::NoNumber("exit_code")), "{error}");
        Ok(())
    }

    #[test]
    fn figures_are_numbers_or_errors() -> Result<()> {
        let report = Report::parse(REPORT)?;
        assert_eq!(report.figure("free_frames_at_end")?, 1);
        assert_eq!(report.series("output_timeline")?, [(5, 20), (9, 7)]);
        assert!(matches!(report.figure("error"), Err(ReportError::NoNumber("error"))));
        assert!(matches!(report.series("memories"), Ok(pairs) if pairs.is_empty()));
        Ok(())
    }

    #[test]
    fn figures_of_memories_are_added_up() -> Result<()> {
        let memories = r#""memories":[{"faults":3},{"faults":4}]"#;
        let report = Report::parse(&REPORT.replace(r#""memories":[]"#, memories))?;
        assert_eq!(report.memory_figure("faults")?, 7);
        assert!(report.memory_figure("resident_frames").is_err());
        Ok(())
    }

    #[test]
    fn an_outcome_that_nobody_defined_is_refused() {
        let error = Report::parse(&REPORT.replace("returned", "maybe")).expect_err("no such outcome");
        assert_eq!(error.to_string(), "the kernel's report has the unknown outcome \"maybe\"");
    }
}
