//! The specification's tests, which the package `palimpsest-spec-host` runs and judges.

use anyhow::{Context, Result};
use duct::Expression;
use palimpsest_host::kernel::Target;
use palimpsest_host::progress;
use palimpsest_host::setup::MissingPolicy;
use palimpsest_host::tally::Tally;
use palimpsest_host::workspace::Workspace;
use std::io::{BufRead, BufReader};
use std::process::ExitCode;

/// Runs the tests with a line for each file of tests. The totals are the last line.
///
/// # Errors
/// Cargo cannot be started.
pub(super) fn run_aloud(
    workspace: &Workspace,
    target: Target,
    cpus: u32,
    policy: MissingPolicy,
) -> Result<ExitCode> {
    let command = command(workspace, target, cpus, policy, &["--files"]);
    let status = command.unchecked().run().context("cannot start cargo")?.status;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the tests and returns their count. A program that ends without a count is one failure.
///
/// # Errors
/// Cargo cannot be started, or its output cannot be read.
pub(super) fn run(workspace: &Workspace, target: Target, cpus: u32, policy: MissingPolicy) -> Result<Tally> {
    let command = command(workspace, target, cpus, policy, &[]).unchecked();
    let output = command.reader().context("cannot start cargo")?;
    let mut counted = None;
    for line in BufReader::new(&output).lines() {
        let line = line.context("cannot read the output of the specification's tests")?;
        match line.parse::<Tally>() {
            Ok(tally) => counted = Some(tally),
            Err(_) => println!("{line}"),
        }
    }
    let status = output.try_wait()?.context("cargo closed its output but did not end")?.status;
    let mut tally = counted.unwrap_or_default();
    if status.success() != tally.is_success() {
        let reason = format!("ended with {status}, but counted {tally}");
        tally.fail(&format_args!("spec/{target}"), &reason, "");
    }
    Ok(tally)
}

fn command(
    workspace: &Workspace,
    target: Target,
    cpus: u32,
    policy: MissingPolicy,
    options: &[&str],
) -> Expression {
    let (target, cpus) = (format!("--target={target}"), format!("--cpus={cpus}"));
    let mut words = vec!["run", "--quiet", "--bin", "spec-judge", "--", &target, &cpus];
    words.extend(match policy {
        MissingPolicy::Install => None,
        MissingPolicy::Refuse => Some("--no-setup"),
    });
    words.extend(progress::is_quiet().then_some("--quiet"));
    words.extend(options);
    workspace.cargo(words, &[])
}
