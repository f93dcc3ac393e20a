//! Compares programs of other projects in the kernel with their runs under a stock runtime.
//!
//! The exit code and the standard output must be equal, byte for byte; of a program that prints
//! times, only the other lines are compared. A program that needs the kernel is compared with the
//! same program without that need. A program that is not available is skipped with a message; in CI
//! that is a failure.

use super::vm::patience;
use crate::cli::RunOptions;
use crate::run::{advice, allocators, churn, snapshot, with_world};
use anyhow::{Context, Result, bail, ensure};
use palimpsest_guest_recipes::guest::{Allocator, Guest, Program};
use palimpsest_guest_recipes::node;
use palimpsest_guest_recipes::programs::{Programs, Single};
use palimpsest_host::archive::pack_files;
use palimpsest_host::boot::{DEFAULT_MEMORY_MIB, Session};
use palimpsest_host::job::Job;
use palimpsest_host::kernel::{Image, Target};
use palimpsest_host::progress::Progress;
use palimpsest_host::protocol::SnapshotUse;
use palimpsest_host::qemu::{Accelerator, Clock, Machine, Setting};
use palimpsest_host::recording::Recording;
use palimpsest_host::setup::MissingPolicy;
use palimpsest_host::tally::{Tally, Timed};
use palimpsest_host::workers;
use palimpsest_host::workspace::Workspace;
use std::ffi::OsString;
use std::fs;
use std::time::{Duration, Instant};

/// The time limit of a program on one CPU.
const TIME_LIMIT: Duration = Duration::from_secs(300);

/// A program that is compared with its run under the stock runtime.
#[derive(Clone, Copy, Debug)]
struct Case {
    name: &'static str,
    single: Single,
    words: &'static [&'static str],
    compared: Compared,
}

/// The part of the output that is compared.
#[derive(Clone, Copy, Debug)]
enum Compared {
    /// All of it
    Everything,
    /// The lines that begin with one of these. There must be at least one
    LinesOf(&'static [&'static str]),
}

const fn case(name: &'static str, single: Single, words: &'static [&'static str]) -> Case {
    Case { name, single, words, compared: Compared::Everything }
}

/// The file for the case in which QuickJS reads a file.
const SCRIPT: (&str, &[u8]) = ("features.js", include_bytes!("program_cases/features.js"));

/// All of them. Those that take the longest to compile and run come first, so that no CPU is idle
/// at the end.
const CASES: &[Case] = &[
    // Three transactions. More rows repeat the same statements.
    case("program/sqlite", Single::command(Program::Sqlite), &["/tmp/rows.db", "25000"]),
    Case {
        name: "program/coremark",
        single: Single::command(Program::CoreMark),
        words: &["20"],
        compared: Compared::LinesOf(&["seedcrc", "[0]crc", "Iterations "]),
    },
    case("program/quickjs", Single::QuickJs, &[SCRIPT.0]),
    case(
        "program/quickjs-uncaught-exception-fails",
        Single::QuickJs,
        &["-e", "print('before'); (() => { throw new Error('on purpose'); })(); print('after');"],
    ),
    case("program/lodepng", Single::LodePng, &[]),
    case("program/webp", Single::WebP, &[]),
    case("program/python", Single::Python, &["-c", "print(sum(range(10)))"]),
    case("program/zstd", Single::command(Program::Compress), &[]),
    case("program/rust-churn", Single::command(Program::RustChurn), &["4"]),
];

/// A test of several runs. It returns `None` if a program is not available.
type Test = fn(&Bench<'_>) -> Result<Option<()>>;

/// Tests that compare several runs.
const TESTS: [(&str, Test); 7] = [
    ("program/allocators", compare_allocators),
    ("program/quickjs-gives-the-memory-of-an-array-to-the-next-one", arrays),
    ("program/quickjs-forks-are-alive-at-once", forks),
    ("program/a-thousand-forks-of-zstd-are-alive-at-once", thousand_forks),
    ("program/quickjs-continues-in-another-machine", migration),
    ("program/malloc-churn", malloc_churn),
    ("program/unchanged-rust-program-gives-its-memory-back", rust_churn),
];

/// What a worker uses.
struct Bench<'a> {
    programs: Programs<'a>,
    session: Session,
    cpus: u32,
}

/// Runs the tests whose name contains `filter` on machines with `cpus` CPUs, a line each, as many
/// at a time as this machine has CPUs for.
///
/// # Errors
/// The directory of the boots cannot be made.
pub(super) fn run(
    workspace: &Workspace,
    target: Target,
    filter: &str,
    cpus: u32,
    policy: MissingPolicy,
) -> Result<Tally> {
    let mut tally = Tally::default();
    let cases: Vec<_> = CASES.iter().filter(|case| case.name.contains(filter)).collect();
    let tests: Vec<_> = TESTS.iter().filter(|(name, _)| name.contains(filter)).collect();
    if cases.is_empty() && tests.is_empty() {
        return Ok(tally);
    }
    let name = format!("program/{target}/build");
    let session = super::session(workspace, target, Image::KERNEL, &name, &mut tally);
    let Some(session) = session else { return Ok(tally) };
    let programs = Programs { workspace, policy };
    let sessions = session.into_several(workers::count().div_ceil(cpus as usize))?;
    let benches: Vec<_> = sessions.into_iter().map(|session| Bench { programs, session, cpus }).collect();
    let tests = tests.into_iter().map(|(name, test)| Run::Test(name, *test));
    let runs: Vec<_> = tests.chain(cases.into_iter().map(Run::Compare)).collect();
    let progress = |done| Progress::new(&format!("program/{target}: {done} of {} tests", runs.len()));
    let (mut done, mut waiting) = (0, progress(0));
    let count = |run: &Run<'_>, (tested, elapsed)| {
        waiting.finish();
        let name = run.name().replacen("program", &format!("program/{target}"), 1);
        match tested {
            Ok(Some(())) => tally.pass(&Timed(&name, elapsed)),
            Ok(None) => println!("skipped {name}: a program is not available"),
            Err(error) => tally.fail(&Timed(&name, elapsed), &format_args!("{error:#}"), ""),
        }
        done += 1;
        waiting = progress(done);
        anyhow::Ok(())
    };
    let run = |bench: &Bench<'_>, run: &Run<'_>| {
        let start = Instant::now();
        (run.on(bench), start.elapsed())
    };
    workers::share(&benches, &runs, run, count)?;
    drop(waiting);
    Ok(tally)
}

/// What is run and counted as one test.
#[derive(Clone, Copy)]
enum Run<'a> {
    Compare(&'a Case),
    Test(&'a str, Test),
}

impl Run<'_> {
    fn name(&self) -> &str {
        match self {
            Self::Compare(case) => case.name,
            Self::Test(name, _) => name,
        }
    }

    fn on(self, bench: &Bench<'_>) -> Result<Option<()>> {
        match self {
            Self::Compare(case) => compare(bench, case),
            Self::Test(_, test) => test(bench),
        }
    }
}

/// Runs the program in the kernel and under the stock runtime.
fn compare(bench: &Bench<'_>, case: &Case) -> Result<Option<()>> {
    let words: Vec<_> = case.words.iter().copied().map(str::to_owned).collect();
    let Some(mut job) = bench.programs.job(case.single, &words)? else { return Ok(None) };
    if case.words == [SCRIPT.0] {
        job.root = Some(pack_files(&[SCRIPT])?);
    }
    let found = Recording::make(&bench.session, bench.machine(), &job)?;
    let expected = node::run(&bench.programs, bench.session.directory(), &job)?;
    let (ended, said) = (expected.status.code(), text(&expected.stderr));
    ensure!(
        ended.is_some_and(|code| u32::try_from(code) == Ok(found.exit_code)),
        "exit code {}; under the stock runtime {ended:?}: {said}",
        found.exit_code
    );
    match case.compared {
        Compared::Everything => same(&found.output, &expected.stdout),
        Compared::LinesOf(starts) => {
            same(&lines_of(&found.output, starts)?, &lines_of(&expected.stdout, starts)?)
        }
    }?;
    Ok(Some(()))
}

fn same(found: &[u8], expected: &[u8]) -> Result<()> {
    ensure!(found == expected, "prints\n{}and under the stock runtime\n{}", text(found), text(expected));
    Ok(())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Returns the lines that begin with one of `starts`.
fn lines_of(output: &[u8], starts: &[&str]) -> Result<Vec<u8>> {
    let text = str::from_utf8(output).context("the output is not UTF-8")?;
    let chosen = |line: &&str| starts.iter().any(|start| line.starts_with(start));
    let lines: Vec<_> = text.split_inclusive('\n').filter(chosen).collect();
    ensure!(!lines.is_empty(), "no line begins with any of {starts:?}:\n{text}");
    Ok(lines.concat().into_bytes())
}

/// Checks that a script which makes and drops an array of 64 MiB three times has the peak of one
/// array, within 10 %.
fn arrays(bench: &Bench<'_>) -> Result<Option<()>> {
    const ARRAY_FRAMES: u64 = (64 << 20) / FRAME_BYTES;
    let mut peaks = Vec::new();
    for times in ["1", "3"] {
        let script = format!(
            "let sum = 0; \
             for (let n = 1; n <= {times}; n++) {{ sum += new Uint8Array(64 << 20).fill(n)[n]; }} \
             print(sum);"
        );
        let Some(job) = bench.programs.job(Single::QuickJs, &["-e".to_owned(), script])? else {
            return Ok(None);
        };
        let recording = Recording::make(&bench.session, bench.machine(), &job)?.successful()?;
        peaks.push(recording.report.sum(|memory| memory.peak_resident_frames));
    }
    ensure!(peaks[0] >= ARRAY_FRAMES, "one array took {} frames, not {ARRAY_FRAMES}", peaks[0]);
    ensure!(peaks[1] * 10 <= peaks[0] * 11, "three arrays took {} frames, one {}", peaks[1], peaks[0]);
    Ok(Some(()))
}

/// Checks that each fork of an initialized QuickJS prints its number, in a machine of 128 MiB, and
/// that a fork is much less work than a start.
fn forks(bench: &Bench<'_>) -> Result<Option<()>> {
    const COUNT: u32 = 100;
    let words = ["-e".to_owned(), "print(fork);".to_owned()];
    let Some(mut job) = bench.programs.job(Single::QuickJs, &words)? else { return Ok(None) };
    job.run.snapshot = Some(SnapshotUse::Forks(COUNT));
    let machine = Machine { memory_mib: 128, clock: Clock::Instructions, ..bench.machine() };
    let recording = Recording::make(&bench.session, machine, &job)?.successful()?;
    let numbers: String = (0..COUNT).map(|number| format!("{number}\n")).collect();
    same(&recording.output, numbers.as_bytes())?;
    let report = recording.report.forks.context("the report has no forks")?;
    ensure!(report.count == COUNT && report.frames_per_fork <= 30, "{report:?}");
    ensure!(report.heap_bytes_per_fork <= 130_000, "{report:?}");
    let start = report.instructions_of_source.context("the clock counts instructions")?;
    let first = report.instructions_to_first.context("the clock counts instructions")?;
    ensure!(first * 50 <= start, "a fork takes {first} instructions, and a start {start}");
    Ok(Some(()))
}

/// Checks that 1,000 forks of an initialized zstd compress a text each, in a machine of 128 MiB in
/// which 1,000 new instances would not fit.
fn thousand_forks(bench: &Bench<'_>) -> Result<Option<()>> {
    const COUNT: u32 = 1000;
    const MACHINE_MIB: u32 = 128;
    let single = Single::command(Program::CompressServer);
    let Some(mut job) = bench.programs.job(single, &[])? else { return Ok(None) };
    job.run.snapshot = Some(SnapshotUse::Forks(COUNT));
    let machine = Machine { memory_mib: MACHINE_MIB, clock: Clock::Instructions, ..bench.machine() };
    let recording = Recording::make(&bench.session, machine, &job)?.successful()?;
    let numbers: String = (0..COUNT).map(|number| format!("{number}\n")).collect();
    same(&recording.output, numbers.as_bytes())?;
    let report = recording.report.forks.context("the report has no forks")?;
    let fresh = (report.frames_of_source * FRAME_BYTES + report.heap_bytes_per_fork) * u64::from(COUNT);
    ensure!(report.count == COUNT && fresh > u64::from(MACHINE_MIB) << 20, "{report:?}");
    Ok(Some(()))
}

/// Checks that QuickJS prints the same if `cargo xtask snapshot` initializes it in one machine and
/// `cargo xtask run --from` evaluates the script in another one. A damaged file and one of another
/// module are refused, with the command that writes a new one.
fn migration(bench: &Bench<'_>) -> Result<Option<()>> {
    const SCRIPT: &str = "print([1, 2, 3].map(n => n * n).join('-'), typeof fork);";
    let words = ["-e".to_owned(), SCRIPT.to_owned()];
    let Some(job) = bench.programs.job(Single::QuickJs, &words)? else { return Ok(None) };
    let Some(source) = bench.programs.job(Single::QuickJs, &[])? else { return Ok(None) };
    let stayed = Recording::make(&bench.session, bench.machine(), &job)?.successful()?;
    let file = bench.session.directory().join("quickjs.snapshot");
    snapshot::write(&bench.session, bench.machine(), source, &file)?;
    let mut bytes = fs::read(&file)?;
    let frames = stayed.report.sum(|memory| memory.resident_frames);
    let most_bytes = frames * FRAME_BYTES + 4096;
    ensure!(bytes.len() as u64 <= most_bytes, "the snapshot has {} bytes for {frames} frames", bytes.len());
    let from = ["--program".as_ref(), "quickjs".as_ref(), "--from".as_ref(), file.as_os_str()];
    let options = RunOptions::parse(from.map(OsString::from))?;
    let continued = |job: &Job| {
        let job = with_world(job.clone(), &options)?;
        Recording::make(&bench.session, bench.machine(), &job)?.successful()
    };
    same(&continued(&job)?.output, &stayed.output)?;
    let refused = |job: &Job, message: &str| {
        let Err(error) = continued(job) else { bail!("the snapshot was read, and not refused: {message}") };
        let error = format!("{error:#}");
        ensure!(error.contains(message), "not `{message}`, but: {error}");
        let advice = advice::of_error(&error, &job.module);
        ensure!(advice.concat().contains("`cargo xtask snapshot FILE`"), "{advice:?}");
        Ok(())
    };
    let mut other = job.clone();
    // A custom section without content.
    other.module.extend(b"\0\x02\x01x");
    refused(&other, "the snapshot is of the module")?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, &bytes)?;
    refused(&job, "the snapshot is damaged")?;
    Ok(Some(()))
}

/// The size of a frame in bytes.
const FRAME_BYTES: u64 = 4096;

/// Checks that the host's heap returns the frames of freed blocks, and that the program's output is
/// the same with each allocator and under the stock runtime.
fn malloc_churn(bench: &Bench<'_>) -> Result<Option<()>> {
    let words = ["64".to_owned()];
    let made = churn::Comparison::make(&bench.programs, &bench.session, bench.machine(), &words)?;
    let plain = bench.programs.job(Single::command(Program::Churn), &words)?;
    let Some((comparison, plain)) = made.zip(plain) else { return Ok(None) };
    let expected = node::run(&bench.programs, bench.session.directory(), &plain)?;
    same(comparison.output(), &expected.stdout).with_context(|| text(&expected.stderr))?;
    comparison.judge().with_context(|| comparison.to_string())?;
    Ok(Some(()))
}

/// Checks a program with Rust's standard library. At its end it has a small part of the frames of
/// its peak if it is linked with the host's heap, and all of them with the C library's allocator.
/// Its output is the same.
fn rust_churn(bench: &Bench<'_>) -> Result<Option<()>> {
    let words = ["16".to_owned()];
    let mut runs = Vec::new();
    for allocator in [Allocator::WasiLibc, Allocator::HostHeap] {
        let single = Single::Guest(Guest { program: Program::RustChurn, allocator });
        let Some(job) = bench.programs.job(single, &words)? else { return Ok(None) };
        let recording = Recording::make(&bench.session, bench.machine(), &job)?.successful()?;
        // The peak includes the frames that are committed ahead of a run.
        let last = recording.report.sum(|memory| memory.resident_frames + memory.ahead_frames);
        let peak = recording.report.sum(|memory| memory.peak_resident_frames);
        runs.push((recording, last, peak));
    }
    let [(plain, plain_last, plain_peak), (heap, heap_last, heap_peak)] = &runs[..] else {
        unreachable!("each of the two allocators had its run");
    };
    same(&heap.output, &plain.output)?;
    ensure!(plain_last == plain_peak, "wasi-libc returned frames: {plain_last} of {plain_peak} at the end");
    ensure!(heap_last * 20 <= *heap_peak, "{heap_last} of {heap_peak} frames are resident at the end");
    Ok(Some(()))
}

/// Checks that each pattern runs with each allocator, and that its output is the same.
fn compare_allocators(bench: &Bench<'_>) -> Result<Option<()>> {
    let words = ["2000".to_owned()];
    let made = allocators::Comparison::make(&bench.programs, &bench.session, bench.machine(), &words)?;
    Ok(made.map(drop))
}

impl Bench<'_> {
    fn machine(&self) -> Machine {
        Machine {
            memory_mib: DEFAULT_MEMORY_MIB,
            cpus: self.cpus,
            accelerator: Accelerator::Tcg,
            clock: Clock::Host,
            time_limit: TIME_LIMIT * patience(self.cpus, 1),
            setting: Setting::Trying,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_chosen_by_how_they_begin() -> Result<()> {
        let output = b"Total time: 3\nseedcrc : 1\n[0]crclist : 2\nCoreMark: 9\n";
        assert_eq!(lines_of(output, &["seedcrc", "[0]crc"])?, b"seedcrc : 1\n[0]crclist : 2\n");
        Ok(())
    }

    #[test]
    fn an_output_without_any_of_the_lines_is_an_error() {
        assert!(lines_of(b"Total time: 3\n", &["seedcrc"]).is_err());
    }
}
