//! Goals: bounds on figures, most of them on ratios of instruction counts.
//!
//! The list is in `bench/baseline.json`, beside the counts that it is about, because both change
//! together. A goal concerns the kernel of each target that it names, or of both. A goal that is
//! not met states why.

use anyhow::{Result, ensure};
use palimpsest_host::kernel::Target;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Instruction counts, frames and instances by the names of their figures.
pub(crate) type Counts = BTreeMap<String, f64>;

/// What a goal's figure is divided by if it is Linux's figure of the same name.
const LINUX: &str = "linux";

/// A bound on a figure or on a ratio of two.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Goal {
    /// The figure's name
    figure: String,
    /// The figure that it is divided by: `linux`, or the name of another figure of the same kernel
    #[serde(default, skip_serializing_if = "Option::is_none")]
    against: Option<String>,
    /// The largest value that meets the goal
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at_most: Option<f64>,
    /// The smallest value that meets the goal
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at_least: Option<f64>,
    /// The target whose kernel it concerns; both if there is none
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    /// Why it is not met
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

/// What became of a goal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// The value meets the bound
    Met(f64),
    /// The value does not meet the bound
    NotMet(f64),
    /// A figure is missing
    NotMeasured,
}

impl Goal {
    /// Checks that there is exactly one bound.
    ///
    /// # Errors
    /// There is none, or there are two.
    pub(crate) fn check(&self) -> Result<()> {
        let bounds = self.at_most.iter().chain(&self.at_least).count();
        ensure!(bounds == 1, "the goal for {} has {bounds} bounds: write at_most or at_least", self.figure);
        Ok(())
    }

    /// Whether the goal concerns the kernel of `target`.
    pub(crate) fn concerns(&self, target: Target) -> bool {
        self.target.as_ref().is_none_or(|name| *name == target.to_string())
    }

    /// Compares the figure, or its ratio, with the bound.
    pub(crate) fn judge(&self, counts: &Counts, linux: &Counts) -> Verdict {
        let divisor = match self.against.as_deref() {
            None => Some(1.0),
            Some(LINUX) => linux.get(&self.figure).copied(),
            Some(other) => counts.get(other).copied(),
        };
        let Some((count, divisor)) = counts.get(&self.figure).zip(divisor) else {
            return Verdict::NotMeasured;
        };
        let value = count / divisor;
        let met = self.at_most.is_none_or(|limit| value <= limit)
            && self.at_least.is_none_or(|limit| value >= limit);
        if met { Verdict::Met(value) } else { Verdict::NotMet(value) }
    }

    /// The figure's name.
    pub(crate) fn figure(&self) -> &str {
        &self.figure
    }

    /// What the figure is divided by, as a person reads it.
    pub(crate) fn divisor(&self) -> Option<&str> {
        self.against.as_deref().map(|against| if against == LINUX { "Linux" } else { against })
    }

    /// The bound, as a person reads it.
    pub(crate) fn bound(&self) -> String {
        match (self.at_most, self.at_least) {
            (Some(limit), _) => format!("<= {limit}"),
            (None, Some(limit)) => format!(">= {limit}"),
            (None, None) => String::new(),
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.figure)?;
        if let Some(divisor) = self.divisor() {
            write!(formatter, " / {divisor}")?;
        }
        write!(formatter, " {}", self.bound())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A goal without reason for both targets.
    pub(crate) fn goal(figure: &str, against: Option<&str>, at_most: f64) -> Goal {
        Goal {
            figure: figure.to_owned(),
            against: against.map(str::to_owned),
            at_most: Some(at_most),
            at_least: None,
            target: None,
            reason: None,
        }
    }

    fn counts(list: &[(&str, f64)]) -> Counts {
        list.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    #[test]
    fn a_ratio_is_taken_to_linux_or_to_another_figure() {
        let ours = counts(&[("clear", 20.0), ("grow/1", 80.0), ("grow/65535", 100.0)]);
        let linux = counts(&[("clear", 1000.0)]);
        assert_eq!(goal("clear", Some("linux"), 0.03).judge(&ours, &linux), Verdict::Met(0.02));
        assert_eq!(goal("grow/65535", Some("grow/1"), 1.2).judge(&ours, &linux), Verdict::NotMet(1.25));
        assert_eq!(goal("clear", None, 20.0).judge(&ours, &linux), Verdict::Met(20.0));
    }

    #[test]
    fn a_missing_figure_neither_meets_nor_misses_a_goal() {
        let ours = counts(&[("clear", 20.0)]);
        for goal in [goal("grow/1", None, 1.0), goal("clear", Some("linux"), 1.0)] {
            assert_eq!(goal.judge(&ours, &Counts::new()), Verdict::NotMeasured);
        }
    }

    #[test]
    fn a_lower_bound_is_met_at_the_bound_itself() {
        let goal = Goal { at_most: None, at_least: Some(6000.0), ..goal("density/instances", None, 0.0) };
        let judge = |instances| goal.judge(&counts(&[("density/instances", instances)]), &Counts::new());
        assert_eq!(judge(6000.0), Verdict::Met(6000.0));
        assert_eq!(judge(5999.0), Verdict::NotMet(5999.0));
        assert_eq!(goal.to_string(), "density/instances >= 6000");
    }

    #[test]
    fn a_goal_has_one_bound() {
        let unbounded = Goal { at_most: None, ..goal("clear", None, 1.0) };
        let twice = Goal { at_least: Some(0.5), ..goal("clear", None, 1.0) };
        assert!(unbounded.check().is_err() && twice.check().is_err());
        assert!(goal("clear", None, 1.0).check().is_ok());
    }

    #[test]
    fn a_goal_may_concern_one_target_only() {
        let gnu = Goal { target: Some("gnu".to_owned()), ..goal("kernel/fib", Some("linux"), 1.01) };
        assert!(gnu.concerns(Target::Gnu) && !gnu.concerns(Target::None));
        let both = goal("clear", None, 1.0);
        assert!(both.concerns(Target::Gnu) && both.concerns(Target::None));
    }
}
