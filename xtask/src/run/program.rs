//! Runs a program that is fetched or built first, or compares several runs of it.

use super::{advice, allocators, churn};
use super::{conclude, machine, require, with_world, write_json};
use crate::cli::RunOptions;
use anyhow::{Result, bail, ensure};
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
    /// Compresses short texts in forks of an initialized program: `--forks N`
    ZstdServer,
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
    if options.forks.is_some() {
        check_has_point(name)?;
    }
    if options.from.is_some() {
        check_can_continue(name)?;
    }
    require(workspace, options)?;
    let programs = Programs { workspace, policy: options.setup.missing_policy() };
    let status = match name {
        Name::Quickjs => run_single(&programs, options, Single::QuickJs)?,
        Name::Lodepng => run_single(&programs, options, Single::LodePng)?,
        Name::Webp => run_single(&programs, options, Single::WebP)?,
        Name::Python => run_single(&programs, options, Single::Python)?,
        Name::Zstd => run_single(&programs, options, Single::command(Program::Compress))?,
        Name::ZstdServer => run_single(&programs, options, Single::command(Program::CompressServer))?,
        Name::Sqlite => run_single(&programs, options, Single::command(Program::Sqlite))?,
        Name::Coremark => run_single(&programs, options, Single::command(Program::CoreMark))?,
        Name::MallocChurn => run_churn(&programs, options)?,
        Name::Allocators => run_allocators(&programs, options)?,
    };
    Ok(status.unwrap_or(ExitCode::FAILURE))
}

/// Checks that the program has a point between its initialization and its work. A snapshot is made
/// there, because no call may be active.
///
/// # Errors
/// It has none.
fn check_has_point(name: Name) -> Result<()> {
    let why = match name {
        Name::Quickjs | Name::ZstdServer => return Ok(()),
        Name::Python => {
            "its build is a command: one call of `_start` initializes CPython, runs the script and ends, and a \
             snapshot needs a store in which no call is active"
        }
        Name::Lodepng | Name::Webp | Name::Zstd | Name::Sqlite | Name::Coremark => {
            "it is a command: one call of `_start` does everything, and a snapshot needs a store in which no call \
             is active"
        }
        Name::MallocChurn | Name::Allocators => "it compares several runs of guests that are not snapshotted",
    };
    let value = name.to_possible_value().expect("no name is hidden");
    bail!(
        "`--program {}` cannot be forked: {why}; use `--program quickjs` or `--program zstd-server`",
        value.get_name()
    )
}

/// Checks that the program is the one that `cargo xtask snapshot` initializes.
///
/// # Errors
/// It is another one.
fn check_can_continue(name: Name) -> Result<()> {
    ensure!(
        name == Name::Quickjs,
        "`--from` continues QuickJS, which `cargo xtask snapshot` has initialized: use `--program quickjs`"
    );
    Ok(())
}

fn run_single(programs: &Programs<'_>, options: &RunOptions, single: Single) -> Result<Option<ExitCode>> {
    let Some(job) = programs.job(single, &options.more_arguments)? else { return Ok(None) };
    let job = with_world(job, options)?;
    let session = session(programs, options)?;
    let ending = job.boot_aloud(&session, machine(options))?;
    let status = conclude(&session, options, &ending)?;
    advice::print(&session, &job.module);
    Ok(Some(status))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_cannot_be_forked_is_refused_with_the_reason() {
        let servers = [Name::Quickjs, Name::ZstdServer];
        assert!(servers.iter().all(|name| check_has_point(*name).is_ok()));
        for name in Name::value_variants().iter().filter(|name| !servers.contains(name)) {
            let error = check_has_point(*name).expect_err("it has no such point").to_string();
            assert!(error.contains("cannot be forked: it"), "{error}");
        }
        let error = check_has_point(Name::Python).expect_err("it is a command").to_string();
        assert!(error.contains("--program python") && error.contains("`_start`"), "{error}");
    }

    #[test]
    fn only_the_program_that_is_snapshotted_can_continue() {
        for name in Name::value_variants() {
            assert_eq!(check_can_continue(*name).is_ok(), *name == Name::Quickjs, "{name:?}");
        }
    }
}
