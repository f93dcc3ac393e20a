//! Parses the peers' output, which has one line of JSON for each figure.
//!
//! A line has the time of a page, of a guest's call, or of anything else. A line without a time
//! describes the run.

use crate::figure::{Figure, KERNEL, Unit};
use anyhow::{Context, Result, bail, ensure};
use palimpsest_host::qemu::Clock;
use serde_json::Value;

/// Returns the figures of a script's output.
///
/// # Errors
/// There are none, or a line is damaged.
pub(super) fn figures(lines: &str, clock: Clock) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for line in lines.lines().filter(|line| line.starts_with('{')) {
        let line: Value = serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;
        figures.extend(figure(&line, clock)?);
    }
    ensure!(!figures.is_empty(), "the script printed no figures");
    Ok(figures)
}

/// Returns the figure of a line, if it has one.
///
/// # Errors
/// The line has no name.
pub(super) fn figure(line: &Value, clock: Clock) -> Result<Option<Figure>> {
    let name = text(line, "name")?;
    let number = |field: &str| line[field].as_f64();
    let result = line["result"].as_i64();
    let (name, unit, median, min) = if let Some(median) = number("ns_per_page") {
        // The ways to zero memory all use one buffer, whose size is not part of the name.
        let name = match number("bytes") {
            Some(bytes) if !name.starts_with("zero_") => format!("{name}/{bytes}"),
            Some(_) | None => name,
        };
        (name, Unit::NsPerPage, median, number("min_ns_per_page"))
    } else if let Some(median) = number("median_ns") {
        (format!("{KERNEL}{name}"), Unit::Ns, median, number("min_ns"))
    } else if let Some(median) = number("ns") {
        (name, Unit::Ns, median, number("min_ns"))
    } else {
        return Ok(None);
    };
    let unit = match (clock, unit) {
        (Clock::Host, unit) => unit,
        // A nanosecond of that clock is an instruction.
        (Clock::Instructions, Unit::NsPerPage) => Unit::InstructionsPerPage,
        (Clock::Instructions, _) => Unit::Instructions,
    };
    let runs = line["runs"].as_u64().unwrap_or(1);
    Ok(Some(Figure { name, unit, median, min: min.unwrap_or(median), runs, result }))
}

/// Returns the release of the Linux guest's kernel.
pub(super) fn linux_release(lines: &str) -> Option<String> {
    let lines = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut guest = lines.filter(|line| line["name"] == "guest");
    guest.find_map(|line| Some(line["kernel"].as_str()?.to_owned()))
}

/// Returns a field that every line must have.
///
/// # Errors
/// This line does not have it.
pub(super) fn text(line: &Value, field: &str) -> Result<String> {
    match line[field].as_str() {
        Some(text) => Ok(text.to_owned()),
        None => bail!("a line of the peers has no field `{field}`: {line}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_pages_is_called_after_its_range() -> Result<()> {
        let found = figures(
            concat!(
                r#"{"name": "run", "bench": "memns"}"#,
                "\nnoise\n",
                r#"{"name": "clear", "bytes": 65536, "ns_per_page": 1954.5, "min_ns_per_page": 900.0}"#,
                "\n",
                r#"{"name": "zero_memset", "bytes": 65536, "ns_per_page": 377.0, "min_ns_per_page": 370.0}"#,
            ),
            Clock::Host,
        )?;
        let found: Vec<_> = found.iter().map(|figure| (figure.name.as_str(), figure.median)).collect();
        assert_eq!(found, [("clear/65536", 1954.5), ("zero_memset", 377.0)]);
        Ok(())
    }

    #[test]
    fn a_line_for_a_kernel_keeps_its_result() -> Result<()> {
        let line =
            r#"{"name": "fib", "argument": 24, "min_ns": 5, "median_ns": 7, "runs": 9, "result": 46368}"#;
        let found = figures(line, Clock::Host)?;
        let expected = Figure {
            name: "kernel/fib".to_owned(),
            unit: Unit::Ns,
            median: 7.0,
            min: 5.0,
            runs: 9,
            result: Some(46368),
        };
        assert_eq!(found, [expected]);
        Ok(())
    }

    #[test]
    fn a_clock_that_counts_instructions_makes_nanoseconds_instructions() -> Result<()> {
        let lines = concat!(
            r#"{"name": "guest", "kernel": "6.1.0", "clock": "tsc"}"#,
            "\n",
            r#"{"name": "clear", "bytes": 65536, "ns_per_page": 1286.1}"#,
            "\n",
            r#"{"name": "syscall", "ns": 359.0}"#,
        );
        let units: Vec<_> =
            figures(lines, Clock::Instructions)?.into_iter().map(|figure| figure.unit).collect();
        assert_eq!(units, [Unit::InstructionsPerPage, Unit::Instructions]);
        assert_eq!(linux_release(lines).as_deref(), Some("6.1.0"));
        Ok(())
    }

    #[test]
    fn a_script_without_figures_has_failed() {
        assert!(figures(r#"{"name": "run", "bench": "wasm"}"#, Clock::Host).is_err());
        assert!(figures("{\"name\": ", Clock::Host).is_err());
    }
}
