//! Runs a program that is fetched or built first, or compares several runs of it.

use super::{allocators, churn};
use super::{conclude, machine, require, with_world, write_json};
use crate::cli::RunOptions;
use anyhow::{Result, ensure};
use clap::ValueEnum;
use palimpsest_guest_recipes::guest::Program;
use palimpsest_guest_recipes::programs::{Programs, Single};
use palimpsest_host::boot::Session;
use palimpsest_host::kernel::Image;
use palimpsest_host::workspace::Workspace;
use std::process::ExitCode;

/// The names for `--program`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Name {
    /// A JavaScript engine: `-- -e SCRIPT`, or `--dir DIR -- FILE`
    Quickjs,
    /// Decodes a PNG picture: a default one, or `--dir DIR -- FILE`
    Lodepng,
    /// Decodes a WebP picture: a default one, or `--dir DIR -- FILE`
    Webp,
    /// CPython: `-- -c SCRIPT`, or `--dir DIR -- FILE`
    Python,
    /// Compresses and decompresses a file: a default one, or `--dir DIR -- FILE /tmp`
    Zstd,
    /// Fills, queries and checks a database: `-- [FILE [ROWS]]`
    Sqlite,
    /// A benchmark with its own check: `-- [ITERATIONS]`
    Coremark,
    /// Frames over time of a program that allocates and frees, linked in three ways: `-- [MIB]`
    MallocChurn,
    /// Patterns of allocation with three allocators: `-- [OPERATIONS]`
    Allocators,
}

/// Runs the program. If it is not available, the reason has been printed and the command fails.
///
/// # Errors
/// As [`run`](super::run); or a program does not compile, or a comparison fails.
pub(super) fn run(workspace: &Workspace, options: &RunOptions, name: Name) -> Result<ExitCode> {
    ensure!(
        options.forks.is_none() && options.from.is_none() || name == Name::Quickjs,
        "snapshots are made of QuickJS only: use --program quickjs"
    );
    require(workspace, options)?;
    let programs = Programs { workspace, policy: options.setup.missing_policy() };
    let status = match name {
        Name::Quickjs => run_single(&programs, options, Single::QuickJs)?,
        Name::Lodepng => run_single(&programs, options, Single::LodePng)?,
        Name::Webp => run_single(&programs, options, Single::WebP)?,
        Name::Python => run_single(&programs, options, Single::Python)?,
        Name::Zstd => run_single(&programs, options, Single::command(Program::Compress))?,
        Name::Sqlite => run_single(&programs, options, Single::command(Program::Sqlite))?,
        Name::Coremark => run_single(&programs, options, Single::command(Program::CoreMark))?,
        Name::MallocChurn => run_churn(&programs, options)?,
        Name::Allocators => run_allocators(&programs, options)?,
    };
    Ok(status.unwrap_or(ExitCode::FAILURE))
}

fn run_single(programs: &Programs<'_>, options: &RunOptions, single: Single) -> Result<Option<ExitCode>> {
    let Some(job) = programs.job(single, &options.more_arguments)? else { return Ok(None) };
    let job = with_world(job, options)?;
    let session = session(programs, options)?;
    let ending = job.boot_aloud(&session, machine(options))?;
    conclude(&session, options, &ending).map(Some)
}

fn run_churn(programs: &Programs<'_>, options: &RunOptions) -> Result<Option<ExitCode>> {
    let session = session(programs, options)?;
    let words = &options.more_arguments;
    let Some(comparison) = churn::Comparison::make(programs, &session, machine(options), words)? else {
        return Ok(None);
    };
    print!("{comparison}");
    write_json(options, &comparison.to_json())?;
    comparison.judge().map(|()| Some(ExitCode::SUCCESS))
}

fn run_allocators(programs: &Programs<'_>, options: &RunOptions) -> Result<Option<ExitCode>> {
    let session = session(programs, options)?;
    let words = &options.more_arguments;
    let Some(comparison) = allocators::Comparison::make(programs, &session, machine(options), words)? else {
        return Ok(None);
    };
    print!("{comparison}");
    write_json(options, &comparison.to_json())?;
    Ok(Some(ExitCode::SUCCESS))
}

fn session(programs: &Programs<'_>, options: &RunOptions) -> Result<Session> {
    Session::new(programs.workspace, options.target, Image::KERNEL)
}
