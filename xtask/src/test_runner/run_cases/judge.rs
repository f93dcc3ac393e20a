//! Decides whether a case passed, as a pure function of the expectation and the result of the
//! command.
//!
//! Some rules hold for every guest. A failure is one line on the console, equal to the report's
//! `error`. As many frames are free at the end as at the start. The report has instruction counts
//! if, and only if, the clock counts instructions.

#[cfg(test)]
mod tests;

use super::failure::Failure;
use anyhow::Result;
use palimpsest_host::qemu::Clock;
use serde_json::Value;
use std::process::ExitCode;

/// The start of the kernel's line about a failure.
const COMPLAINTS: [&str; 2] = ["error: ", "trap: "];

/// The report's fields that only a clock of instructions fills.
const COUNTS: [&str; 2] = ["instructions_to_instantiate", "instructions_to_run"];

/// The expected result of a case.
#[derive(Clone, Copy, Debug)]
pub(super) enum Expected {
    /// Exit status 0
    Returned {
        /// Lines of the console
        console: &'static [&'static str],
        /// JSON that the report must contain. Other fields may have any value
        report: &'static str,
    },
    /// A program ended with an exit code
    Exited {
        /// The exit status
        status: u8,
        /// Its standard output
        output: &'static [u8],
        /// Its standard error
        errors: &'static [u8],
        /// JSON that the report must contain
        report: &'static str,
    },
    /// Exit status 1: the guest trapped, and the line about it contains this
    Trap(&'static str),
    /// Exit status 1: the kernel did not call the guest, and the line about it contains this
    Error(&'static str),
    /// Exit status 1: the command itself fails without a report, and its message contains this
    CommandError(&'static str),
}

/// The result of a command line.
#[derive(Debug)]
pub(super) struct Attempt {
    /// What the machine's clock counted
    pub(super) clock: Clock,
    /// The exit status, or the error that `main` prints before it exits with 1
    pub(super) status: Result<ExitCode>,
    /// The kernel's text
    pub(super) console: String,
    /// What the guest wrote to its standard output
    pub(super) output: Vec<u8>,
    /// What the guest wrote to its standard error
    pub(super) errors: Vec<u8>,
    /// What was written for `--json`
    pub(super) report: Option<Value>,
}

/// The verdict on one case.
///
/// # Errors
/// The case failed, as [`Failure`] says.
pub(super) fn judge(expected: &Expected, attempt: &Attempt) -> Result<(), Failure> {
    match *expected {
        Expected::Returned { console, report } => judge_return(console, report, attempt),
        Expected::Exited { status, output, errors, report } => {
            judge_exit(ExitCode::from(status), report, attempt)?;
            expect_bytes(&attempt.output, output)?;
            expect_bytes(&attempt.errors, errors)
        }
        Expected::Trap(text) => judge_failure("trap", text, attempt),
        Expected::Error(text) => judge_failure("error", text, attempt),
        Expected::CommandError(text) => judge_command_error(text, attempt),
    }
}

fn judge_return(lines: &[&'static str], report: &str, attempt: &Attempt) -> Result<(), Failure> {
    expect_status(ExitCode::SUCCESS, attempt)?;
    let found = attempt.report.as_ref().ok_or(Failure::ReportMissing)?;
    let report = serde_json::from_str(report).expect("a test of the table parses every expected report");
    expect(found, report)?;
    expect(&found["outcome"], "returned".into())?;
    expect(&found["error"], Value::Null)?;
    if let Some(missing) = lines.iter().find(|line| attempt.console.lines().all(|other| other != **line)) {
        return Err(Failure::LineMissing(missing));
    }
    let complaints = complaints(&attempt.console);
    if !complaints.is_empty() {
        return Err(Failure::Complaints { found: owned(&complaints), expected: "" });
    }
    judge_figures(found, attempt.clock)?;
    judge_counts(found, attempt.clock)
}

fn judge_exit(status: ExitCode, report: &str, attempt: &Attempt) -> Result<(), Failure> {
    expect_status(status, attempt)?;
    let found = attempt.report.as_ref().ok_or(Failure::ReportMissing)?;
    let report = serde_json::from_str(report).expect("a test of the table parses every expected report");
    expect(found, report)?;
    expect(&found["error"], Value::Null)?;
    let complaints = complaints(&attempt.console);
    if !complaints.is_empty() {
        return Err(Failure::Complaints { found: owned(&complaints), expected: "" });
    }
    judge_figures(found, attempt.clock)
}

fn judge_failure(outcome: &str, text: &'static str, attempt: &Attempt) -> Result<(), Failure> {
    expect_status(ExitCode::FAILURE, attempt)?;
    let complaints = complaints(&attempt.console);
    let [complaint] = complaints.as_slice() else {
        return Err(Failure::Complaints { found: owned(&complaints), expected: text });
    };
    if !complaint.contains(text) {
        return Err(Failure::Complaints { found: owned(&complaints), expected: text });
    }
    let found = attempt.report.as_ref().ok_or(Failure::ReportMissing)?;
    expect(&found["outcome"], outcome.into())?;
    expect(&found["error"], (*complaint).into())?;
    expect(&found["results"], Value::Array(Vec::new()))?;
    judge_figures(found, attempt.clock)
}

fn judge_command_error(text: &'static str, attempt: &Attempt) -> Result<(), Failure> {
    let error = match &attempt.status {
        Ok(status) => {
            return Err(Failure::Status { found: format!("{status:?}"), expected: text.to_owned() });
        }
        Err(error) => format!("{error:#}"),
    };
    if !error.contains(text) || error.lines().count() != 1 {
        return Err(Failure::Message { found: error, expected: text });
    }
    match &attempt.report {
        Some(report) => Err(Failure::ReportUnexpected(Box::new(report.clone()))),
        None => Ok(()),
    }
}

/// Checks the figures of any report.
fn judge_figures(report: &Value, clock: Clock) -> Result<(), Failure> {
    expect(&report["free_frames_at_end"], report["free_frames_at_start"].clone())?;
    match clock {
        Clock::Host => COUNTS.iter().try_for_each(|count| expect(&report[*count], Value::Null)),
        Clock::Instructions => Ok(()),
    }
}

/// Checks the report of a guest that was called: if the clock counts instructions, it has both
/// counts.
fn judge_counts(report: &Value, clock: Clock) -> Result<(), Failure> {
    let uncounted = COUNTS.into_iter().find(|count| !report[*count].is_u64());
    match (clock, uncounted) {
        (Clock::Instructions, Some(count)) => Err(Failure::NotCounted(count)),
        (Clock::Instructions, None) | (Clock::Host, _) => Ok(()),
    }
}

fn expect_status(expected: ExitCode, attempt: &Attempt) -> Result<(), Failure> {
    let found = match &attempt.status {
        Ok(status) if *status == expected => return Ok(()),
        Ok(status) => format!("{status:?}"),
        Err(error) => format!("the message `{error:#}`"),
    };
    Err(Failure::Status { found, expected: format!("{expected:?}") })
}

fn expect_bytes(found: &[u8], expected: &'static [u8]) -> Result<(), Failure> {
    if found == expected {
        return Ok(());
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Err(Failure::Stream { found: text(found), expected: text(expected) })
}

/// Returns the error lines of the console.
fn complaints(console: &str) -> Vec<&str> {
    console.lines().filter(|line| COMPLAINTS.iter().any(|start| line.starts_with(start))).collect()
}

fn owned(lines: &[&str]) -> Vec<String> {
    lines.iter().copied().map(str::to_owned).collect()
}

fn expect(found: &Value, expected: Value) -> Result<(), Failure> {
    if contains(found, &expected) {
        return Ok(());
    }
    Err(Failure::Report { found: Box::new(found.clone()), expected: Box::new(expected) })
}

/// Whether `found` is equal to `expected`, except for fields of objects that `expected` does not
/// name.
fn contains(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => {
            expected.iter().all(|(name, value)| found.get(name).is_some_and(|found| contains(found, value)))
        }
        (Value::Array(found), Value::Array(expected)) => {
            found.len() == expected.len()
                && found.iter().zip(expected).all(|(found, expected)| contains(found, expected))
        }
        (found, expected) => found == expected,
    }
}
