//! `cargo xtask`: sets up, runs, tests and checks this repository.
//!
//! The exit status is 0 on success, 1 on failure, and 2 for a wrong command line. A failure prints
//! one line on standard error, unless the kernel has already printed the reason. A guest that ends
//! with another exit code passes it on. A user of the crates needs nothing from here.

mod ci;
mod cli;
mod deny;
mod fuzz;
mod guest;
mod iso;
mod miri;
mod mutants;
mod prose;
mod real_files;
mod run;
mod soak;
mod test_runner;

use anyhow::Context;
use clap::Parser;
use cli::{Cli, Command};
use palimpsest_host::progress;
use palimpsest_host::setup;
use palimpsest_host::workspace::Workspace;
use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    match execute(Cli::parse()) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(cli: Cli) -> anyhow::Result<ExitCode> {
    let workspace = Workspace::locate()?;
    if cli.quiet {
        progress::set_quiet();
    }
    match cli.command {
        Command::Setup => setup::install_everything(&workspace).map(|()| ExitCode::SUCCESS),
        Command::Run(options) => run::run(&workspace, &options),
        Command::Snapshot(options) => run::snapshot::run(&workspace, &options),
        Command::Test(options) => test_runner::run(&workspace, &options),
        Command::Bench { words } => run_binary(&workspace, "bench-host", &words),
        Command::Prepare { words } => run_binary(&workspace, "palimpsest-prepare", &words),
        Command::Iso(options) => iso::run(&workspace, &options),
        Command::Soak(options) => soak::run(&workspace, &options),
        Command::Ci(options) => ci::run(&workspace, &options),
        Command::RealFiles(options) => real_files::run(&workspace, &options),
        Command::Fuzz(options) => fuzz::run(&workspace, &options),
        Command::Miri => miri::run(&workspace),
        Command::Mutants { filter } => mutants::run(&workspace, &filter),
        Command::Deny => deny::run(&workspace),
        Command::Prose(options) => prose::run(&workspace, &options),
    }
}

/// Runs the binary of another package. The benchmark and the preparation of guests are others, so
/// that the other commands compile none of the crates that only these need. Without the package's
/// name cargo unites the features of all default members, so `cargo test` shares the compiled
/// crates. cargo starts it at the root, so the directory that relative paths start from is passed
/// in a variable.
fn run_binary(workspace: &Workspace, name: &str, words: &[OsString]) -> anyhow::Result<ExitCode> {
    let command = ["run", "--quiet", "--bin", name, "--"].map(OsString::from);
    let here = env::current_dir().context("cannot find the current directory")?;
    let command = workspace.cargo(command.iter().chain(words), &[]).env("PALIMPSEST_DIRECTORY", here);
    let ran = command.unchecked().run();
    let status = ran.context("cannot start cargo")?.status;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
