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

/// The program whose steps are drawn.
const PLOTTED: &str = "malloc-churn";

/// What each line is called, and the allocator of its run.
const LINES: [(&str, Allocator); 3] = [
    ("wasi-libc", Allocator::WasiLibc),
    ("wasi-libc, large freed blocks cleared", Allocator::ClearLarge),
    ("the host's heap", Allocator::HostHeap),
];

/// Programs whose time is taken.
const TIMED: [(&str, Single); 5] = [
    ("lodepng", Single::LodePng),
    ("webp", Single::WebP),
    ("zstd", Single::command(Program::Compress)),
    ("sqlite", Single::command(Program::Sqlite)),
    ("coremark", Single::command(Program::CoreMark)),
];

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

/// Runs all programs. Returns the steps of the one that is drawn, and the times of the others.
///
/// # Errors
/// - The kernel or a program does not compile.
/// - A program does not end with success.
/// - Two runs of the same program print different lines.
pub(crate) fn record(workspace: &Workspace, programs: &Programs<'_>) -> Result<(Option<Steps>, Figures)> {
    let session = Session::new(workspace, Target::Gnu, Image::KERNEL)?;
    let run = |single: Single| -> Result<Option<Recording>> {
        let Some(job) = programs.job(single, &[])? else { return Ok(None) };
        Recording::make(&session, machine(), &job).and_then(Recording::successful).map(Some)
    };
    println!("running {PLOTTED}");
    let plotted = steps(run).context(PLOTTED)?;
    let mut figures = Vec::new();
    for (name, single) in TIMED {
        println!("running {name}");
        let Some(recording) = run(single).context(name)? else { continue };
        let time = recording.report.nanoseconds_to_run.with_context(|| format!("{name} has no time"))? as f64;
        let name = format!("program/{name}");
        figures.push(Figure { name, unit: Unit::Ns, median: time, min: time, runs: 1, result: None });
    }
    let origin = Origin { source: Source::Kernel(Target::Gnu), cpu: Cpu::Max, clock: Clock::Host };
    Ok((plotted, Figures::of(origin, figures)))
}

/// The steps of the program that is drawn, or `None` if it is not available.
fn steps(run: impl Fn(Single) -> Result<Option<Recording>>) -> Result<Option<Steps>> {
    let mut steps = Steps { program: PLOTTED, labels: Vec::new(), runs: Vec::new() };
    for (name, allocator) in LINES {
        let single = Single::Guest(Guest { program: Program::Churn, allocator });
        let Some(recording) = run(single).context(name)? else { return Ok(None) };
        let lines = recording.frames_by_line().context(name)?.into_iter();
        let (labels, frames): (Vec<_>, Vec<_>) =
            lines.map(|(line, frames)| (line.to_owned(), frames)).unzip();
        ensure!(steps.runs.is_empty() || steps.labels == labels, "{name} prints other lines");
        steps.labels = labels;
        steps.runs.push((name, frames));
    }
    Ok(Some(steps))
}

const fn machine() -> Machine {
    Machine {
        memory_mib: MEMORY_MIB,
        cpus: 1,
        accelerator: Accelerator::Tcg,
        clock: Clock::Host,
        time_limit: TIME_LIMIT,
        setting: Setting::Trying,
    }
}
