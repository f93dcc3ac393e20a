//! `cargo xtask test`: the tests of this machine, those in the emulator, and the specification's on both.
//!
//! Owns which of them run. All of them run even if some fail; the last line counts them. [`judge`] and
//! [`plan`] are pure and tested beside their code; [`vm`] also tests the runner itself, with kernels that
//! must be seen to fail; [`run_cases`] tests what the users of `cargo xtask run` meet, [`program_cases`] that real
//! programs do what they do elsewhere.

mod host;
mod judge;
mod plan;
mod program_cases;
mod run_cases;
mod solo;
mod vm;

use crate::cli::TestOptions;
use crate::spec::{self, Detail, Verdict};
use anyhow::{Result, ensure};
use palimpsest_host::kernel::Target;
use palimpsest_host::setup::MissingPolicy;
use palimpsest_host::tally::Tally;
use palimpsest_host::workspace::Workspace;
use std::process::ExitCode;

pub(crate) use host::run as run_host;

/// Runs what the options ask for and prints the count.
///
/// # Errors
/// The tests could not be run at all: something is missing and may not be installed, or no test has the given
/// name. A test that fails is not an error but a count.
pub(crate) fn run(workspace: &Workspace, options: &TestOptions) -> Result<ExitCode> {
    let policy = options.setup.missing_policy();
    let filter = options.vm.iter().flatten().map(String::as_str).next().unwrap_or_default();
    if options.spec {
        return run_spec(workspace, options);
    }
    let tally = if options.host {
        run_host(workspace)?
    } else if options.vm.is_some() {
        run_vm(workspace, options.target, filter, policy)?
    } else {
        run_all(workspace, options.target, policy)?
    };
    println!("{tally}");
    Ok(tally.exit_code())
}

/// Runs everything that there is.
///
/// # Errors
/// As [`run`].
pub(crate) fn run_all(workspace: &Workspace, target: Target, policy: MissingPolicy) -> Result<Tally> {
    let mut tally = run_host(workspace)?;
    tally += run_vm(workspace, target, "", policy)?;
    tally += spec::run(workspace, target, Detail::Totals, policy)?.tally;
    Ok(tally)
}

/// The specification's tests alone, with a figure per file; the kernel's totals come last.
fn run_spec(workspace: &Workspace, options: &TestOptions) -> Result<ExitCode> {
    let policy = options.setup.missing_policy();
    let Verdict { tally, totals } = spec::run(workspace, options.target, Detail::Files, policy)?;
    println!("{tally}");
    if let Some(totals) = totals {
        println!("{totals}");
    }
    Ok(tally.exit_code())
}

/// Runs the tests in the emulator whose name contains `filter`, a line each.
///
/// # Errors
/// Something is missing and may not be installed, QEMU cannot be started, or no test has such a name.
pub(crate) fn run_vm(
    workspace: &Workspace,
    target: Target,
    filter: &str,
    policy: MissingPolicy,
) -> Result<Tally> {
    let mut tally = vm::run(workspace, target, filter, policy)?;
    tally += run_cases::run(workspace, target, filter)?;
    // The portable dispatch takes minutes for them: on that target they run when they are asked for.
    if target == Target::Gnu || !filter.is_empty() {
        tally += program_cases::run(workspace, target, filter, policy)?;
    }
    ensure!(tally != Tally::default(), "no emulator test has `{filter}` in its name");
    Ok(tally)
}

/// Prints what a passed test has printed, if the tests were chosen by a `filter`: who asks for one by name wants
/// to see it. A failed test always shows it.
fn show(filter: &str, output: &str) {
    for line in output.lines().filter(|_| !filter.is_empty()) {
        println!("    {line}");
    }
}
