//! Compares the resident frames of a program that allocates and frees, linked in three ways.
//!
//! The program prints a line at each step, and the frames are those that are resident when the line
//! is written. [`judge`](Comparison::judge) checks the run with the host's heap: after the program
//! has freed everything that it allocated since its start, it has the frames of its start, within 5
//! %.

use super::table::Table;
use anyhow::{Context, Result, ensure};
use palimpsest_guest_recipes::guest::{Allocator, Guest, Program};
use palimpsest_guest_recipes::programs::{Programs, Single};
use palimpsest_host::boot::Session;
use palimpsest_host::digits::grouped;
use palimpsest_host::qemu::Machine;
use palimpsest_host::recording::Recording;
use serde_json::{Value, json};
use std::fmt;

/// The ways to link it, as columns of the table.
const WAYS: [(&str, Allocator); 3] =
    [("plain", Allocator::WasiLibc), ("host heap", Allocator::HostHeap), ("clear", Allocator::ClearLarge)];

/// The column that is judged.
const RULED: &str = "host heap";

/// The largest difference between the last figure and the first, in percent of the first.
const TOLERANCE_PERCENT: u64 = 5;

/// The runs of the program.
#[derive(Debug)]
pub(crate) struct Comparison {
    runs: Vec<(&'static str, Recording)>,
    /// A line of the program, and the frames of each run.
    steps: Vec<(String, Vec<u64>)>,
}

impl Comparison {
    /// Runs the program in all ways. Returns `None` if it is not available.
    ///
    /// # Errors
    /// It does not compile, a run does not end with success, or two runs print different lines.
    pub(crate) fn make(
        programs: &Programs<'_>,
        session: &Session,
        machine: Machine,
        words: &[String],
    ) -> Result<Option<Self>> {
        let mut runs = Vec::new();
        for (way, allocator) in WAYS {
            let single = Single::Guest(Guest { program: Program::Churn, allocator });
            let Some(job) = programs.job(single, words)? else { return Ok(None) };
            let recording = Recording::make(session, machine, &job).and_then(Recording::successful);
            runs.push((way, recording.context(way)?));
        }
        let steps = steps(&runs)?;
        Ok(Some(Self { runs, steps }))
    }

    /// Checks that the host's heap returned the frames of what was freed.
    ///
    /// # Errors
    /// It did not. The message contains both figures.
    pub(crate) fn judge(&self) -> Result<()> {
        let ruled = WAYS.iter().position(|(way, _)| *way == RULED).expect("the list above has it");
        let frames = |step: Option<&(String, Vec<u64>)>| step.map(|(_, frames)| frames[ruled]);
        let first = frames(self.steps.first());
        let last = frames(self.steps.last());
        let (first, last) = first.zip(last).context("the program printed nothing")?;
        ensure!(
            is_near(first, last),
            "{RULED}: {last} frames at the end are not within {TOLERANCE_PERCENT} % of the {first} at the start"
        );
        Ok(())
    }

    /// What the program prints, the same in all ways.
    pub(crate) fn output(&self) -> &[u8] {
        self.runs.first().map_or(&[], |(_, run)| &run.output)
    }

    /// The report of each run, by its way.
    pub(crate) fn to_json(&self) -> Value {
        self.runs.iter().map(|(way, run)| ((*way).to_owned(), json!(run.report))).collect()
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ways = WAYS.iter().map(|(way, _)| (*way).to_owned());
        let head = ["step".to_owned()].into_iter().chain(ways).collect();
        let rows = self.steps.iter().map(|(line, frames)| {
            [line.clone()].into_iter().chain(frames.iter().copied().map(grouped)).collect()
        });
        Table([head].into_iter().chain(rows).collect()).fmt(formatter)
    }
}

fn steps(runs: &[(&'static str, Recording)]) -> Result<Vec<(String, Vec<u64>)>> {
    let mut steps: Vec<(String, Vec<u64>)> = Vec::new();
    for (index, (way, run)) in runs.iter().enumerate() {
        let lines = run.frames_by_line().context(*way)?;
        if index == 0 {
            steps.extend(lines.iter().map(|(line, _)| ((*line).to_owned(), Vec::new())));
        }
        let same = steps.iter().map(|(line, _)| line).eq(lines.iter().map(|(line, _)| line));
        ensure!(same, "{way}: it prints other lines than the first one:\n{}", run.text()?);
        for ((_, frames), (_, frame_count)) in steps.iter_mut().zip(lines) {
            frames.push(frame_count);
        }
    }
    Ok(steps)
}

fn is_near(first: u64, last: u64) -> bool {
    first.abs_diff(last) * 100 <= first * TOLERANCE_PERCENT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_percent_is_near_and_more_is_not() {
        assert!(is_near(1000, 1050) && is_near(1000, 950) && is_near(0, 0));
        assert!(!is_near(1000, 1051) && !is_near(1000, 949) && !is_near(0, 1));
    }
}
