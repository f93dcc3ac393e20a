//! `cargo xtask fuzz`: runs the fuzz targets with pseudorandom inputs from a seed.
//!
//! The targets are in `fuzz/`, which is a separate workspace. Its program `seeded` runs them and
//! saves an input that fails.

use crate::cli::FuzzOptions;
use anyhow::{Context, Result};
use palimpsest_host::workspace::Workspace;
use std::ffi::OsString;
use std::path::absolute;
use std::process::ExitCode;

/// Builds `seeded` with all checks, and without libFuzzer, which needs a C++ compiler.
const COMMAND: &str =
    "run --quiet --release --manifest-path=fuzz/Cargo.toml --no-default-features --bin=seeded";

/// Runs the chosen inputs.
///
/// # Errors
/// Cargo cannot be started, or the current directory is gone.
pub(crate) fn run(workspace: &Workspace, options: &FuzzOptions) -> Result<ExitCode> {
    let mut words: Vec<OsString> = COMMAND.split_ascii_whitespace().map(OsString::from).collect();
    if options.wasmtime {
        words.push("--features=wasmtime".into());
    }
    words.push("--".into());
    words.extend(arguments(options)?);
    let ran = workspace.cargo(words, &[]).unchecked().run().context("cannot start cargo")?;
    let code = ran.status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Returns the arguments of `seeded`.
fn arguments(options: &FuzzOptions) -> Result<Vec<OsString>> {
    let target = options.target.as_deref().unwrap_or("all");
    if let Some(input) = &options.input {
        // Cargo is started at the root.
        let input = absolute(input).context("cannot find the current directory")?;
        return Ok(vec![target.into(), "input".into(), input.into()]);
    }
    let bound = match (options.runs, options.minutes) {
        (Some(runs), _) => vec!["runs".to_owned(), runs.to_string()],
        (None, Some(minutes)) => vec!["seconds".to_owned(), (60 * u64::from(minutes)).to_string()],
        (None, None) => vec!["bounded".to_owned()],
    };
    Ok([target.to_owned(), options.seed.to_string()].into_iter().chain(bound).map(OsString::from).collect())
}
