//! The checked-in counts and goals that a change is compared with: `bench/baseline.json`.
//!
//! Counts under `-icount` repeat to 0.1 % from run to run and from machine to machine. Only a
//! change of the code or of the compiler moves them further. The check fails for a count that is
//! more than 2 % worse, for one that is no longer measured or that the file lacks, and for a goal
//! that was met and is now missed. The file also has Linux's counts, measured once by the peers, so
//! that the goals can be judged without the peers.

use crate::counts;
use crate::figure::{Figure, Figures, Source, Unit};
use crate::goals::{Counts, Goal, Verdict};
use crate::sizes::{FlashGoals, Sizes};
use anyhow::{Context, Result};
use palimpsest_host::kernel::Target;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::Path;

/// The file, from the repository's root.
pub(crate) const FILE: &str = "bench/baseline.json";

/// A count may be this much worse, as a part of itself.
const TOLERANCE: f64 = 0.02;

/// The content of the file.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Baseline {
    /// The goals, in the order in which they are printed
    pub(crate) goals: Vec<Goal>,
    /// Linux's counts, and what they were measured with
    pub(crate) linux: Reference,
    /// The goals for what firmware takes
    #[serde(default)]
    pub(crate) flash_goals: FlashGoals,
    /// What firmware takes
    #[serde(default)]
    pub(crate) sizes: Sizes,
    /// The counts of our kernels, by target
    counts: BTreeMap<String, Counts>,
}

/// Counts of the Linux guest.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reference {
    /// The day on which they were measured
    pub(crate) date: String,
    /// The release of the guest's Linux kernel
    pub(crate) kernel: String,
    /// The version of QEMU
    pub(crate) emulator: String,
    /// The model of the CPU
    pub(crate) cpu: String,
    /// The counts
    pub(crate) counts: Counts,
}

impl Baseline {
    /// Reads the file below `root`.
    ///
    /// # Errors
    /// It cannot be read, or is not what [`write`](Self::write) writes.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let text = fs::read_to_string(root.join(FILE)).with_context(|| format!("cannot read {FILE}"))?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self> {
        let baseline: Self = serde_json::from_str(text).with_context(|| format!("{FILE} is damaged"))?;
        baseline.goals.iter().try_for_each(Goal::check)?;
        Ok(baseline)
    }

    /// Writes the file below `root`.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn write(&self, root: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).expect("it has string keys");
        fs::write(root.join(FILE), text + "\n").with_context(|| format!("cannot write {FILE}"))
    }

    /// Replaces the counts of the targets that `figures` are of.
    pub(crate) fn update(&mut self, figures: &Figures) {
        for (target, measured) in by_target(figures) {
            self.counts.insert(target.to_string(), measured);
        }
    }

    /// Compares figures with the file.
    ///
    /// # Errors
    /// The file has no counts for one of the targets.
    pub(crate) fn compare(&self, figures: &Figures) -> Result<Comparison> {
        let mut comparison = Comparison::default();
        for (target, measured) in by_target(figures) {
            let before = self.counts.get(&target.to_string());
            let before = before.with_context(|| format!("{FILE} has no counts for {target}"))?;
            for (name, count) in before {
                comparison.add(target, name, Some(*count), measured.get(name).copied());
            }
            for (name, count) in measured.iter().filter(|(name, _)| !before.contains_key(*name)) {
                comparison.add(target, name, None, Some(*count));
            }
            let now = counts::of(figures, Source::Kernel(target));
            for goal in self.goals.iter().filter(|goal| goal.concerns(target)) {
                let linux = &self.linux.counts;
                comparison.judge(target, goal, goal.judge(before, linux), goal.judge(&now, linux));
            }
        }
        Ok(comparison)
    }
}

/// The counts of our kernels' figures.
fn by_target(figures: &Figures) -> Vec<(Target, Counts)> {
    let targets = [Target::Gnu, Target::None].map(|target| {
        let of_target = figures.of_origin(counts::origin(Source::Kernel(target)));
        let compared = of_target.filter(|figure| is_compared(figure));
        let names: BTreeSet<_> = compared.map(|figure| figure.name.clone()).collect();
        let mut counts = counts::of(figures, Source::Kernel(target));
        counts.retain(|name, _| names.contains(name));
        (target, counts)
    });
    targets.into_iter().filter(|(_, counts)| !counts.is_empty()).collect()
}

/// Whether the file has the count of a figure. It has not those of the ways to zero memory, which
/// are not our code, of modules of other projects, which are not available everywhere, and of a
/// machine full of instances, which takes minutes.
fn is_compared(figure: &Figure) -> bool {
    let is_left_out = ["zero_", "load", "density"].iter().any(|prefix| figure.name.starts_with(prefix));
    match figure.unit {
        Unit::Instructions | Unit::InstructionsPerPage | Unit::Frames | Unit::Bytes => !is_left_out,
        Unit::Ns | Unit::NsPerPage | Unit::Instances | Unit::Interrupts => false,
    }
}

/// What a comparison found.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Comparison {
    compared: usize,
    worse: Vec<String>,
    better: Vec<String>,
    met: usize,
    /// Goals that were met
    missed: Vec<String>,
    /// Goals that were not met before either, with their reasons
    not_met: Vec<String>,
}

impl Comparison {
    /// Whether nothing is worse, no goal is missed that was met, and there was something to
    /// compare.
    pub(crate) const fn is_good(&self) -> bool {
        self.worse.is_empty() && self.missed.is_empty() && self.compared > 0
    }

    fn add(&mut self, target: Target, name: &str, before: Option<f64>, now: Option<f64>) {
        let (before, now) = match (before, now) {
            (Some(before), Some(now)) => (before, now),
            (_, None) => return self.worse.push(format!("{target} {name}: it is no longer measured")),
            (None, Some(now)) => {
                return self.worse.push(format!("{target} {name}: {now}, and the baseline lacks it"));
            }
        };
        self.compared += 1;
        // Both are whole tenths; a difference of one may be rounding.
        let notable = (before * TOLERANCE).max(0.1) + 1e-9;
        let line = || format!("{target} {name}: {now} instead of {before}{}", percentage(before, now));
        if now - before > notable {
            self.worse.push(line());
        } else if before - now > notable {
            self.better.push(line());
        }
    }

    fn judge(&mut self, target: Target, goal: &Goal, before: Verdict, now: Verdict) {
        match (before, now) {
            (_, Verdict::Met(_)) => self.met += 1,
            (Verdict::Met(before), Verdict::NotMet(now)) => {
                self.missed.push(format!("{target} {goal}: {now:.3} instead of {before:.3}"));
            }
            (Verdict::NotMet(_) | Verdict::NotMeasured, Verdict::NotMet(now)) => {
                let reason = goal.reason.iter().map(|reason| format!(" ({reason})")).collect::<String>();
                self.not_met.push(format!("{target} {goal}: {now:.3}{reason}"));
            }
            (_, Verdict::NotMeasured) => {}
        }
    }
}

/// The change, unless there is nothing to compare it with.
fn percentage(before: f64, now: f64) -> String {
    if before == 0.0 {
        return String::new();
    }
    format!(" ({:+.1} %)", (now / before - 1.0) * 100.0)
}

impl fmt::Display for Comparison {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups = [
            ("WORSE", &self.worse),
            ("better", &self.better),
            ("MISSED goal", &self.missed),
            ("goal not met", &self.not_met),
        ];
        for (what, lines) in groups {
            lines.iter().try_for_each(|line| writeln!(formatter, "{what}: {line}"))?;
        }
        if !self.worse.is_empty() || !self.better.is_empty() {
            writeln!(formatter, "`cargo xtask bench --update-baseline` makes these counts the baseline")?;
        }
        writeln!(
            formatter,
            "{} counts compared, {} worse; {} goals met, {} missed, {} not met yet",
            self.compared,
            self.worse.len(),
            self.met,
            self.missed.len(),
            self.not_met.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Origin;
    use crate::figure::tests::{OURS, figure};
    use crate::goals::tests::goal;

    const COUNTED: Origin = counts::origin(Source::Kernel(Target::Gnu));

    fn figures(counts: &[(&str, f64)]) -> Figures {
        let list = counts.iter().map(|(name, count)| figure(name, Unit::Instructions, *count));
        Figures::of(COUNTED, list.collect())
    }

    fn baseline(counts: &[(&str, f64)]) -> Baseline {
        let mut baseline = Baseline::default();
        baseline.update(&figures(counts));
        baseline
    }

    fn compared(before: &[(&str, f64)], now: &[(&str, f64)]) -> Result<Comparison> {
        baseline(before).compare(&figures(now))
    }

    #[test]
    fn a_count_that_is_more_than_two_percent_larger_fails_the_check() -> Result<()> {
        let comparison =
            compared(&[("clear", 100.0), ("grow", 100.0)], &[("clear", 102.1), ("grow", 102.0)])?;
        assert_eq!(comparison.worse, ["gnu clear: 102.1 instead of 100 (+2.1 %)"]);
        assert!(!comparison.is_good());
        Ok(())
    }

    #[test]
    fn small_changes_and_better_counts_pass_it() -> Result<()> {
        let comparison = compared(&[("clear", 100.0), ("grow", 100.0)], &[("clear", 101.9), ("grow", 50.0)])?;
        assert!(comparison.is_good(), "{comparison}");
        assert_eq!(comparison.better, ["gnu grow: 50 instead of 100 (-50.0 %)"]);
        Ok(())
    }

    #[test]
    fn a_rounded_tenth_is_not_a_regression() -> Result<()> {
        assert!(compared(&[("clear", 2.1)], &[("clear", 2.2)])?.is_good());
        assert!(!compared(&[("clear", 2.1)], &[("clear", 2.3)])?.is_good());
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
            ["gnu old: it is no longer measured", "gnu new: 2, and the baseline lacks it"]
        );
        Ok(())
    }

    #[test]
    fn nothing_to_compare_is_not_a_success() -> Result<()> {
        assert!(!Baseline::default().compare(&Figures::default())?.is_good());
        Ok(())
    }

    #[test]
    fn times_and_what_the_machine_costs_are_left_out() {
        let mut baseline = baseline(&[("zero_memset", 5.0), ("clear", 1.0)]);
        baseline.update(&Figures::of(OURS, vec![figure("clear", Unit::Ns, 9.0)]));
        assert_eq!(baseline.counts["gnu"], [("clear".to_owned(), 1.0)].into());
    }

    #[test]
    fn each_target_is_compared_with_its_own_counts() -> Result<()> {
        let none = Origin { source: Source::Kernel(Target::None), ..COUNTED };
        let both = |gnu, on_none| {
            let mut both = figures(&[("clear", gnu)]);
            both.extend(Figures::of(none, vec![figure("clear", Unit::Instructions, on_none)]));
            both
        };
        let mut baseline = baseline(&[("clear", 100.0)]);
        assert!(baseline.compare(&both(100.0, 200.0)).is_err());
        baseline.update(&both(100.0, 200.0));
        let comparison = baseline.compare(&both(100.0, 300.0))?;
        assert_eq!(comparison.worse, ["none clear: 300 instead of 200 (+50.0 %)"]);
        assert_eq!(comparison.compared, 2);
        Ok(())
    }

    #[test]
    fn a_goal_that_was_met_must_not_be_missed() -> Result<()> {
        let mut baseline = baseline(&[("clear", 100.0), ("call", 200.0)]);
        baseline.linux.counts = [("clear".to_owned(), 1000.0), ("call".to_owned(), 100.0)].into();
        let mut unmet = goal("call", Some("linux"), 1.1);
        unmet.reason = Some("it crosses a border".to_owned());
        baseline.goals = vec![goal("clear", Some("linux"), 0.1), unmet];
        let as_before = baseline.compare(&figures(&[("clear", 100.0), ("call", 200.0)]))?;
        assert!(as_before.is_good(), "{as_before}");
        assert_eq!(as_before.not_met, ["gnu call / Linux <= 1.1: 2.000 (it crosses a border)"]);
        let missed = baseline.compare(&figures(&[("clear", 101.0), ("call", 200.0)]))?;
        assert_eq!(missed.missed, ["gnu clear / Linux <= 0.1: 0.101 instead of 0.100"]);
        assert!(missed.worse.is_empty() && !missed.is_good());
        Ok(())
    }

    #[test]
    fn a_goal_has_a_reason_exactly_if_it_is_not_met() -> Result<()> {
        let file = Baseline::parse(include_str!("../../baseline.json"))?;
        for goal in &file.goals {
            let verdicts = [Target::Gnu, Target::None].into_iter().filter(|target| goal.concerns(*target));
            let missed = verdicts
                .filter_map(|target| file.counts.get(&target.to_string()))
                .any(|counts| matches!(goal.judge(counts, &file.linux.counts), Verdict::NotMet(_)));
            assert_eq!(goal.reason.is_some(), missed, "{goal}");
        }
        assert_eq!(file.flash_goals.surprising(&file.sizes), Vec::<String>::new());
        Ok(())
    }

    #[test]
    fn the_file_is_read_back_as_it_was_written() -> Result<()> {
        let mut baseline = baseline(&[("clear", 7.5)]);
        baseline.goals = vec![goal("clear", Some("linux"), 0.1)];
        baseline.linux.counts = [("clear".to_owned(), 1000.0)].into();
        assert_eq!(Baseline::parse(&serde_json::to_string_pretty(&baseline)?)?, baseline);
        Ok(())
    }
}
