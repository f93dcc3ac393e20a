//! What makes a case pass. Pure: an expectation and what came of a command line go in, a verdict comes out.
//!
//! Owns the rules that every run keeps, whatever its guest does: a failure is one line on the console, the
//! same as the report's `error`; as many frames are free at the end as at the start; instructions are counted
//! where the clock counts them, and nowhere else. Called by `run_cases` once per case.

use super::failure::Failure;
use crate::qemu::Clock;
use anyhow::Result;
use serde_json::Value;
use std::process::ExitCode;

/// How the kernel's line about a failure begins.
const COMPLAINTS: [&str; 2] = ["error: ", "trap: "];

/// The report's fields that only a clock of instructions fills.
const COUNTS: [&str; 2] = ["instructions_to_instantiate", "instructions_to_run"];

/// What must come of a case.
#[derive(Clone, Copy, Debug)]
pub(super) enum Expected {
    /// Exit status 0
    Returned {
        /// Lines of the console
        console: &'static [&'static str],
        /// JSON that the report must contain: fields that are not named here may be anything
        report: &'static str,
    },
    /// Exit status 1: the guest trapped, and the line about it contains this
    Trap(&'static str),
    /// Exit status 1: the kernel did not call the guest, and the line about it contains this
    Error(&'static str),
    /// Exit status 1: the command itself fails without a report, and its message contains this
    CommandError(&'static str),
}

/// What came of a command line.
#[derive(Debug)]
pub(super) struct Attempt {
    /// What the machine's clock counted
    pub(super) clock: Clock,
    /// The exit status, or the error that `main` prints before it exits with 1
    pub(super) status: Result<ExitCode>,
    /// The kernel's text
    pub(super) console: String,
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

/// The rules for the figures of any report.
fn judge_figures(report: &Value, clock: Clock) -> Result<(), Failure> {
    expect(&report["free_frames_at_end"], report["free_frames_at_start"].clone())?;
    match clock {
        Clock::Host => COUNTS.iter().try_for_each(|count| expect(&report[*count], Value::Null)),
        Clock::Instructions => Ok(()),
    }
}

/// The rule for a guest that was called: where the clock counts instructions, the report has both counts.
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

/// The lines of the console that tell of a failure.
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

/// Whether `found` is `expected`, but for fields of objects that `expected` does not name.
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

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;
    use serde_json::json;

    const RETURNED: Expected =
        Expected::Returned { console: &["i32 5"], report: r#"{"results":[{"type":"i32","value":5}]}"# };
    const TRAP: Expected = Expected::Trap("unreachable");
    const REFUSED: Expected = Expected::CommandError("is empty");

    fn returned() -> Attempt {
        let report = json!({
            "outcome": "returned", "results": [{ "type": "i32", "value": 5 }], "error": null,
            "memories": [], "free_frames_at_start": 9, "free_frames_at_end": 9,
            "instructions_to_instantiate": null, "instructions_to_run": null
        });
        let console = "i32 5\nfree frames: 9 at start, 9 at end\n".to_owned();
        Attempt { clock: Clock::Host, status: Ok(ExitCode::SUCCESS), console, report: Some(report) }
    }

    fn trapped() -> Attempt {
        let mut report = returned().report;
        if let Some(report) = &mut report {
            report["outcome"] = "trap".into();
            report["error"] = "trap: unreachable, in the call of `f`".into();
            report["results"] = json!([]);
        }
        let console = "trap: unreachable, in the call of `f`\n".to_owned();
        Attempt { clock: Clock::Host, status: Ok(ExitCode::FAILURE), console, report }
    }

    fn refused() -> Attempt {
        let status = Err(anyhow!("guest.wasm is empty"));
        Attempt { clock: Clock::Host, status, console: String::new(), report: None }
    }

    /// `attempt` with one field of its report changed.
    fn with(mut attempt: Attempt, field: &str, value: Value) -> Attempt {
        if let Some(report) = &mut attempt.report {
            report[field] = value;
        }
        attempt
    }

    #[test]
    fn what_is_expected_passes() {
        assert_eq!(judge(&RETURNED, &returned()), Ok(()));
        assert_eq!(judge(&TRAP, &trapped()), Ok(()));
        assert_eq!(judge(&REFUSED, &refused()), Ok(()));
    }

    #[test]
    fn another_ending_fails() {
        for (expected, attempt) in [
            (RETURNED, trapped()),
            (RETURNED, refused()),
            (TRAP, returned()),
            (TRAP, refused()),
            (REFUSED, returned()),
            (REFUSED, trapped()),
        ] {
            let verdict = judge(&expected, &attempt);
            assert!(matches!(verdict, Err(Failure::Status { .. })), "{verdict:?}");
        }
    }

    #[test]
    fn another_value_type_or_digit_fails() {
        for results in
            [json!([]), json!([{ "type": "i64", "value": 5 }]), json!([{ "type": "i32", "value": 6 }])]
        {
            let verdict = judge(&RETURNED, &with(returned(), "results", results));
            assert!(matches!(verdict, Err(Failure::Report { .. })), "{verdict:?}");
        }
    }

    #[test]
    fn a_lost_frame_fails_every_kind_of_run() {
        for (expected, attempt) in [(RETURNED, returned()), (TRAP, trapped())] {
            let verdict = judge(&expected, &with(attempt, "free_frames_at_end", 8.into()));
            assert_eq!(
                verdict,
                Err(Failure::Report { found: Box::new(8.into()), expected: Box::new(9.into()) })
            );
        }
    }

    #[test]
    fn instructions_are_counted_where_the_clock_counts_them_only() {
        let uncounted = Attempt { clock: Clock::Instructions, ..returned() };
        assert_eq!(judge(&RETURNED, &uncounted), Err(Failure::NotCounted(COUNTS[0])));
        let counted = with(with(returned(), COUNTS[0], 7.into()), COUNTS[1], 7.into());
        assert!(matches!(judge(&RETURNED, &counted), Err(Failure::Report { .. })));
        assert_eq!(judge(&RETURNED, &Attempt { clock: Clock::Instructions, ..counted }), Ok(()));
    }

    #[test]
    fn a_failure_has_one_line_on_the_console() {
        for console in ["", "trap: divide\n", "trap: unreachable\ntrap: unreachable\n"] {
            let verdict = judge(&TRAP, &Attempt { console: console.to_owned(), ..trapped() });
            assert!(matches!(verdict, Err(Failure::Complaints { .. })), "{verdict:?}");
        }
        let console = "i32 5\nerror: but\n".to_owned();
        let verdict = judge(&RETURNED, &Attempt { console, ..returned() });
        assert!(matches!(verdict, Err(Failure::Complaints { .. })), "{verdict:?}");
    }

    #[test]
    fn the_report_of_a_failure_repeats_its_line() {
        let verdict = judge(&TRAP, &with(trapped(), "error", "trap: unreachable".into()));
        assert!(matches!(verdict, Err(Failure::Report { .. })), "{verdict:?}");
    }

    #[test]
    fn a_message_of_the_command_is_one_line_and_comes_without_a_report() {
        let long = Attempt { status: Err(anyhow!("guest.wasm is empty\nhelp: none")), ..refused() };
        assert!(matches!(judge(&REFUSED, &long), Err(Failure::Message { .. })));
        let reported = Attempt { report: returned().report, ..refused() };
        assert!(matches!(judge(&REFUSED, &reported), Err(Failure::ReportUnexpected(_))));
    }

    #[test]
    fn a_line_that_the_console_lacks_fails() {
        let verdict = judge(&RETURNED, &Attempt { console: "i32 55\n".to_owned(), ..returned() });
        assert_eq!(verdict, Err(Failure::LineMissing("i32 5")));
    }
}
