//! Runs the user's own file: calls one of its functions, or runs it as a program.

use super::{advice, conclude, machine, require, with_world};
use crate::cli::RunOptions;
use crate::guest;
use anyhow::{Result, ensure};
use palimpsest_host::boot::Session;
use palimpsest_host::job::Job;
use palimpsest_host::kernel::Image;
use palimpsest_host::protocol::{Driver, Entry};
use palimpsest_host::workspace::Workspace;
use std::path::Path;
use std::process::ExitCode;

/// Runs the file.
///
/// # Errors
/// As [`run`](super::run).
pub(super) fn run(workspace: &Workspace, options: &RunOptions, file: &Path) -> Result<ExitCode> {
    let job = file_job(options, file)?;
    require(workspace, options)?;
    let session = Session::new(workspace, options.target, Image::KERNEL)?;
    let ending = job.boot_aloud(&session, machine(options))?;
    let status = conclude(&session, options, &ending)?;
    advice::print(&session, guest::binary(&job.module));
    Ok(status)
}

/// Makes the file a job. It is a program if it imports WASI and exports
/// `_start`, and the options name no function.
///
/// # Errors
/// - The file is not a module.
/// - There are arguments without a function, and the file is not a program.
/// - Forks are requested without a function, or with other arguments than their number.
/// - The directory or the input that the options name cannot be read.
pub(crate) fn file_job(options: &RunOptions, file: &Path) -> Result<Job> {
    let module = guest::load(file)?;
    ensure!(
        options.forks.is_none() || options.invoke.len() == 1 && options.more_arguments.is_empty(),
        "name the function of the forks with --invoke, without arguments: it gets the number of its fork"
    );
    let mut words = options.invoke.iter().chain(&options.more_arguments).cloned();
    let entry = if !options.invoke.is_empty() {
        Entry::Call { invoke: words.next() }
    } else if guest::is_program(&module) {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Entry::Program { driver: Driver::Command, name }
    } else {
        ensure!(
            options.more_arguments.is_empty(),
            "{} is not a program, because it does not import WASI and export `_start`: name the function that \
             takes the words with --invoke",
            file.display()
        );
        Entry::Call { invoke: None }
    };
    let mut job = Job::new(module, entry);
    job.run.arguments = words.collect();
    with_world(job, options)
}
