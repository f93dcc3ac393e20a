//! `cargo xtask test`: the tests of this machine, those in the emulator, and the specification's on
//! both.
//!
//! All tests run even if some fail, and the last line counts them. [`vm`] also tests the runner
//! itself, with kernels that must be reported as failed. [`run_cases`] tests `cargo xtask run`, and
//! [`program_cases`] compares real programs with their runs under another runtime.

mod firmware;
mod host;
mod hostile;
mod images;
mod judge;
mod plan;
mod program_cases;
mod run_cases;
mod solo;
mod spec;
mod vm;

use crate::cli::TestOptions;
use anyhow::{Result, ensure};
use palimpsest_host::boot::Session;
use palimpsest_host::kernel::{Image, Target};
use palimpsest_host::setup::MissingPolicy;
use palimpsest_host::tally::Tally;
use palimpsest_host::workspace::Workspace;
use std::fmt;
use std::process::ExitCode;
use std::thread;

pub(crate) use host::run as run_host;
pub(crate) use images::Images;

/// Runs what the options ask for and prints the count.
///
/// # Errors
/// Something is missing and may not be installed, or no test has the given name. A test that fails
/// is counted and is not an error.
pub(crate) fn run(workspace: &Workspace, options: &TestOptions) -> Result<ExitCode> {
    let policy = options.setup.missing_policy();
    let filter = options.vm.iter().flatten().map(String::as_str).next().unwrap_or_default();
    if options.spec {
        return spec::run_aloud(workspace, options.target, options.cpus, policy);
    }
    let tally = if options.host {
        run_host(workspace)?
    } else if let Some(name) = &options.hostile {
        hostile::run(workspace, options.target, name.as_deref().unwrap_or_default(), policy)?
    } else if options.vm.is_some() {
        run_vm(workspace, options.target, filter, options.cpus, policy)?
    } else {
        run_all(workspace, options.target, options.cpus, policy)?
    };
    println!("{tally}");
    Ok(tally.exit_code())
}

/// Runs all tests. The kernels of [`solo`] and the specification's tests use one CPU each, so they
/// come last, at the same time.
///
/// # Errors
/// As [`run`].
pub(crate) fn run_all(
    workspace: &Workspace,
    target: Target,
    cpus: u32,
    policy: MissingPolicy,
) -> Result<Tally> {
    let mut tally = run_host(workspace)?;
    tally += run_several(workspace, target, "", cpus, policy)?;
    let (spec, solo) = thread::scope(|scope| {
        let spec = scope.spawn(|| spec::run(workspace, target, cpus, policy));
        let solo = run_solo(workspace, target, "", cpus, policy);
        (spec.join().expect("the thread has nothing that panics"), solo)
    });
    tally += solo?;
    tally += spec?;
    Ok(tally)
}

/// Runs the tests in the emulator whose name contains `filter`, a line each. Each machine has at
/// least `cpus` CPUs.
///
/// # Errors
/// Something is missing and may not be installed, QEMU cannot be started, or no name contains
/// `filter`.
pub(crate) fn run_vm(
    workspace: &Workspace,
    target: Target,
    filter: &str,
    cpus: u32,
    policy: MissingPolicy,
) -> Result<Tally> {
    let mut tally = run_several(workspace, target, filter, cpus, policy)?;
    tally += run_solo(workspace, target, filter, cpus, policy)?;
    ensure!(tally != Tally::default(), "no emulator test for {cpus} CPUs has `{filter}` in its name");
    Ok(tally)
}

/// Runs those that are boots of a few images.
fn run_several(
    workspace: &Workspace,
    target: Target,
    filter: &str,
    cpus: u32,
    policy: MissingPolicy,
) -> Result<Tally> {
    let mut tally = Tally::default();
    if is_default(target, cpus) {
        tally += firmware::run(workspace, filter, policy, |line| show(filter, line))?;
    }
    let chosen = |name: &str| name.contains(filter);
    tally += vm::run(workspace, target, &chosen, cpus, policy, |_, line| show(filter, line))?;
    tally += run_cases::run(workspace, target, filter, cpus)?;
    // The portable dispatch takes minutes for them: on that target they run when they are asked
    // for.
    if target == Target::Gnu || !filter.is_empty() {
        tally += program_cases::run(workspace, target, filter, cpus, policy)?;
    }
    Ok(tally)
}

/// Runs those with a kernel each.
fn run_solo(
    workspace: &Workspace,
    target: Target,
    filter: &str,
    cpus: u32,
    policy: MissingPolicy,
) -> Result<Tally> {
    if is_default(target, cpus) {
        solo::run(workspace, filter, policy, |line| show(filter, line))
    } else {
        Ok(Tally::default())
    }
}

/// Whether these are the default options. Boards and the kernels of [`solo`] have their own
/// targets, and one CPU each, so they are tested with the default options only.
const fn is_default(target: Target, cpus: u32) -> bool {
    matches!(target, Target::Gnu) && cpus == 1
}

/// Builds an image and prepares its boots. A failure counts as the failed test `name`.
fn session(
    workspace: &Workspace,
    target: Target,
    image: Image,
    name: &dyn fmt::Display,
    tally: &mut Tally,
) -> Option<Session> {
    Session::new(workspace, target, image)
        .inspect_err(|error| tally.fail(name, &format_args!("{error:#}"), ""))
        .ok()
}

/// Prints the output of a passed test if the tests were chosen by a `filter`. The output of a
/// failed test is always printed.
fn show(filter: &str, output: &str) {
    for line in output.lines().filter(|_| !filter.is_empty()) {
        println!("    {line}");
    }
}
