//! `cargo xtask test --spec`: the WebAssembly specification's own tests, on this machine and in the kernel.
//!
//! Owns the way of a test from its text to its verdict: [`suites`] has the files, [`encode`] makes one command
//! stream of them all, [`known_misses`] marks those that are listed, and `palimpsest-spec` runs the stream:
//! as the program `spec-host` of this machine on a slice of bytes, and as the kernel's program `spec` on
//! demand-paged memory in ring 0. [`judge`] decides what came of a run. Called by `test` and `ci`.

mod encode;
mod judge;
mod known_misses;
mod suites;
mod values;

use anyhow::{Context, Result};
use judge::{Ended, Run};
use known_misses::KnownMisses;
use palimpsest_host::boot::{DEFAULT_MEMORY_MIB, Session};
use palimpsest_host::kernel::{Image, Target};
use palimpsest_host::protocol::Task;
use palimpsest_host::qemu::{Accelerator, Clock, Machine, Setting};
use palimpsest_host::setup::{self, EMULATOR, MissingPolicy, Need};
use palimpsest_host::tally::{Tally, Timed};
use palimpsest_host::workspace::Workspace;
use palimpsest_spec::stream::{File, Suite, Writer};
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process;
use std::time::{Duration, Instant};

/// The list of [`known_misses`], below the repository's root.
const KNOWN_MISSES: &str = "spec/known-misses.txt";

/// Cargo's words for the program of this machine.
const HOST_PROGRAM: [&str; 2] = ["--package=palimpsest-spec", "--bin=spec-host"];

/// The name that the kernel knows the stream by.
const STREAM: &str = "spec.stream";

/// How long the kernel may take for all tests. On two cores it takes 6 seconds.
const TIME_LIMIT: Duration = Duration::from_secs(400);

/// How much of a run is shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Detail {
    /// Every line: a figure per file
    Files,
    /// The totals, and why a run failed
    Totals,
}

/// What came of the tests.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// A test for each run
    pub(crate) tally: Tally,
    /// The totals of the last run that had any
    pub(crate) totals: Option<String>,
}

/// Runs all tests on this machine and in the kernel.
///
/// # Errors
/// The tests cannot be assembled, something is missing and may not be installed, or a program cannot be
/// started. A test that fails is counted.
pub(crate) fn run(
    workspace: &Workspace,
    target: Target,
    detail: Detail,
    policy: MissingPolicy,
) -> Result<Verdict> {
    setup::require(workspace, &[Need::Core(target.triple()), EMULATOR], policy)?;
    let tests = Tests::assemble(workspace)?;
    let mut verdict = Verdict::default();
    tests.run_on_host(workspace, detail, &mut verdict)?;
    tests.run_in_vm(workspace, target, detail, &mut verdict)?;
    Ok(verdict)
}

/// All tests as one command stream.
#[derive(Debug)]
struct Tests {
    stream: Vec<u8>,
    directives: u32,
}

impl Tests {
    /// Parses and assembles the tests.
    fn assemble(workspace: &Workspace) -> Result<Self> {
        let list = workspace.root().join(KNOWN_MISSES);
        let text = fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
        let mut misses = KnownMisses::parse(&text)?;
        let mut writer = Writer::new();
        for suite in Suite::ALL {
            for source in suites::files(suite, workspace.root())? {
                let file = File { suite, name: &source.name };
                encode::write_file(&mut writer, file, &source.text, &mut misses)?;
            }
        }
        misses.finish().with_context(|| format!("{KNOWN_MISSES} is out of date"))?;
        Ok(Self { directives: writer.directives(), stream: writer.finish() })
    }

    /// Runs the tests on this machine, in a build without optimisation, which checks the engine's arithmetic.
    fn run_on_host(&self, workspace: &Workspace, detail: Detail, verdict: &mut Verdict) -> Result<()> {
        let path = workspace.output(&format!("spec-{}.stream", process::id()));
        // Builds first, so that the compiler's time is not the tests'.
        let build = workspace.cargo(["build"].iter().chain(&HOST_PROGRAM), &[]);
        if !build.unchecked().run().context("cannot start cargo")?.status.success() {
            verdict.tally.fail(&"spec/host/build", &"see cargo's messages", "");
            return Ok(());
        }
        fs::write(&path, &self.stream).with_context(|| format!("cannot write {}", path.display()))?;
        let start = Instant::now();
        let run = run_host_program(workspace, &path, detail);
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        verdict.add("spec/host", &run?, self.directives, start.elapsed());
        Ok(())
    }

    /// Runs the tests in the kernel.
    fn run_in_vm(
        &self,
        workspace: &Workspace,
        target: Target,
        detail: Detail,
        verdict: &mut Verdict,
    ) -> Result<()> {
        let name = format!("spec/{target}");
        let session = match Session::new(workspace, target, Image::new("palimpsest-kernel-demo", "spec")) {
            Ok(session) => session,
            Err(error) => {
                verdict.tally.fail(&name, &format_args!("{error:#}"), "");
                return Ok(());
            }
        };
        let machine = Machine {
            memory_mib: DEFAULT_MEMORY_MIB,
            accelerator: Accelerator::Tcg,
            clock: Clock::Host,
            time_limit: TIME_LIMIT,
            setting: Setting::Trying,
        };
        let mut output = Output::new(detail);
        let start = Instant::now();
        let files = [(STREAM, self.stream.as_slice())];
        let ending = session.boot(machine, Task::Specification, &files, |line| output.add(line))?;
        let run = Run { ended: Ended::from(ending), output: output.text };
        verdict.add(&name, &run, self.directives, start.elapsed());
        Ok(())
    }
}

impl Verdict {
    /// Counts a run of a stream with this many directives as one test, and prints its line.
    fn add(&mut self, name: &str, run: &Run, directives: u32, elapsed: Duration) {
        match judge::judge(run, directives) {
            Ok(totals) => self.tally.pass(&Timed(&format!("{name}: {totals}"), elapsed)),
            Err(failure) => self.tally.fail(&Timed(name, elapsed), &failure, &run.failures()),
        }
        self.totals = run.totals().map(str::to_owned).or(self.totals.take());
    }
}

/// Runs the program of this machine, which is built.
fn run_host_program(workspace: &Workspace, stream: &Path, detail: Detail) -> Result<Run> {
    let words = ["run", "--quiet"].iter().chain(&HOST_PROGRAM).chain(&["--"]);
    let words = words.map(OsStr::new).chain([stream.as_os_str()]);
    let cargo = workspace.cargo(words, &[]).unchecked().reader().context("cannot start cargo")?;
    let mut output = Output::new(detail);
    for line in BufReader::new(&cargo).lines() {
        output.add(&line.context("cannot read the output of spec-host")?);
    }
    let status = cargo.try_wait()?.context("cargo closed its output and goes on")?.status;
    Ok(Run { ended: Ended::from(status), output: output.text })
}

/// What a run prints.
#[derive(Debug)]
struct Output {
    detail: Detail,
    text: String,
}

impl Output {
    const fn new(detail: Detail) -> Self {
        Self { detail, text: String::new() }
    }

    fn add(&mut self, line: &str) {
        match self.detail {
            Detail::Files => println!("{line}"),
            Detail::Totals => {}
        }
        self.text.extend([line, "\n"]);
    }
}
