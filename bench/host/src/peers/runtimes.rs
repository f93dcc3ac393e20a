//! The runtimes on this machine, without an emulator.
//!
//! `kernel/K/R` is the time of kernel K in runtime R, `memory/M/R` that of a new instance of the
//! memory guest M, and `peak/M/R` the memory of the process at that time. The name of a memory
//! guest contains its argument, because one guest is run with several arguments.

use super::Peers;
use super::lines;
use crate::figure::{Figure, Figures, Origin, Source, Unit};
use anyhow::{Context, Result};
use palimpsest_host::qemu::{Clock, Cpu};
use serde_json::Value;
use std::env;
use std::fs;
use std::path::PathBuf;

/// The runtime with which all others are compared.
pub(crate) const REFERENCE: &str = "wasmi";

/// The memory guests: one with 65,536 Wasm pages, which touches the last byte, and one that grows
/// by one page so many times.
pub(crate) const WHOLE: &str = "mem4g -1";
pub(crate) const GROWING: (&str, f64) = ("grow 4096", 4096.0);

const SUITE: &str = "runtimes/suite.py";

/// Measures the kernels and the memories in all runtimes that have been built.
///
/// # Errors
/// The suite fails; it has then printed why.
pub(super) fn measure(peers: &Peers, rounds: u32) -> Result<Figures> {
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| env::home_dir().map(|home| home.join(".cache")));
    if !cache.is_some_and(|cache| cache.join("wasm-peers/bin").join(REFERENCE).is_file()) {
        println!("the host's runtimes are skipped: run the peers' runtimes/build first");
        return Ok(Figures::default());
    }
    let mut figures = kernels(&results(peers, &["--rounds", &rounds.to_string()])?)?;
    figures.extend(memories(&results(peers, &["--memory"])?)?);
    Ok(figures)
}

/// Runs the suite with these words, and returns its results.
fn results(peers: &Peers, words: &[&str]) -> Result<String> {
    let list = env::temp_dir().join(format!("palimpsest-{}-runtimes", std::process::id()));
    let path = list.to_string_lossy();
    let ran = peers.script(SUITE, words.iter().copied().chain(["--json", &path]), Clock::Host);
    let lines = fs::read_to_string(&list).context("the peers' suite wrote no results");
    // It may not exist; a file that stays in the temporary directory does no harm.
    drop(fs::remove_file(&list));
    ran.and(lines)
}

/// Combines the lines of the rounds.
fn kernels(lines: &str) -> Result<Figures> {
    let mut rounds = Vec::new();
    for line in lines.lines() {
        let (_, runtime, figure) = parse(line)?;
        let name = format!("{}/{runtime}", figure.name);
        rounds.push(Figures::of(ORIGIN, vec![Figure { name, ..figure }]));
    }
    Ok(Figures::of_rounds(rounds))
}

fn memories(lines: &str) -> Result<Figures> {
    let mut figures = Vec::new();
    for line in lines.lines() {
        let (line, runtime, figure) = parse(line)?;
        let guest = format!("{} {}", lines::text(&line, "name")?, line["argument"]);
        let peak = line["peak_kib"].as_f64().context("a line of the peers' suite has no peak")? * 1024.0;
        let name = format!("peak/{guest}/{runtime}");
        figures.push(Figure { name, unit: Unit::Bytes, median: peak, min: peak, runs: 1, result: None });
        figures.push(Figure { name: format!("memory/{guest}/{runtime}"), ..figure });
    }
    Ok(Figures::of(ORIGIN, figures))
}

fn parse(line: &str) -> Result<(Value, String, Figure)> {
    let line: Value = serde_json::from_str(line).context("the peers' suite did not write JSON")?;
    let runtime = lines::text(&line, "runtime")?;
    let figure = lines::figure(&line, Clock::Host)?.context("a line of the peers' suite has no time")?;
    Ok((line, runtime, figure))
}

/// The origin of these figures.
pub(crate) const ORIGIN: Origin = Origin { source: Source::Host, cpu: Cpu::Max, clock: Clock::Host };

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rounds_of_a_kernel_are_one_figure_of_its_runtime() -> Result<()> {
        let line = |runtime, min| {
            let line = json!({ "name": "fib", "runtime": runtime, "argument": 30, "min_ns": min,
                "median_ns": 9, "runs": 5, "result": 1, "peak_kib": 4 });
            line.to_string()
        };
        let found = kernels(&[line("wasmi", 7), line("wasm3", 5), line("wasmi", 6)].join("\n"))?;
        let wasmi = found.find(ORIGIN, "kernel/fib/wasmi").map(|figure| (figure.min, figure.runs));
        assert_eq!(wasmi, Some((6.0, 10)));
        assert_eq!(found.find(ORIGIN, "kernel/fib/wasm3").map(|figure| figure.min), Some(5.0));
        Ok(())
    }

    #[test]
    fn a_memory_guest_has_a_time_and_a_peak_for_each_argument() -> Result<()> {
        let line = json!({ "name": "grow", "runtime": "wasmi", "argument": 256, "min_ns": 5,
            "median_ns": 7, "runs": 3, "result": 1, "peak_kib": 4 });
        let found = memories(&line.to_string())?;
        assert_eq!(found.find(ORIGIN, "memory/grow 256/wasmi").map(|figure| figure.median), Some(7.0));
        assert_eq!(found.find(ORIGIN, "peak/grow 256/wasmi").map(|figure| figure.median), Some(4096.0));
        Ok(())
    }
}
