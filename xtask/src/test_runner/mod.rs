//! `cargo xtask test`: the tests of this machine, and those in the emulator.
//!
//! Owns which of the two run. All of them run even if some fail; the last line counts them. [`judge`] and
//! [`plan`] are pure and tested beside their code; [`vm`] also tests the runner itself, with kernels that
//! must be seen to fail.

mod host;
mod judge;
mod plan;
mod vm;

use crate::cli::TestOptions;
use crate::workspace::Workspace;
use anyhow::Result;
use std::process::ExitCode;

pub(crate) use host::run as run_host;
pub(crate) use vm::run as run_vm;

/// Runs what the options ask for and prints the count.
///
/// # Errors
/// The tests could not be run at all: something is missing and may not be installed, or no test has the given
/// name. A test that fails is not an error but a count.
pub(crate) fn run(workspace: &Workspace, options: &TestOptions) -> Result<ExitCode> {
    let policy = options.setup.missing_policy();
    let filter = options.vm.iter().flatten().map(String::as_str).next().unwrap_or_default();
    let tally = if options.host {
        run_host(workspace)?
    } else if options.vm.is_some() {
        run_vm(workspace, options.target, filter, policy)?
    } else {
        let mut tally = run_host(workspace)?;
        tally += run_vm(workspace, options.target, filter, policy)?;
        tally
    };
    println!("{tally}");
    Ok(tally.exit_code())
}
