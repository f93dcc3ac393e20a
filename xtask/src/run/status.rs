//! Turns the ending of a machine into the command's exit status.
//!
//! A guest's run is a success only if the kernel's exit status is, and a complete report agrees
//! with it. For the tour, the kernel's last line must agree. A program's exit code becomes the
//! command's.

use super::write_json;
use crate::cli::RunOptions;
use anyhow::{Context, Result, bail};
use palimpsest_host::answer::AnswerError;
use palimpsest_host::boot::Session;
use palimpsest_host::protocol::{Outcome, Report, console::TOUR_PASSED};
use palimpsest_host::qemu::Ending;
use std::process::ExitCode;

/// The largest exit code that is passed on. Shells use larger ones for commands that they could not
/// run and for commands that a signal ended.
const LARGEST_EXIT_CODE: u8 = 125;

/// Returns the command's exit status after a guest's boot. Writes the report to the file that the
/// options name.
///
/// # Errors
/// - The machine ended with neither success nor the guest's failure.
/// - The report is missing, damaged, or cannot be written.
pub(crate) fn conclude(session: &Session, options: &RunOptions, ending: &Ending) -> Result<ExitCode> {
    let report = session.answer();
    if let Ok(report) = &report {
        write_json(options, report)?;
    }
    guest_status(ending, report)
}

fn guest_status(ending: &Ending, report: Result<Report, AnswerError>) -> Result<ExitCode> {
    match ending {
        Ending::Success => match report?.outcome {
            Outcome::Returned => Ok(ExitCode::SUCCESS),
            Outcome::Exited | Outcome::Trap | Outcome::Error => {
                bail!("the kernel ended with success, but its report has a failure")
            }
        },
        Ending::GuestFailed => {
            let report = report?;
            match report.outcome {
                Outcome::Exited => {
                    Ok(exit_code(report.exit_code.context("the kernel's report lacks the exit code")?))
                }
                Outcome::Trap | Outcome::Error => Ok(ExitCode::FAILURE),
                Outcome::Returned => bail!("the kernel ended with a failure, but its report has success"),
            }
        }
        Ending::TimedOut(_) => bail!("{ending}: set another limit with --timeout"),
        Ending::KernelDied | Ending::Rebooted | Ending::Unknown(_) => bail!("{ending}"),
    }
}

/// Returns the command's exit status for a guest that ended with `code`.
fn exit_code(code: u32) -> ExitCode {
    match u8::try_from(code) {
        Ok(code) if code <= LARGEST_EXIT_CODE => ExitCode::from(code),
        Ok(_) | Err(_) => {
            eprintln!(
                "the guest's exit code is {code}, the command's {LARGEST_EXIT_CODE}, the largest there is"
            );
            ExitCode::from(LARGEST_EXIT_CODE)
        }
    }
}

/// Returns the command's exit status after the tour, whose last line is `verdict`.
///
/// # Errors
/// The machine ended with neither success nor a failed tour.
pub(super) fn tour_status(ending: &Ending, verdict: &str) -> Result<ExitCode> {
    match ending {
        Ending::Success if verdict.starts_with(TOUR_PASSED) => Ok(ExitCode::SUCCESS),
        Ending::Success => bail!("the kernel ended with success, but its last line is not `{TOUR_PASSED}`"),
        Ending::GuestFailed => Ok(ExitCode::FAILURE),
        Ending::TimedOut(_) => bail!("{ending}: set another limit with --timeout"),
        Ending::KernelDied | Ending::Rebooted | Ending::Unknown(_) => bail!("{ending}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use palimpsest_host::answer;
    use std::time::Duration;

    fn report(outcome: &str) -> Result<Report, AnswerError> {
        answer::parse(&format!(
            r#"{{"outcome":"{outcome}","results":[],"error":null,"exit_code":200,"memories":[],
            "cpus":1,"interrupts_for_discards":0,"waiting_table_frames":0,"free_frames_at_start":1,"free_frames_at_end":1,"instructions_to_instantiate":null,
            "instructions_to_run":null,"nanoseconds_to_run":null,"forks":null,"timeline":[],"output_timeline":[]}}"#
        ))
    }

    #[test]
    fn status_and_report_together_make_a_success() -> Result<()> {
        assert_eq!(guest_status(&Ending::Success, report("returned"))?, ExitCode::SUCCESS);
        Ok(())
    }

    #[test]
    fn a_report_that_contradicts_the_status_is_an_error() {
        for report in [report("trap"), report("error"), report("exited"), answer::parse("")] {
            assert!(guest_status(&Ending::Success, report).is_err());
        }
        assert!(guest_status(&Ending::GuestFailed, report("returned")).is_err());
    }

    #[test]
    fn a_failed_call_fails_the_command_without_another_message() -> Result<()> {
        assert_eq!(guest_status(&Ending::GuestFailed, report("trap"))?, ExitCode::FAILURE);
        assert_eq!(tour_status(&Ending::GuestFailed, "")?, ExitCode::FAILURE);
        Ok(())
    }

    #[test]
    fn a_program_that_ended_itself_has_an_exit_code() -> Result<()> {
        let report = Report { exit_code: None, ..report("exited")? };
        assert!(guest_status(&Ending::GuestFailed, Ok(report)).is_err());
        Ok(())
    }

    #[test]
    fn an_exit_code_is_passed_on_as_far_as_it_goes() -> Result<()> {
        assert_eq!(exit_code(3), ExitCode::from(3));
        assert_eq!(exit_code(125), ExitCode::from(125));
        assert_eq!(guest_status(&Ending::GuestFailed, report("exited"))?, ExitCode::from(125));
        assert_eq!(exit_code(u32::MAX), ExitCode::from(125));
        Ok(())
    }

    #[test]
    fn a_machine_that_ends_by_itself_is_never_a_success() {
        for ending in [Ending::KernelDied, Ending::Rebooted, Ending::TimedOut(Duration::from_secs(1))] {
            assert!(guest_status(&ending, report("returned")).is_err());
            assert!(tour_status(&ending, TOUR_PASSED).is_err());
        }
    }

    #[test]
    fn the_tour_passes_by_its_last_line_only() -> Result<()> {
        assert_eq!(tour_status(&Ending::Success, "tour passed: 7 steps")?, ExitCode::SUCCESS);
        assert!(tour_status(&Ending::Success, "6. a real program").is_err());
        Ok(())
    }
}
