//! `cargo xtask snapshot`: initializes QuickJS in a freshly booted kernel, and writes a snapshot of
//! it to a file.

use crate::cli::SnapshotOptions;
use anyhow::{Context, Result};
use palimpsest_guest_recipes::programs::{Programs, Single};
use palimpsest_host::archive;
use palimpsest_host::boot::{DEFAULT_MEMORY_MIB, Session};
use palimpsest_host::job::Job;
use palimpsest_host::kernel::Image;
use palimpsest_host::protocol::SnapshotUse;
use palimpsest_host::qemu::{Accelerator, Clock, Machine, Setting};
use palimpsest_host::recording::Recording;
use palimpsest_host::setup::{self, EMULATOR, Need};
use palimpsest_host::workspace::Workspace;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

const TIME_LIMIT: Duration = Duration::from_secs(300);

/// Runs the command, and prints the size of the snapshot beside that of the memory. If QuickJS is
/// not available, the reason has been printed and the command fails.
///
/// # Errors
/// - Something is missing and may not be installed, or the kernel does not build.
/// - Those of [`write()`].
pub(crate) fn run(workspace: &Workspace, options: &SnapshotOptions) -> Result<ExitCode> {
    let policy = options.setup.missing_policy();
    setup::require(workspace, &[Need::Core(options.target.triple()), EMULATOR], policy)?;
    let programs = Programs { workspace, policy };
    let Some(mut job) = programs.job(Single::QuickJs, &[])? else { return Ok(ExitCode::FAILURE) };
    if let Some(directory) = &options.dir {
        let packed = archive::pack_directory(directory)?;
        super::report_skipped(&packed.skipped);
        job.root = Some(packed.archive);
    }
    let session = Session::new(workspace, options.target, Image::KERNEL)?;
    let recording = write(&session, machine(), job, &options.file)?;
    let path = options.file.display();
    let wasm_pages = recording.report.sum(|memory| memory.size_wasm_pages);
    println!("{path}: {} bytes, of a memory of {wasm_pages} Wasm pages", recording.output.len());
    Ok(ExitCode::SUCCESS)
}

/// Writes a snapshot of what `job` initializes to `file`.
///
/// # Errors
/// It is not initialized, or the file cannot be written.
pub(crate) fn write(session: &Session, machine: Machine, mut job: Job, file: &Path) -> Result<Recording> {
    job.run.snapshot = Some(SnapshotUse::Write);
    let recording = Recording::make(session, machine, &job)?.successful()?;
    fs::write(file, &recording.output).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(recording)
}

fn machine() -> Machine {
    Machine {
        memory_mib: DEFAULT_MEMORY_MIB,
        cpus: 1,
        accelerator: Accelerator::Tcg,
        clock: Clock::Host,
        time_limit: TIME_LIMIT,
        setting: Setting::Trying,
    }
}
