//! Frames over time: real programs in our kernel, as `cargo xtask run --program` runs them.
//!
//! Owns which programs are drawn and with what words. Each is run by the command that a user would type,
//! whose report has the frames that were resident at each moment, and the time that the program took. A
//! program that cannot be had is left out, and said; the documentation then lacks its plot.

use crate::figure::{Figure, Figures, Origin, Source, Unit};

use anyhow::{Context, Result};
use palimpsest_host::kernel::Target;
use palimpsest_host::qemu::{Clock, Cpu};
use palimpsest_host::workspace::Workspace;
use serde_json::Value;
use std::fs;

/// Builds an array of 64 MiB and drops it, three times.
const ARRAYS: &str = "for (let i = 0; i < 3; i++) { let a = new Uint8Array(64 << 20).fill(1); a = null; }";

/// The programs, with what is behind the `--`; nothing lets each have files and words of its own.
const PROGRAMS: [(&str, &[&str]); 7] = [
    ("quickjs", &["-e", ARRAYS]),
    ("lodepng", &[]),
    ("webp", &[]),
    ("zstd", &[]),
    ("sqlite", &[]),
    ("coremark", &[]),
    ("malloc-churn", &[]),
];

/// What a program held over time.
#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    /// Its name
    pub(crate) program: &'static str,
    /// One for each way that it was linked in
    pub(crate) lines: Vec<Line>,
}

/// The frames of one run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    /// What it is called
    pub(crate) name: String,
    /// Units of fuel used, and frames resident then
    pub(crate) points: Vec<(f64, f64)>,
}

/// Runs all programs; also gives the time of each that was run in one way.
///
/// # Errors
/// Its own executable cannot be found, or a report is damaged.
pub(crate) fn record(workspace: &Workspace) -> Result<(Vec<Timeline>, Figures)> {
    let (mut timelines, mut figures) = (Vec::new(), Vec::new());
    for (program, words) in PROGRAMS {
        let Some(report) = run(workspace, program, words)? else {
            println!("{program} is left out: it did not run");
            continue;
        };
        if let Some(time) = report["nanoseconds_to_run"].as_f64() {
            let name = format!("program/{program}");
            figures.push(Figure { name, unit: Unit::Ns, median: time, min: time, runs: 1, result: None });
        }
        timelines.push(Timeline { program, lines: lines(&report)? });
    }
    let origin = Origin { source: Source::Kernel(Target::Gnu), cpu: Cpu::Max, clock: Clock::Host };
    Ok((timelines, Figures::of(origin, figures)))
}

/// The program's report, or none if the command failed, which has then said why.
fn run(workspace: &Workspace, program: &str, words: &[&str]) -> Result<Option<Value>> {
    let path = workspace.output(&format!("timeline-{program}-{}.json", std::process::id()));
    let file = path.to_string_lossy();
    let command = ["run", "--program", program, "--timeout", "600", "--json", &file, "--"];
    println!("$ cargo xtask run --program {program} -- {}", words.join(" "));
    let command = ["xtask"].iter().chain(&command).chain(words);
    let ran = workspace.cargo(command, &[]).stdout_null().unchecked().run();
    let ran = ran.with_context(|| format!("cannot run {program}"))?;
    let report = fs::read_to_string(&path);
    // It is not there if the command failed; one that is left in cargo's output directory does no harm.
    drop(fs::remove_file(&path));
    match report {
        Ok(text) if ran.status.success() => serde_json::from_str(&text)
            .map(Some)
            .with_context(|| format!("the report of {program} is damaged")),
        Ok(_) | Err(_) => Ok(None),
    }
}

/// The timeline of a report, or those of several by their names.
fn lines(report: &Value) -> Result<Vec<Line>> {
    if report.get("timeline").is_some() {
        return Ok(vec![Line { name: "resident frames".to_owned(), points: points(report)? }]);
    }
    let reports = report.as_object().context("a report is no object")?;
    reports.iter().map(|(name, report)| Ok(Line { name: name.clone(), points: points(report)? })).collect()
}

fn points(report: &Value) -> Result<Vec<(f64, f64)>> {
    let points = report["timeline"].as_array().context("a report has no timeline")?;
    let point = |point: &Value| Some((point[0].as_f64()?, point[1].as_f64()?));
    points.iter().map(|value| point(value).context("a timeline has a point without two numbers")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_report_has_one_line_and_a_comparison_one_for_each_way() -> Result<()> {
        let report = json!({ "timeline": [[10, 1], [20, 3]] });
        let points = vec![(10.0, 1.0), (20.0, 3.0)];
        assert_eq!(lines(&report)?, [Line { name: "resident frames".to_owned(), points }]);
        let names: Vec<_> = lines(&json!({ "plain": report, "host heap": report }))?
            .into_iter()
            .map(|line| (line.name, line.points.len()))
            .collect();
        assert_eq!(names, [("plain".to_owned(), 2), ("host heap".to_owned(), 2)]);
        Ok(())
    }

    #[test]
    fn a_report_without_a_timeline_is_damaged() {
        for report in [json!({ "outcome": {} }), json!({ "timeline": [[1]] }), json!([])] {
            assert!(lines(&report).is_err(), "{report}");
        }
    }
}
