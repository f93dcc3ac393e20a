//! Tests with each rule of the judge kept and broken.

use super::*;
use anyhow::anyhow;
use serde_json::json;

const RETURNED: Expected =
    Expected::Returned { console: &["i32 5"], report: r#"{"results":[{"type":"i32","value":5}]}"# };
const EXITED: Expected = Expected::Exited {
    status: 3,
    output: b"\xff out",
    errors: b"err",
    report: r#"{"outcome":"exited","exit_code":3}"#,
};
const TRAP: Expected = Expected::Trap("unreachable");
const REFUSED: Expected = Expected::CommandError("is empty");

fn returned() -> Attempt {
    let report = json!({
        "outcome": "returned", "results": [{ "type": "i32", "value": 5 }], "error": null,
        "memories": [], "free_frames_at_start": 9, "free_frames_at_end": 9,
        "instructions_to_instantiate": null, "instructions_to_run": null
    });
    let console = "i32 5\nfree frames: 9 at start, 9 at end\n".to_owned();
    let status = Ok(ExitCode::SUCCESS);
    let (output, errors) = (Vec::new(), Vec::new());
    Attempt { clock: Clock::Host, status, console, output, errors, report: Some(report) }
}

fn trapped() -> Attempt {
    let mut report = returned().report;
    if let Some(report) = &mut report {
        report["outcome"] = "trap".into();
        report["error"] = "trap: unreachable, in the call of `f`".into();
        report["results"] = json!([]);
    }
    let console = "trap: unreachable, in the call of `f`\n".to_owned();
    Attempt { status: Ok(ExitCode::FAILURE), console, report, ..returned() }
}

fn refused() -> Attempt {
    let status = Err(anyhow!("guest.wasm is empty"));
    Attempt { status, console: String::new(), report: None, ..returned() }
}

fn exited() -> Attempt {
    let exited = with(with(returned(), "outcome", "exited".into()), "exit_code", 3.into());
    Attempt { status: Ok(ExitCode::from(3)), output: b"\xff out".to_vec(), errors: b"err".to_vec(), ..exited }
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
    assert_eq!(judge(&EXITED, &exited()), Ok(()));
    assert_eq!(judge(&TRAP, &trapped()), Ok(()));
    assert_eq!(judge(&REFUSED, &refused()), Ok(()));
}

#[test]
fn another_ending_fails() {
    for (expected, attempt) in [
        (RETURNED, trapped()),
        (RETURNED, refused()),
        (RETURNED, exited()),
        (EXITED, returned()),
        (EXITED, trapped()),
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
    for results in [json!([]), json!([{ "type": "i64", "value": 5 }]), json!([{ "type": "i32", "value": 6 }])]
    {
        let verdict = judge(&RETURNED, &with(returned(), "results", results));
        assert!(matches!(verdict, Err(Failure::Report { .. })), "{verdict:?}");
    }
}

#[test]
fn a_lost_frame_fails_every_kind_of_run() {
    for (expected, attempt) in [(RETURNED, returned()), (EXITED, exited()), (TRAP, trapped())] {
        let verdict = judge(&expected, &with(attempt, "free_frames_at_end", 8.into()));
        assert_eq!(verdict, Err(Failure::Report { found: Box::new(8.into()), expected: Box::new(9.into()) }));
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
fn every_byte_of_a_programs_streams_counts() {
    let streams = [
        Attempt { output: b"\xff out\n".to_vec(), ..exited() },
        Attempt { output: Vec::new(), errors: b"\xff outerr".to_vec(), ..exited() },
        Attempt { errors: b"Err".to_vec(), ..exited() },
    ];
    for attempt in streams {
        let verdict = judge(&EXITED, &attempt);
        assert!(matches!(verdict, Err(Failure::Stream { .. })), "{verdict:?}");
    }
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
