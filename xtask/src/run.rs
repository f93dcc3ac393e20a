//! `cargo xtask run`: a guest, or the tour, in a freshly booted kernel.
//!
//! Owns the order of the steps (read the guest, see that everything is installed, build, boot, judge) and
//! what counts as success: the kernel's own exit status *and*, for a guest, a complete report that says
//! "returned"; for the tour, its verdict. What went wrong inside the guest the kernel says itself, in the
//! text that is passed through.

use crate::archive::{GUEST, Request};
use crate::boot::Session;
use crate::cli::RunOptions;
use crate::guest;
use crate::kernel::Image;
use crate::programs::{self, LODEPNG};
use crate::qemu::{Ending, Machine};
use crate::report::{Outcome, Report, ReportError};
use crate::setup::{self, EMULATOR, Need};
use crate::workspace::Workspace;
use anyhow::{Result, bail};
use std::process::ExitCode;
use std::time::Duration;

/// How the last line of a tour that went well begins.
const TOUR_PASSED: &str = "tour passed";

/// Runs what the options ask for. A guest whose call fails makes the command fail, without a message of ours.
///
/// # Errors
/// The guest's file is no module; something is missing and may not be installed; the kernel does not build;
/// the machine ends in a way that is neither success nor the guest's failure; the report is missing or
/// damaged.
pub(crate) fn run(workspace: &Workspace, options: &RunOptions) -> Result<ExitCode> {
    let guest = options.file.as_deref().map(guest::load).transpose()?;
    let needs = [Need::Core(options.target.triple()), EMULATOR];
    setup::require(workspace, &needs, options.setup.missing_policy())?;
    match guest {
        Some(module) => {
            let session = Session::new(workspace, options.target, Image::Kernel)?;
            run_guest(&session, options, &module, |line| println!("{line}"))
        }
        None => take_tour(workspace, options),
    }
}

/// Runs a guest in a kernel that is built, and passes on its text line by line.
///
/// # Errors
/// The machine ends in a way that is neither success nor the guest's failure; the report is missing, damaged
/// or cannot be written.
pub(crate) fn run_guest(
    session: &Session,
    options: &RunOptions,
    module: &[u8],
    on_line: impl FnMut(&str),
) -> Result<ExitCode> {
    let mut words = options.invoke.iter().chain(&options.more_arguments).cloned();
    let invoke = words.next();
    let arguments: Vec<String> = words.collect();
    let request = Request::Run { invoke: invoke.as_deref(), arguments: &arguments };
    let ending = session.boot(machine(options), request, &[(GUEST, module)], on_line)?;
    let report = session.report();
    if let (Ok(report), Some(path)) = (&report, &options.json) {
        report.write(path)?;
    }
    guest_status(&ending, report)
}

fn take_tour(workspace: &Workspace, options: &RunOptions) -> Result<ExitCode> {
    let lodepng = programs::find(workspace, LODEPNG, options.setup.missing_policy())?;
    let modules: Vec<_> = lodepng.iter().map(|bytes| (LODEPNG.file, bytes.as_slice())).collect();
    let session = Session::new(workspace, options.target, Image::Kernel)?;
    let mut verdict = String::new();
    let ending = session.boot(machine(options), Request::Tour, &modules, |line| {
        println!("{line}");
        if !line.is_empty() {
            line.clone_into(&mut verdict);
        }
    })?;
    let status = tour_status(&ending, &verdict)?;
    if let Some(path) = &options.json {
        session.report()?.write(path)?;
    }
    Ok(status)
}

fn machine(options: &RunOptions) -> Machine {
    Machine {
        memory_mib: options.memory,
        accelerator: options.accel,
        clock: options.clock(),
        time_limit: Duration::from_secs(options.timeout),
    }
}

fn guest_status(ending: &Ending, report: Result<Report, ReportError>) -> Result<ExitCode> {
    match ending {
        Ending::Success => match report?.outcome() {
            Outcome::Returned => Ok(ExitCode::SUCCESS),
            Outcome::Trap | Outcome::Error => {
                bail!("the kernel ended with success, its report with a failure")
            }
        },
        Ending::GuestFailed => report.map(|_| ExitCode::FAILURE).map_err(Into::into),
        Ending::TimedOut(_) => bail!("{ending}: set another limit with --timeout"),
        Ending::KernelDied | Ending::Rebooted | Ending::Unknown(_) => bail!("{ending}"),
    }
}

fn tour_status(ending: &Ending, verdict: &str) -> Result<ExitCode> {
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

    fn report(outcome: &str) -> Result<Report, ReportError> {
        Report::parse(&format!(
            r#"{{"outcome":"{outcome}","results":[],"error":null,"memories":[],"free_frames_at_start":1,
            "free_frames_at_end":1,"instructions_to_instantiate":null,"instructions_to_run":null}}"#
        ))
    }

    #[test]
    fn status_and_report_together_make_a_success() -> Result<()> {
        assert_eq!(guest_status(&Ending::Success, report("returned"))?, ExitCode::SUCCESS);
        Ok(())
    }

    #[test]
    fn a_report_that_contradicts_the_status_is_an_error() {
        for report in [report("trap"), report("error"), Report::parse("")] {
            assert!(guest_status(&Ending::Success, report).is_err());
        }
    }

    #[test]
    fn a_failed_call_fails_the_command_without_another_message() -> Result<()> {
        assert_eq!(guest_status(&Ending::GuestFailed, report("trap"))?, ExitCode::FAILURE);
        assert_eq!(tour_status(&Ending::GuestFailed, "")?, ExitCode::FAILURE);
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
