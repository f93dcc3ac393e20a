//! The peers' lines of JSON, and the figures that they become.
//!
//! A line is of one of three forms: time for a page, for a call of a guest, or for anything else. What has no time
//! is about the run, and left out.

use crate::figure::{Figure, KERNEL, Unit};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// The figures among a script's lines.
///
/// # Errors
/// There are none, or a line is damaged.
pub(super) fn figures(lines: &str) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for line in lines.lines().filter(|line| line.starts_with('{')) {
        let line: Value = serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))?;
        figures.extend(figure(&line)?);
    }
    ensure!(!figures.is_empty(), "the script printed no figures");
    Ok(figures)
}

/// The figure of a line, if it has one.
///
/// # Errors
/// It has no name.
pub(super) fn figure(line: &Value) -> Result<Option<Figure>> {
    let name = text(line, "name")?;
    let number = |field: &str| line[field].as_f64();
    let result = line["result"].as_i64();
    let (name, unit, median, min) = if let Some(median) = number("ns_per_page") {
        // The ways to zero memory are measured in one buffer: its size says nothing.
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
    let runs = line["runs"].as_u64().unwrap_or(1);
    Ok(Some(Figure { name, unit, median, min: min.unwrap_or(median), runs, result }))
}

/// A field that every line has.
///
/// # Errors
/// This one does not.
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
        let found = figures(concat!(
            r#"{"name": "run", "bench": "memns"}"#,
            "\nnoise\n",
            r#"{"name": "clear", "bytes": 65536, "ns_per_page": 1954.5, "min_ns_per_page": 900.0}"#,
            "\n",
            r#"{"name": "zero_memset", "bytes": 65536, "ns_per_page": 377.0, "min_ns_per_page": 370.0}"#,
        ))?;
        let found: Vec<_> = found.iter().map(|figure| (figure.name.as_str(), figure.median)).collect();
        assert_eq!(found, [("clear/65536", 1954.5), ("zero_memset", 377.0)]);
        Ok(())
    }

    #[test]
    fn a_line_for_a_kernel_keeps_its_result() -> Result<()> {
        let line =
            r#"{"name": "fib", "argument": 24, "min_ns": 5, "median_ns": 7, "runs": 9, "result": 46368}"#;
        let found = figures(line)?;
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
    fn a_script_without_figures_has_failed() {
        assert!(figures(r#"{"name": "run", "bench": "wasm"}"#).is_err());
        assert!(figures("{\"name\": ").is_err());
    }
}
