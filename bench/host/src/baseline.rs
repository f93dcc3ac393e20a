//! The checked-in instruction counts that a change is held against.
//!
//! Owns the file's form and the verdict. Counts under `-icount` repeat from run to run and from machine to
//! machine; what moves them is a change of the code or of the compiler. A figure that is a tenth worse, one
//! that is gone and one that the baseline does not know fail the check; one that is a tenth better is only
//! told. The ways to zero memory are the machine's and not ours: they are left out.

use crate::figure::{Figures, Origin, Source, Unit};
use anyhow::{Context, Result};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;

/// The file, from the repository's root.
pub(crate) const FILE: &str = "bench/baseline.json";

/// A change of this part of a count fails the check, or is told: one tenth.
const NOTABLE_PART: f64 = 10.0;

/// Counts by name, of one target.
type Counts = BTreeMap<String, f64>;

/// The file for these figures: for each target, counts by name.
pub(crate) fn of(before: Option<&str>, figures: &Figures) -> Result<String> {
    let mut file: Map<String, Value> = before.map_or_else(|| Ok(Map::new()), parse)?;
    for (target, counts) in by_target(figures) {
        file.insert(target, counts.into_iter().map(|(name, count)| (name, Value::from(count))).collect());
    }
    Ok(format!("{:#}\n", Value::Object(file)))
}

/// Holds figures against the file.
///
/// # Errors
/// The file is not what [`of`] writes.
pub(crate) fn compare(file: &str, figures: &Figures) -> Result<Comparison> {
    let file = parse(file)?;
    let mut comparison = Comparison::default();
    for (target, counts) in by_target(figures) {
        let baseline = file.get(&target).and_then(Value::as_object);
        let baseline = baseline.with_context(|| format!("{FILE} has no counts for {target}"))?;
        for (name, before) in baseline {
            let before = before.as_f64().with_context(|| format!("{FILE}: {name} is no number"))?;
            comparison.add(&format!("{target} {name}"), Some(before), counts.get(name).copied());
        }
        for (name, &count) in counts.iter().filter(|(name, _)| !baseline.contains_key(*name)) {
            comparison.add(&format!("{target} {name}"), None, Some(count));
        }
    }
    Ok(comparison)
}

fn parse(file: &str) -> Result<Map<String, Value>> {
    serde_json::from_str(file).with_context(|| format!("{FILE} is damaged"))
}

/// The counts of our kernels' figures.
fn by_target(figures: &Figures) -> BTreeMap<String, Counts> {
    let mut targets = BTreeMap::<String, Counts>::new();
    for (Origin { source, .. }, figure) in figures.iter() {
        let Source::Kernel(target) = source else { continue };
        let counted = match figure.unit {
            Unit::Instructions | Unit::InstructionsPerPage | Unit::Frames | Unit::Bytes => true,
            Unit::Ns | Unit::NsPerPage | Unit::Instances => false,
        };
        if counted && !figure.name.starts_with("zero_") {
            // Whole tenths of an instruction are more than enough, and keep the file readable.
            let count = (figure.median * 10.0).round() / 10.0;
            targets.entry(target.to_string()).or_default().insert(figure.name.clone(), count);
        }
    }
    targets
}

/// What came of it.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Comparison {
    compared: usize,
    worse: Vec<String>,
    better: Vec<String>,
}

impl Comparison {
    /// Whether nothing got worse, and something was compared at all.
    pub(crate) const fn is_good(&self) -> bool {
        self.worse.is_empty() && self.compared > 0
    }

    fn add(&mut self, name: &str, before: Option<f64>, now: Option<f64>) {
        let (before, now) = match (before, now) {
            (Some(before), Some(now)) => (before, now),
            (_, None) => return self.worse.push(format!("{name}: is no longer measured")),
            (None, Some(now)) => return self.worse.push(format!("{name}: {now}, and the baseline lacks it")),
        };
        self.compared += 1;
        let line = || format!("{name}: {now} instead of {before}{}", percentage(before, now));
        // Counts are whole tenths, whose difference is exact enough once it is rounded to one.
        let tenth_parts = ((now - before) * 10.0).round() / 10.0 * NOTABLE_PART;
        if tenth_parts > 0.0 && tenth_parts >= before {
            self.worse.push(line());
        } else if tenth_parts < 0.0 && -tenth_parts >= before {
            self.better.push(line());
        }
    }
}

/// The change, where there is something to take it of.
fn percentage(before: f64, now: f64) -> String {
    if before == 0.0 {
        return String::new();
    }
    format!(" ({:+.0} %)", (now / before - 1.0) * 100.0)
}

impl fmt::Display for Comparison {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.worse {
            writeln!(formatter, "WORSE {line}")?;
        }
        for line in &self.better {
            writeln!(formatter, "better {line}")?;
        }
        if !self.worse.is_empty() || !self.better.is_empty() {
            writeln!(formatter, "`cargo xtask bench --update-baseline` makes these counts the baseline")?;
        }
        writeln!(formatter, "{} counts compared, {} worse", self.compared, self.worse.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::tests::{OURS, figure};
    use palimpsest_host::kernel::Target;

    fn figures(counts: &[(&str, f64)]) -> Figures {
        let list = counts.iter().map(|(name, count)| figure(name, Unit::Instructions, *count));
        Figures::of(OURS, list.collect())
    }

    fn compared(before: &[(&str, f64)], now: &[(&str, f64)]) -> Result<Comparison> {
        compare(&of(None, &figures(before))?, &figures(now))
    }

    #[test]
    fn a_count_that_is_a_tenth_larger_fails_the_check() -> Result<()> {
        let comparison =
            compared(&[("clear", 100.0), ("grow", 100.0)], &[("clear", 110.0), ("grow", 109.0)])?;
        assert_eq!(comparison.worse, ["gnu clear: 110 instead of 100 (+10 %)"]);
        assert!(!comparison.is_good());
        Ok(())
    }

    #[test]
    fn small_changes_and_better_counts_pass_it() -> Result<()> {
        let comparison = compared(&[("clear", 100.0), ("grow", 100.0)], &[("clear", 109.9), ("grow", 50.0)])?;
        assert!(comparison.is_good(), "{comparison}");
        assert_eq!(comparison.better, ["gnu grow: 50 instead of 100 (-50 %)"]);
        Ok(())
    }

    #[test]
    fn a_frame_where_there_was_none_fails_it() -> Result<()> {
        assert!(compared(&[("frames", 0.0)], &[("frames", 0.0)])?.is_good());
        assert!(!compared(&[("frames", 0.0)], &[("frames", 1.0)])?.is_good());
        Ok(())
    }

    #[test]
    fn figures_that_are_gone_or_new_fail_it() -> Result<()> {
        let comparison = compared(&[("old", 1.0), ("both", 1.0)], &[("both", 1.0), ("new", 2.0)])?;
        assert_eq!(
            comparison.worse,
            ["gnu old: is no longer measured", "gnu new: 2, and the baseline lacks it"]
        );
        Ok(())
    }

    #[test]
    fn nothing_to_compare_is_no_success() -> Result<()> {
        assert!(!compared(&[], &[]).is_ok_and(|comparison| comparison.is_good()));
        Ok(())
    }

    #[test]
    fn what_the_machine_costs_is_left_out() -> Result<()> {
        assert!(!of(None, &figures(&[("zero_memset", 5.0)]))?.contains("zero_memset"));
        Ok(())
    }

    #[test]
    fn each_target_is_held_against_its_own_counts() -> Result<()> {
        let none = Origin { source: Source::Kernel(Target::None), ..OURS };
        let both = |gnu, on_none| {
            let mut both = figures(&[("clear", gnu)]);
            both.extend(Figures::of(none, vec![figure("clear", Unit::Instructions, on_none)]));
            both
        };
        let comparison = compare(&of(None, &both(100.0, 200.0))?, &both(100.0, 300.0))?;
        assert_eq!(comparison.worse, ["none clear: 300 instead of 200 (+50 %)"]);
        assert_eq!(comparison.compared, 2);
        let without_none = of(None, &figures(&[("clear", 100.0)]))?;
        assert!(compare(&without_none, &both(100.0, 200.0)).is_err());
        Ok(())
    }

    #[test]
    fn an_update_keeps_the_counts_of_other_targets() -> Result<()> {
        let before = r#"{"none": {"clear": 7.0}}"#;
        let file = parse(&of(Some(before), &figures(&[("clear", 5.0)]))?)?;
        assert_eq!((&file["none"]["clear"], &file["gnu"]["clear"]), (&7.0.into(), &5.0.into()));
        Ok(())
    }
}
