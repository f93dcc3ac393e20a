//! Tests `cargo xtask run` from the user's side: for a command line, the exit status, the text, the
//! JSON report, and what a program writes.
//!
//! The words of a case are parsed as `run`'s own command line, and the same functions load and run
//! its guest. Words that begin with `guests/` are paths in the repository. The cases are in
//! [`table`], and [`judge`](mod@judge) decides whether one passed.

mod failure;
mod judge;
mod table;

use super::show;
use crate::cli::RunOptions;
use crate::run;
use anyhow::{Context, Result};
use judge::{Attempt, judge};
use palimpsest_host::boot::{Session, Streams};
use palimpsest_host::kernel::{Image, Target};
use palimpsest_host::progress::Progress;
use palimpsest_host::tally::{Tally, Timed};
use palimpsest_host::workers;
use palimpsest_host::workspace::Workspace;
use serde_json::Value;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;
use table::{Case, Guest};

/// The time limit of a guest in seconds, unless its case has a smaller one.
const TIME_LIMIT_SECONDS: u64 = 60;

/// Runs the cases whose name contains `filter`, a line each, as many at a time as this machine has
/// CPUs for. Each is on a machine with `cpus` CPUs. On several, those that count instructions are
/// left out.
///
/// # Errors
/// A file cannot be read or written, or the words of a case are not a command line.
pub(super) fn run(workspace: &Workspace, target: Target, filter: &str, cpus: u32) -> Result<Tally> {
    let mut tally = Tally::default();
    let (chosen, uncounted): (Vec<_>, Vec<&Case>) = table::all()
        .filter(|case| case.name.contains(filter))
        .partition(|case| cpus == 1 || !case.words.contains(&"--icount"));
    for case in uncounted {
        println!("left out run/{target}/{}: it counts the instructions of one CPU", case.name);
    }
    if chosen.is_empty() {
        return Ok(tally);
    }
    let name = format!("run/{target}/build");
    let session = super::session(workspace, target, Image::KERNEL, &name, &mut tally);
    let Some(session) = session else { return Ok(tally) };
    let sessions = session.into_several(workers::count().div_ceil(cpus as usize))?;
    let progress = |done| Progress::new(&format!("run/{target}: {done} of {} cases", chosen.len()));
    let (mut done, mut waiting) = (0, progress(0));
    let attempt = |session: &Session, case: &&Case| {
        let start = Instant::now();
        (attempt(workspace, session, target, case, cpus), start.elapsed())
    };
    workers::share(&sessions, &chosen, attempt, |case, (attempt, elapsed)| {
        waiting.finish();
        let name = format!("run/{target}/{}", case.name);
        let attempt = attempt.with_context(|| format!("cannot try {name}"))?;
        let name = Timed(&name, elapsed);
        match judge(&case.expected, &attempt) {
            Ok(()) => {
                tally.pass(&name);
                show(filter, &attempt.console);
            }
            Err(failure) => tally.fail(&name, &failure, &attempt.console),
        }
        done += 1;
        waiting = progress(done);
        anyhow::Ok(())
    })?;
    drop(waiting);
    Ok(tally)
}

/// Does what `cargo xtask run` does with the words of `case`, on a machine with `cpus` CPUs.
fn attempt(
    workspace: &Workspace,
    session: &Session,
    target: Target,
    case: &Case,
    cpus: u32,
) -> Result<Attempt> {
    let file = guest_file(workspace, session, case.guest)?;
    let report = session.directory().join(format!("{}.json", case.name));
    let mut options = RunOptions::parse(command_line(workspace, &file, &report, target, case.words))?;
    options.timeout = options.timeout.min(TIME_LIMIT_SECONDS);
    options.cpus = cpus;
    let (mut console, mut output, mut errors) = (String::new(), Vec::new(), Vec::new());
    let status = run::file_job(&options, &file).and_then(|job| {
        let streams = Streams {
            console: &mut |line| console.extend([line, "\n"]),
            output: &mut output,
            errors: &mut errors,
        };
        let ending = job.boot(session, run::machine(&options), streams)?;
        run::conclude(session, &options, &ending)
    });
    Ok(Attempt { clock: options.clock(), status, console, output, errors, report: read_report(&report)? })
}

/// Returns what was written for `--json`, if anything was.
fn read_report(path: &Path) -> Result<Option<Value>> {
    if !path.exists() {
        return Ok(None);
    }
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).map(Some).context("what `--json` wrote is not JSON")
}

/// Returns the path of the guest. A guest that is not in the repository is prepared or written
/// first.
fn guest_file(workspace: &Workspace, session: &Session, guest: Guest) -> Result<PathBuf> {
    match guest {
        Guest::Source(name) => Ok(source(workspace, name)),
        Guest::Prepared(name, options) => {
            let path = session.directory().join(name).with_extension("palimpsest");
            let mut words: Vec<OsString> =
                ["run", "--quiet", "--bin=palimpsest-prepare", "--"].map(Into::into).into();
            words.extend([source(workspace, name).into(), "--output".into(), path.clone().into()]);
            words.extend(options.iter().map(Into::into));
            workspace.cargo(words, &[]).stdout_null().run().context("cannot prepare a guest")?;
            Ok(path)
        }
        Guest::Inline { name, contents } => {
            let path = session.directory().join(name);
            fs::write(&path, contents).with_context(|| format!("cannot write {}", path.display()))?;
            Ok(path)
        }
    }
}

/// Returns the path of a text in `guests/run`.
fn source(workspace: &Workspace, name: &str) -> PathBuf {
    workspace.root().join("guests").join("run").join(name)
}

/// Returns the words after `cargo xtask run`. Those of the case come last, because they may end
/// with arguments of the guest.
fn command_line(
    workspace: &Workspace,
    file: &Path,
    report: &Path,
    target: Target,
    words: &[&str],
) -> Vec<OsString> {
    let mut line: Vec<OsString> = vec![file.into(), "--target".into(), target.to_string().into()];
    line.extend(["--json".into(), report.into()]);
    line.extend(words.iter().map(|word| match word.starts_with("guests/") {
        true => workspace.root().join(word).into(),
        false => word.into(),
    }));
    line
}
