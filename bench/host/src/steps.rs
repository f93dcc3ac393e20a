//! Frames at each step of a program, and the time that programs take.
//!
//! A program prints a line at each of its steps; the kernel's report has the frames that were
//! resident when the line was written. A program that is not available is skipped with a message,
//! and the page then lacks its plot.

use crate::figure::{Figure, Figures, Origin, Source, Unit};
use anyhow::{Context, Result, ensure};
use palimpsest_guest_recipes::guest::{Allocator, Guest, Program};
use palimpsest_guest_recipes::programs::{Programs, Single};
use palimpsest_host::boot::Session;
use palimpsest_host::kernel::{Image, Target};
use palimpsest_host::qemu::{Accelerator, Clock, Cpu, Machine, Setting};
use palimpsest_host::recording::Recording;
use palimpsest_host::workspace::Workspace;
use std::time::Duration;

const TIME_LIMIT: Duration = Duration::from_secs(600);

/// Enough for each of the programs, in MiB.
const MEMORY_MIB: u32 = 256;

/// Fills an array of 64 MiB and drops it, three times.
const ARRAYS: &str = "print('start');
for (let i = 1; i <= 3; i++) {
    let array = new Uint8Array(64 << 20).fill(i);
    print(`array ${i} is filled`);
    array = null;
    print(`array ${i} is dropped`);
}";

/// A program that is drawn.
struct Plotted {
    /// What the file is named after
    name: &'static str,
    words: &'static [&'static str],
    /// What each line is called, and the run that it shows
    lines: &'static [(&'static str, Single)],
}

const PLOTTED: [Plotted; 2] = [
    Plotted {
        name: "malloc-churn",
        words: &[],
        lines: &[
            ("wasi-libc", churn(Allocator::WasiLibc)),
            ("wasi-libc, large freed blocks cleared", churn(Allocator::ClearLarge)),
            ("the host's heap", churn(Allocator::HostHeap)),
        ],
    },
    Plotted { name: "quickjs", words: &["-e", ARRAYS], lines: &[("quickjs.wasm from npm", Single::QuickJs)] },
];

/// Programs whose time is taken.
const TIMED: [(&str, Single); 5] = [
    ("lodepng", Single::LodePng),
    ("webp", Single::WebP),
    ("zstd", Single::command(Program::Compress)),
    ("sqlite", Single::command(Program::Sqlite)),
    ("coremark", Single::command(Program::CoreMark)),
];

const fn churn(allocator: Allocator) -> Single {
    Single::Guest(Guest { program: Program::Churn, allocator })
}

/// The resident frames of a program at each of its steps.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Steps {
    /// The program's name
    pub(crate) program: &'static str,
    /// What the program printed at each step
    pub(crate) labels: Vec<String>,
    /// What each run is called, and its frames at each step
    pub(crate) runs: Vec<(&'static str, Vec<u64>)>,
}

/// Runs all programs. Returns the steps of those that are drawn, and the times of the others.
///
/// # Errors
/// The kernel does not build; a program does not compile or does not end with success; or two runs
/// of the same program print different lines.
pub(crate) fn record(workspace: &Workspace, programs: &Programs<'_>) -> Result<(Vec<Steps>, Figures)> {
    let session = Session::new(workspace, Target::Gnu, Image::KERNEL)?;
    let run = |single: Single, words: &[&str]| -> Result<Option<Recording>> {
        let words: Vec<_> = words.iter().copied().map(str::to_owned).collect();
        let Some(job) = programs.job(single, &words)? else { return Ok(None) };
        Recording::make(&session, machine(), &job).and_then(Recording::successful).map(Some)
    };
    let mut plotted = Vec::new();
    for program in &PLOTTED {
        println!("running {}", program.name);
        plotted.extend(steps(program, run).context(program.name)?);
    }
    let mut figures = Vec::new();
    for (name, single) in TIMED {
        println!("running {name}");
        let Some(recording) = run(single, &[]).context(name)? else { continue };
        let time = recording.report.nanoseconds_to_run.with_context(|| format!("{name} has no time"))? as f64;
        let name = format!("program/{name}");
        figures.push(Figure { name, unit: Unit::Ns, median: time, min: time, runs: 1, result: None });
    }
    let origin = Origin { source: Source::Kernel(Target::Gnu), cpu: Cpu::Max, clock: Clock::Host };
    Ok((plotted, Figures::of(origin, figures)))
}

/// The steps of a program, or `None` if it is not available.
fn steps(
    program: &Plotted,
    run: impl Fn(Single, &[&str]) -> Result<Option<Recording>>,
) -> Result<Option<Steps>> {
    let mut steps = Steps { program: program.name, labels: Vec::new(), runs: Vec::new() };
    for (name, single) in program.lines {
        let Some(recording) = run(*single, program.words).context(*name)? else { return Ok(None) };
        let (labels, frames): (Vec<_>, Vec<_>) = recording
            .frames_by_line()
            .context(*name)?
            .into_iter()
            .map(|(line, frames)| (line.to_owned(), frames))
            .unzip();
        ensure!(steps.runs.is_empty() || steps.labels == labels, "{name} prints other lines");
        steps.labels = labels;
        steps.runs.push((name, frames));
    }
    Ok(Some(steps))
}

const fn machine() -> Machine {
    Machine {
        memory_mib: MEMORY_MIB,
        accelerator: Accelerator::Tcg,
        clock: Clock::Host,
        time_limit: TIME_LIMIT,
        setting: Setting::Trying,
    }
}
