//! `cargo xtask run`: a guest, a program that is fetched or built first, or the tour, in a freshly
//! booted kernel.
//!
//! The steps are the same for a [`guest`], a [`program`] and the [`tour`]: read the guest, install
//! what is missing, build the kernel, boot it, and turn the ending into a [`status`]. The kernel
//! itself prints what went wrong inside the guest.

pub(crate) mod advice;
pub(crate) mod allocators;
pub(crate) mod churn;
mod guest;
mod program;
pub(crate) mod snapshot;
mod status;
mod table;
mod tour;

use crate::cli::RunOptions;
use anyhow::{Context, Result};
use palimpsest_host::archive::{self, Skipped};
use palimpsest_host::job::Job;
use palimpsest_host::protocol::SnapshotUse;
use palimpsest_host::qemu::{Machine, Setting};
use palimpsest_host::setup::{self, EMULATOR, Need};
use palimpsest_host::workspace::Workspace;
use serde::Serialize;
use std::fs;
use std::process::ExitCode;
use std::time::Duration;

pub(crate) use guest::file_job;
pub(crate) use program::Name;
pub(crate) use status::conclude;

/// Runs what the options select. If the guest's call fails, the command fails without another
/// message.
///
/// # Errors
/// - The guest's file is not a module.
/// - Something is missing and may not be installed, or the kernel does not build.
/// - The machine ends with neither success nor the guest's failure.
/// - The report is missing or damaged.
pub(crate) fn run(workspace: &Workspace, options: &RunOptions) -> Result<ExitCode> {
    match (&options.file, options.program) {
        (Some(file), _) => guest::run(workspace, options, file),
        (None, Some(name)) => program::run(workspace, options, name),
        (None, None) => tour::run(workspace, options),
    }
}

/// Ensures that the kernel can be built and booted.
fn require(workspace: &Workspace, options: &RunOptions) -> Result<()> {
    let needs = [Need::Core(options.target.triple()), EMULATOR];
    setup::require(workspace, &needs, options.setup.missing_policy())
}

/// Gives the guest the environment, the limits, the directory and the input that the options name.
///
/// # Errors
/// The directory or the file cannot be read.
pub(crate) fn with_world(mut job: Job, options: &RunOptions) -> Result<Job> {
    job.run.environment.clone_from(&options.env);
    job.run.limits.clone_from(&options.limit);
    job.run.snapshot = options.forks.map(SnapshotUse::Forks);
    if let Some(path) = &options.from {
        let remedy = || format!("cannot read {0}; write it with `cargo xtask snapshot {0}`", path.display());
        job.snapshot = Some(fs::read(path).with_context(remedy)?);
        job.run.snapshot = Some(SnapshotUse::Read);
    }
    if let Some(directory) = &options.dir {
        let packed = archive::pack_directory(directory)?;
        report_skipped(&packed.skipped);
        job.root = Some(packed.archive);
    }
    if let Some(path) = &options.stdin {
        let input = fs::read(path);
        job.input = Some(input.with_context(|| format!("cannot read {}", path.display()))?);
    }
    Ok(job)
}

/// The limit of lines about what a directory has and the guest does not see.
const SKIPPED_MAX: usize = 20;

/// Prints what the guest does not see of its directory.
fn report_skipped(skipped: &[Skipped]) {
    for entry in skipped.iter().take(SKIPPED_MAX) {
        eprintln!("{entry}");
    }
    if skipped.len() > SKIPPED_MAX {
        eprintln!("{} more entries are skipped", skipped.len() - SKIPPED_MAX);
    }
}

/// The virtual machine that the options describe.
pub(crate) fn machine(options: &RunOptions) -> Machine {
    Machine {
        memory_mib: options.memory,
        cpus: options.cpus,
        accelerator: options.accel,
        clock: options.clock(),
        time_limit: Duration::from_secs(options.timeout),
        setting: Setting::Trying,
    }
}

/// Writes `report` as indented JSON to the path that the options give, if they give one.
///
/// # Errors
/// The file cannot be written.
fn write_json(options: &RunOptions, report: &impl Serialize) -> Result<()> {
    let Some(path) = &options.json else { return Ok(()) };
    let json = serde_json::to_string_pretty(report).expect("a report has string keys and finite depth");
    fs::write(path, json + "\n").with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use palimpsest_host::protocol::Entry;

    #[test]
    fn a_snapshot_that_is_missing_is_an_error_with_the_command_that_writes_it() -> Result<()> {
        let words = ["--program", "quickjs", "--from", "no/such/file"].map(Into::into);
        let job = Job::new(Vec::new(), Entry::Call { invoke: None });
        let error = with_world(job, &RunOptions::parse(words)?).expect_err("the file is missing");
        let text = format!("{error:#}");
        let expected = "cannot read no/such/file; write it with `cargo xtask snapshot no/such/file`: ";
        assert!(text.starts_with(expected), "{text}");
        Ok(())
    }
}
