//! `cargo xtask test --spec`: the WebAssembly specification's tests, on the host, in a kernel and
//! in firmware.
//!
//! [`suites`] has the files, [`encode`] turns them into one command stream, and [`known_misses`]
//! marks the directives that are known to fail. The stream is run five times: by the program
//! `spec-host` of `palimpsest-spec` on a byte slice, without fuel, with it, and with prepared
//! modules, by the kernel in `tests/vm` on demand-paged memory in ring 0, and by
//! `tests/spec/firmware` on a 32-bit RISC-V. The run with fuel covers what a metered engine does
//! with bulk instructions. [`judge`] decides whether a run passed.
//!
//! `cargo xtask` starts this program and reads its line `N passed, N failed`. It is a separate
//! package because the tests are 20 MB of source that no other command needs.

mod encode;
mod judge;
mod known_misses;
mod suites;
mod values;

use anyhow::{Context, Result};
use clap::Parser;
use judge::{Ended, Run};
use known_misses::KnownMisses;
use palimpsest_host::board::Board;
use palimpsest_host::boot::{DEFAULT_MEMORY_MIB, Session};
use palimpsest_host::kernel::{Image, Target};
use palimpsest_host::progress::{self, Progress};
use palimpsest_host::protocol::Task;
use palimpsest_host::qemu::{Accelerator, Clock, Machine, Setting};
use palimpsest_host::setup::{self, EMULATOR, Need, SetupOptions};
use palimpsest_host::tally::{Tally, Timed};
use palimpsest_host::workspace::{WITHOUT_LTO, Workspace};
use palimpsest_spec::STREAM_FILE;
use palimpsest_spec::stream::{File, Suite, Writer};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{self, ExitCode};
use std::time::{Duration, Instant};

/// The list of [`known_misses`], below the repository's root.
const KNOWN_MISSES: &str = "tests/spec/known-misses.txt";

/// Cargo's words for the program of this machine.
const HOST_PROGRAM: [&str; 2] = ["--package=palimpsest-spec", "--bin=spec-host"];

/// How long one of the machines may take for all tests. On two cores the kernel takes 6 seconds,
/// and the firmware 15.
const TIME_LIMIT: Duration = Duration::from_secs(400);

/// Where the firmware expects the stream, as in its linker script.
const STREAM_ADDRESS: &str = "0x88000000";

/// How much of a run is shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Detail {
    /// Every line: a figure per file
    Files,
    /// The totals, and why a run failed
    Totals,
}

/// Runs the specification's tests on the host, in the kernel and in firmware.
#[derive(Debug, Parser)]
struct Options {
    /// The compilation target of the kernel
    #[arg(long, value_enum, default_value_t = Target::Gnu)]
    target: Target,
    /// The number of CPUs of the kernel's machine. With several, each directive is executed on one
    /// that is chosen at random
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    cpus: u32,
    /// Print a line for each file of tests
    #[arg(long)]
    files: bool,
    /// Print results and errors only
    #[arg(long)]
    quiet: bool,
    /// Whether missing things are installed
    #[command(flatten)]
    setup: SetupOptions,
}

/// The result of the tests.
#[derive(Debug, Default)]
struct Verdict {
    /// One test for each run
    tally: Tally,
    /// The totals of the last run that was complete
    totals: Option<String>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs all tests in the kernel, and with the default target on one CPU also on the host and in
/// firmware. A test that fails is counted.
///
/// # Errors
/// The tests cannot be assembled, something is missing and may not be installed, or a program
/// cannot be started.
fn run(options: &Options) -> Result<ExitCode> {
    let workspace = Workspace::locate()?;
    let needs = [Need::Core(options.target.triple()), EMULATOR];
    setup::require(&workspace, &needs, options.setup.missing_policy())?;
    if options.quiet {
        progress::set_quiet();
    }
    let detail = if options.files { Detail::Files } else { Detail::Totals };
    let progress = Progress::new("assembling the specification's tests");
    let tests = Tests::assemble(&workspace)?;
    drop(progress);
    let mut verdict = Verdict::default();
    // Only the kernel runs on several CPUs and depends on the target. The others are tested with
    // the default target.
    let is_complete = options.cpus == 1 && options.target == Target::Gnu;
    if is_complete {
        tests.run_on_host(&workspace, detail, &mut verdict)?;
    }
    tests.run_in_vm(&workspace, options, detail, &mut verdict)?;
    if is_complete {
        tests.run_on_board(&workspace, options, detail, &mut verdict)?;
    }
    println!("{}", verdict.tally);
    if let Some(totals) = verdict.totals.filter(|_| options.files) {
        println!("{totals}");
    }
    Ok(verdict.tally.exit_code())
}

/// All tests as one command stream.
#[derive(Debug)]
struct Tests {
    stream: Vec<u8>,
    files: u64,
    directives: u32,
}

impl Tests {
    /// Parses and assembles the tests.
    fn assemble(workspace: &Workspace) -> Result<Self> {
        let list = workspace.root().join(KNOWN_MISSES);
        let text = fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
        let mut misses = KnownMisses::parse(&text)?;
        let (mut writer, mut files) = (Writer::new(), 0);
        for suite in Suite::ALL {
            for source in suites::files(suite, workspace.root())? {
                let file = File { suite, name: &source.name };
                encode::write_file(&mut writer, file, &source.text, &mut misses)?;
                files += 1;
            }
        }
        misses.finish().with_context(|| format!("{KNOWN_MISSES} is out of date"))?;
        Ok(Self { files, directives: writer.directives(), stream: writer.finish() })
    }

    /// Runs the tests on this machine, in a build without optimisation, which checks the engine's
    /// arithmetic.
    fn run_on_host(&self, workspace: &Workspace, detail: Detail, verdict: &mut Verdict) -> Result<()> {
        let path = workspace.output(&format!("spec-{}.stream", process::id()));
        // Builds first, so that the compiler's time is not the tests'.
        let build = workspace.cargo(["build"].iter().chain(&HOST_PROGRAM), &[]);
        if !build.unchecked().run().context("cannot start cargo")?.status.success() {
            verdict.tally.fail(&"spec/host/build", &"see cargo's messages", "");
            return Ok(());
        }
        fs::write(&path, &self.stream).with_context(|| format!("cannot write {}", path.display()))?;
        let runs = [
            ("spec/host", None),
            ("spec/host-metered", Some("metered")),
            ("spec/host-prepared", Some("prepared")),
        ];
        let runs = runs.map(|(name, word)| {
            let start = Instant::now();
            let output = Output::new(name, self.files, detail);
            (name, run_host_program(workspace, &path, word, output), start.elapsed())
        });
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        for (name, run, elapsed) in runs {
            verdict.add(name, &run?, self.directives, elapsed);
        }
        Ok(())
    }

    /// Runs the tests in the kernel.
    fn run_in_vm(
        &self,
        workspace: &Workspace,
        options: &Options,
        detail: Detail,
        verdict: &mut Verdict,
    ) -> Result<()> {
        let name = match options.cpus {
            1 => format!("spec/{}", options.target),
            cpus => format!("spec/{}/{cpus}-cpus", options.target),
        };
        let session = match Session::new(workspace, options.target, Image::TESTS) {
            Ok(session) => session,
            Err(error) => {
                verdict.tally.fail(&name, &format_args!("{error:#}"), "");
                return Ok(());
            }
        };
        let machine = Machine {
            memory_mib: DEFAULT_MEMORY_MIB,
            cpus: options.cpus,
            accelerator: Accelerator::Tcg,
            clock: Clock::Host,
            time_limit: TIME_LIMIT,
            setting: Setting::Trying,
        };
        let mut output = Output::new(&name, self.files, detail);
        let start = Instant::now();
        let files = [(STREAM_FILE, self.stream.as_slice())];
        let ending = session.boot(machine, Task::Specification, &files, |line| output.add(line))?;
        let run = Run { ended: Ended::from(ending), output: output.finish() };
        verdict.add(&name, &run, self.directives, start.elapsed());
        Ok(())
    }

    /// Runs the tests in firmware. Without the emulator they are skipped; in CI that is a failure.
    fn run_on_board(
        &self,
        workspace: &Workspace,
        options: &Options,
        detail: Detail,
        verdict: &mut Verdict,
    ) -> Result<()> {
        const BOARD: Board = Board::Riscv32;
        let name = format!("spec/{BOARD}");
        if let Err(error) = setup::require(workspace, &BOARD.needs(), options.setup.missing_policy()) {
            if setup::in_ci() {
                verdict.tally.fail(&name, &format_args!("{error:#}"), "");
            } else {
                println!("skipped {name}: {error:#}");
            }
            return Ok(());
        }
        let image =
            match BOARD.build(workspace, "palimpsest-spec-firmware", "spec-firmware", &[], WITHOUT_LTO) {
                Ok(image) => image,
                Err(error) => {
                    verdict.tally.fail(&name, &format_args!("{error:#}"), "");
                    return Ok(());
                }
            };
        let path = workspace.output(&format!("spec-{BOARD}-{}.stream", process::id()));
        let length = (self.stream.len() as u64).to_le_bytes();
        fs::write(&path, [&length, self.stream.as_slice()].concat())
            .with_context(|| format!("cannot write {}", path.display()))?;
        // QEMU reads `,,` as a comma that is part of the path.
        let file = path.to_string_lossy().replace(',', ",,");
        let loader = format!("loader,addr={STREAM_ADDRESS},force-raw=on,file={file}");
        let words = ["-m", "2G", "-device", &loader].map(OsString::from);
        let mut output = Output::new(&name, self.files, detail);
        let start = Instant::now();
        let ending = BOARD.boot(&image, &words, TIME_LIMIT, |line| output.add(line));
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        let run = Run { ended: Ended::from(ending?), output: output.finish() };
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

/// Runs the program of this machine, which is built. `word` follows the stream's path.
fn run_host_program(
    workspace: &Workspace,
    stream: &Path,
    word: Option<&str>,
    mut output: Output,
) -> Result<Run> {
    let words = ["run", "--quiet"].iter().chain(&HOST_PROGRAM).chain(&["--"]);
    let words = words.map(OsStr::new).chain([stream.as_os_str()]);
    let words = words.chain(word.map(OsStr::new));
    let cargo = workspace.cargo(words, &[]).unchecked().reader().context("cannot start cargo")?;
    for line in BufReader::new(&cargo).lines() {
        output.add(&line.context("cannot read the output of spec-host")?);
    }
    let status = cargo.try_wait()?.context("cargo closed its output and goes on")?.status;
    Ok(Run { ended: Ended::from(status), output: output.finish() })
}

/// What a run prints.
#[derive(Debug)]
struct Output {
    detail: Detail,
    /// Ends with the output
    progress: Option<Progress>,
    text: String,
}

impl Output {
    /// The output of a run over so many files. Each of them gets a line.
    fn new(name: &str, files: u64, detail: Detail) -> Self {
        let progress = (detail == Detail::Totals).then(|| Progress::counted(name, "files", Some(files)));
        Self { detail, progress, text: String::new() }
    }

    fn finish(self) -> String {
        self.text
    }

    fn add(&mut self, line: &str) {
        let is_of_file = Suite::ALL.iter().any(|suite| line.starts_with(&format!("{suite}/")));
        if let Some(progress) = self.progress.as_ref().filter(|_| is_of_file) {
            progress.advance();
        }
        match self.detail {
            Detail::Files => println!("{line}"),
            Detail::Totals => {}
        }
        self.text.extend([line, "\n"]);
    }
}
