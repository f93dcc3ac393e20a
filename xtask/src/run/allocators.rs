//! Compares allocators: the resident frames of one program with each of them, and the time of an
//! operation.
//!
//! The program and its output are the same in all runs. Only the allocator that it is linked with
//! differs.

use super::table::Table;
use anyhow::{Context, Result, ensure};
use palimpsest_guest_recipes::guest::{Allocator, Guest, Program};
use palimpsest_guest_recipes::programs::{Programs, Single};
use palimpsest_host::boot::Session;
use palimpsest_host::digits::grouped;
use palimpsest_host::qemu::{Clock, Machine};
use palimpsest_host::recording::Recording;
use serde_json::{Map, Value, json};
use std::fmt;

/// The program's patterns of allocation.
const PATTERNS: [&str; 4] = ["every-second", "growing-realloc", "long-lived", "random"];

/// The allocators that it is linked with.
const ALLOCATORS: [Allocator; 3] = [Allocator::WasiLibc, Allocator::Mimalloc, Allocator::HostHeap];

/// All runs, and what the clock counted.
#[derive(Debug)]
pub(crate) struct Comparison {
    runs: Vec<Run>,
    clock: Clock,
}

/// A pattern with an allocator.
#[derive(Debug)]
struct Run {
    pattern: &'static str,
    allocator: Allocator,
    operations: u64,
    peak_frames: u64,
    frames_at_end: u64,
    nanoseconds: u64,
    recording: Recording,
}

impl Comparison {
    /// Runs each pattern with each allocator. `words` are the number of operations, or empty.
    /// Returns `None` if one of the programs is not available.
    ///
    /// # Errors
    /// - A program does not compile.
    /// - A run does not end with success.
    /// - The program's output depends on the allocator.
    pub(crate) fn make(
        programs: &Programs<'_>,
        session: &Session,
        machine: Machine,
        words: &[String],
    ) -> Result<Option<Self>> {
        let mut runs: Vec<Run> = Vec::new();
        for pattern in PATTERNS {
            for allocator in ALLOCATORS {
                let single = Single::Guest(Guest { program: Program::Patterns, allocator });
                let arguments: Vec<_> =
                    [pattern.to_owned()].into_iter().chain(words.iter().cloned()).collect();
                let Some(job) = programs.job(single, &arguments)? else { return Ok(None) };
                let name = || format!("{pattern} with {}", allocator.name());
                let run = Recording::make(session, machine, &job)
                    .and_then(Recording::successful)
                    .and_then(|recording| Run::of(pattern, allocator, recording));
                runs.push(run.with_context(name)?);
            }
        }
        for same in runs.chunks(ALLOCATORS.len()) {
            let outputs_agree = same.iter().all(|run| run.recording.output == same[0].recording.output);
            ensure!(outputs_agree, "{}: the output depends on the allocator", same[0].pattern);
        }
        Ok(Some(Self { runs, clock: machine.clock }))
    }

    /// The report of each run, by pattern and allocator.
    pub(crate) fn to_json(&self) -> Value {
        let mut json = Map::new();
        for run in &self.runs {
            let pattern = json.entry(run.pattern).or_insert_with(|| Value::Object(Map::new()));
            pattern[run.allocator.name()] = json!(run.recording.report);
        }
        Value::Object(json)
    }
}

impl Run {
    fn of(pattern: &'static str, allocator: Allocator, recording: Recording) -> Result<Self> {
        let report = &recording.report;
        Ok(Self {
            pattern,
            allocator,
            operations: operations(recording.text()?)?,
            peak_frames: report.sum(|memory| memory.peak_resident_frames),
            frames_at_end: report.sum(|memory| memory.resident_frames),
            nanoseconds: report.nanoseconds_to_run.context("the report has no time")?,
            recording,
        })
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cost = match self.clock {
            Clock::Host => "ns/operation",
            Clock::Instructions => "instructions/operation",
        };
        let head = ["pattern", "allocator", "peak frames", "frames at the end", cost];
        let rows = self.runs.iter().map(|run| {
            // If the clock counts instructions, a nanosecond is an instruction.
            let cost = run.nanoseconds / run.operations;
            let figures = [run.peak_frames, run.frames_at_end, cost].map(grouped);
            [run.pattern.to_owned(), run.allocator.name().to_owned()].into_iter().chain(figures).collect()
        });
        Table([head.map(str::to_owned).to_vec()].into_iter().chain(rows).collect()).fmt(formatter)
    }
}

/// Reads the number of operations from the last line, `PATTERN: N operations, checksum X`.
fn operations(text: &str) -> Result<u64> {
    let words = text.lines().next_back().and_then(|line| line.split_once(": "));
    let number = words.and_then(|(_, rest)| rest.split(' ').next()).and_then(|word| word.parse().ok());
    number.filter(|number| *number > 0).context("its last line does not contain the number of operations")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_contains_the_number_of_operations() -> Result<()> {
        let text = "random: all freed, 0 bytes live\nrandom: 101234 operations, checksum 0a0b0c0d\n";
        assert_eq!(operations(text)?, 101_234);
        assert!(operations("random: all freed, 0 bytes live\n").is_err());
        assert!(operations("").is_err());
        Ok(())
    }
}
