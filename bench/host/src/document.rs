//! What a measurement is written down as: Markdown for people, JSON for programs.
//!
//! Nothing is computed here but ratios of neighbouring columns. The hand-written parts of the page
//! are the files `preface.md`, `plots.md`, `forks.md` and `names.md`; how names and numbers are
//! written is in [`words`].

mod forks;
mod runtimes;
mod words;

use crate::baseline::{Baseline, Reference};
use crate::boots::Measured;
use crate::counts;
use crate::figure::{Figure, Figures, Origin, Source, compared, is_time};
use crate::goals::{Goal, Verdict};
use anyhow::{Context, Result};
use duct::cmd;
use palimpsest_host::kernel::Target;
use palimpsest_host::packages::Tool;
use palimpsest_host::protocol::Sample;
use palimpsest_host::qemu::{Clock, Cpu};
use serde_json::{Value, json};
use std::fmt::Write;
use std::fs;
use words::{case, cell, number, plain_name, spread_cell};

/// How the figures are measured and what they mean.
const PREFACE: &str = include_str!("document/preface.md");

/// The plots, with what each of them shows.
const PLOTS: &str = include_str!("document/plots.md");

/// The meaning of the figures' names.
const NAMES: &str = include_str!("document/names.md");

/// The targets, as columns of the goals' table.
const TARGETS: [Target; 2] = [Target::Gnu, Target::None];

/// A measurement.
#[derive(Debug)]
pub(crate) struct Document {
    /// All figures
    pub(crate) figures: Figures,
    /// The state of a machine while it is filled with instances
    pub(crate) samples: Vec<Sample>,
    /// The goals, and Linux's counts to judge them by
    baseline: Baseline,
    emulator: String,
    processor: String,
}

impl Document {
    /// A measurement on this machine, to be judged by the goals of `baseline`.
    ///
    /// # Errors
    /// QEMU does not print its version.
    pub(crate) fn new(baseline: Baseline) -> Result<Self> {
        let (figures, samples) = (Figures::default(), Vec::new());
        Ok(Self { figures, samples, baseline, emulator: emulator()?, processor: processor() })
    }

    /// Adds what a boot or a peer measured.
    pub(crate) fn add(&mut self, measured: Measured) {
        self.figures.extend(measured.figures);
        self.samples.extend(measured.samples);
    }

    /// Replaces Linux's recorded counts by those of this measurement.
    pub(crate) fn set_reference(&mut self, reference: Reference) {
        self.baseline.linux = reference;
    }

    /// Linux's counts that the goals are judged by.
    pub(crate) const fn reference(&self) -> &Reference {
        &self.baseline.linux
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let figures: Vec<_> =
            self.figures.iter().map(|(origin, figure)| self.figure_json(*origin, figure)).collect();
        let goals: Vec<_> = self.baseline.goals.iter().map(|goal| self.goal_json(goal)).collect();
        let accelerator = "tcg,thread=single";
        json!({
            "machine": { "emulator": self.emulator, "processor": self.processor, "accelerator": accelerator },
            "goals": goals,
            "figures": figures,
            "samples": self.samples,
        })
    }

    fn figure_json(&self, origin: Origin, figure: &Figure) -> Value {
        let clock = match origin.clock {
            Clock::Host => "host",
            Clock::Instructions => "instructions",
        };
        let mut value = serde_json::to_value(figure).expect("a figure has string keys");
        value["source"] = origin.source.to_string().into();
        value["cpu"] = origin.cpu.to_string().into();
        value["clock"] = clock.into();
        if let Some(spread) = self.figures.spread(origin, &figure.name) {
            value["rounds"] = json!([spread.low, spread.high]);
        }
        value
    }

    fn goal_json(&self, goal: &Goal) -> Value {
        let mut value = serde_json::to_value(goal).expect("a goal has string keys");
        for (target, verdict) in self.verdicts(goal) {
            value[target.to_string()] = match verdict {
                Verdict::Met(found) => json!({ "value": found, "met": true }),
                Verdict::NotMet(found) => json!({ "value": found, "met": false }),
                Verdict::NotMeasured => Value::Null,
            };
        }
        value
    }

    /// The tables, for people.
    pub(crate) fn markdown(&self) -> String {
        self.page_with("")
    }

    /// The page of the documentation: the tables, with the plots after the goals.
    pub(crate) fn page(&self) -> String {
        self.page_with(PLOTS)
    }

    fn page_with(&self, plots: &str) -> String {
        let mut text = format!("{PREFACE}\n{} on {}.\n", self.emulator, self.processor);
        text.push_str(&self.goals());
        text.push_str(plots);
        text.push_str(&forks::text(&self.figures));
        text.push_str(NAMES);
        for cpu in Cpu::ALL {
            text.push_str(&self.times(cpu));
        }
        text.push_str(&self.other_target());
        text.push_str(&self.counts());
        text.push_str(&self.policies(Clock::Instructions));
        text.push_str(&self.policies(Clock::Host));
        text.push_str(&runtimes::table(&self.figures));
        text.push_str(&self.list("The bare program in the emulator", Source::Floor, Clock::Host));
        text
    }

    /// What became of a goal on each target that it concerns.
    fn verdicts(&self, goal: &Goal) -> Vec<(Target, Verdict)> {
        let concerned = TARGETS.into_iter().filter(|target| goal.concerns(*target));
        let judged = concerned.map(|target| {
            let counts = counts::of(&self.figures, Source::Kernel(target));
            (target, goal.judge(&counts, &self.baseline.linux.counts))
        });
        judged.collect()
    }

    fn goals(&self) -> String {
        let mut lines = String::new();
        let mut reasons = String::new();
        for goal in &self.baseline.goals {
            let verdicts = self.verdicts(goal);
            let value = |target| match verdicts.iter().find(|(of, _)| *of == target) {
                None => String::new(),
                Some((_, Verdict::Met(value))) => number(*value),
                Some((_, Verdict::NotMet(value))) => format!("**{}, not met**", number(*value)),
                Some((_, Verdict::NotMeasured)) => "not measured".to_owned(),
            };
            let divisor = goal.divisor().map(|divisor| format!(" / {}", case(divisor))).unwrap_or_default();
            let what = format!("{}{divisor}", case(goal.figure()));
            line(&mut lines, &[&what, &goal.bound(), &value(Target::Gnu), &value(Target::None)]);
            let is_missed = verdicts.iter().any(|(_, verdict)| matches!(verdict, Verdict::NotMet(_)));
            if let Some(reason) = goal.reason.as_ref().filter(|_| is_missed) {
                writeln!(reasons, "- {what}: {reason}.").expect("writing to a string cannot fail");
            }
        }
        let heads = ["instructions, frames or instances", "goal", "gnu", "none"];
        let mut text = section("Goals", &heads, &lines);
        if !reasons.is_empty() {
            write!(text, "\nWhy goals are not met:\n\n{reasons}").expect("writing to a string cannot fail");
        }
        text
    }

    /// Our times beside Linux's. Frames and bytes are in the table of [`counts`](Self::counts).
    fn times(&self, cpu: Cpu) -> String {
        let ours = Origin { source: Source::Kernel(Target::Gnu), cpu, clock: Clock::Host };
        let linux = Origin { source: Source::Linux, ..ours };
        let mut text = String::new();
        let standing = self
            .figures
            .of_origin(ours)
            .filter(|figure| plain_name(&figure.name).is_none() && is_time(figure));
        for figure in standing {
            let cell_of =
                |origin: Origin, figure| spread_cell(figure, self.figures.spread(origin, &figure.name));
            let theirs = self.figures.find(linux, &figure.name);
            let ratio = theirs.map(|theirs| number(compared(figure) / compared(theirs))).unwrap_or_default();
            let theirs = theirs.map(|theirs| cell_of(linux, theirs)).unwrap_or_default();
            let unit = figure.unit.to_string();
            line(&mut text, &[&case(&figure.name), &unit, &cell_of(ours, figure), &theirs, &ratio]);
        }
        section(
            &format!("Times with -cpu {cpu}: median, and the range of the rounds"),
            &["what", "unit", "Palimpsest", "Linux guest", "ratio"],
            &text,
        )
    }

    /// What each policy changes: a figure with the policy changed, beside the one with the
    /// defaults.
    fn policies(&self, clock: Clock) -> String {
        let cpu = match clock {
            Clock::Host => Cpu::Max,
            Clock::Instructions => counts::CPU,
        };
        let origin = Origin { source: Source::Kernel(Target::Gnu), cpu, clock };
        let mut text = String::new();
        let shown = |figure: &&Figure| clock == Clock::Instructions || is_time(figure);
        for figure in self.figures.of_origin(origin).filter(shown) {
            let plain = plain_name(&figure.name).and_then(|name| self.figures.find(origin, name));
            let Some(plain) = plain.filter(|plain| plain.median != figure.median) else { continue };
            // A ratio to zero has no meaning.
            let ratio = (plain.median != 0.0).then(|| number(figure.median / plain.median));
            let ratio = ratio.unwrap_or_default();
            let unit = figure.unit.to_string();
            line(&mut text, &[&case(&figure.name), &unit, &cell(figure), &cell(plain), &ratio]);
        }
        let what = match clock {
            Clock::Host => "times",
            Clock::Instructions => "instructions",
        };
        let heads = ["what", "unit", "with this change", "by default", "ratio"];
        section(&format!("Effect of each policy: {what}"), &heads, &text)
    }

    fn other_target(&self) -> String {
        let none = Origin { source: Source::Kernel(Target::None), cpu: Cpu::Max, clock: Clock::Host };
        let gnu = Origin { source: Source::Kernel(Target::Gnu), ..none };
        let linux = Origin { source: Source::Linux, ..none };
        let mut text = String::new();
        for figure in self.figures.of_origin(none) {
            let find = |origin| self.figures.find(origin, &figure.name).map(cell).unwrap_or_default();
            let unit = figure.unit.to_string();
            line(&mut text, &[&case(&figure.name), &unit, &cell(figure), &find(gnu), &find(linux)]);
        }
        let heads = ["what", "unit", "for none", "for gnu", "Linux guest"];
        section("Times of the kernel for x86_64-unknown-none, with -cpu max", &heads, &text)
    }

    /// Our counts of both targets beside Linux's.
    fn counts(&self) -> String {
        let [gnu, none] = TARGETS.map(|target| counts::origin(Source::Kernel(target)));
        let mut text = String::new();
        let standing = self.figures.of_origin(gnu).filter(|figure| plain_name(&figure.name).is_none());
        for figure in standing {
            let on_none = self.figures.find(none, &figure.name);
            let on_none = on_none.map(|figure| number(compared(figure))).unwrap_or_default();
            let linux = self.baseline.linux.counts.get(&figure.name);
            let ratio = linux.map(|linux| number(compared(figure) / linux)).unwrap_or_default();
            let linux = linux.map(|linux| number(*linux)).unwrap_or_default();
            let (what, unit) = (case(&figure.name), figure.unit.to_string());
            line(&mut text, &[&what, &unit, &number(compared(figure)), &on_none, &linux, &ratio]);
        }
        let Reference { date, kernel, emulator, cpu, .. } = &self.baseline.linux;
        let heads = ["what", "unit", "for gnu", "for none", "Linux guest", "gnu / Linux"];
        let table = section("Instructions", &heads, &text);
        if table.is_empty() {
            return table;
        }
        format!("{table}\nThe Linux guest: Linux {kernel} with `-cpu {cpu}`, {emulator}, {date}.\n")
    }

    fn list(&self, title: &str, source: Source, clock: Clock) -> String {
        let mut text = String::new();
        let origin = Origin { source, cpu: Cpu::Max, clock };
        for figure in self.figures.of_origin(origin) {
            line(&mut text, &[&case(&figure.name), &figure.unit.to_string(), &cell(figure)]);
        }
        section(title, &["what", "unit", "median (smallest)"], &text)
    }
}

/// A table with its heading, or nothing if it has no lines.
fn section(title: &str, heads: &[&str], lines: &str) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let rule = "--- | ".repeat(heads.len());
    format!("\n## {title}\n\n| {} |\n| {}\n{lines}", heads.join(" | "), rule.trim_end())
}

fn line(text: &mut String, cells: &[&str]) {
    writeln!(text, "| {} |", cells.join(" | ")).expect("writing to a string cannot fail");
}

/// The first line of QEMU's version.
///
/// # Errors
/// QEMU cannot be started.
pub(crate) fn emulator() -> Result<String> {
    let version =
        cmd!(Tool::Qemu.executable(), "--version").read().context("cannot get the version of QEMU")?;
    Ok(version.lines().next().unwrap_or_default().to_owned())
}

/// The processor under the emulator, where the system names it.
fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or_else(|| "an unnamed processor".to_owned(), |(_, name)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Unit;
    use crate::figure::tests::{OURS, figure};
    use crate::goals::tests::goal;

    fn document(figures: Figures) -> Document {
        let mut baseline = Baseline::default();
        baseline.goals = vec![goal("clear/65536", Some("linux"), 0.08)];
        baseline.linux.counts = [("clear/65536".to_owned(), 1000.0)].into();
        Document {
            figures,
            samples: vec![Sample { name: "density".to_owned(), instances: 100, bytes: 4096 }],
            baseline,
            emulator: "QEMU".to_owned(),
            processor: "a processor".to_owned(),
        }
    }

    fn counted(target: Target, count: f64) -> Figures {
        let origin = counts::origin(Source::Kernel(target));
        Figures::of(origin, vec![figure("clear/65536", Unit::InstructionsPerPage, count)])
    }

    #[test]
    fn our_time_stands_beside_linux_with_the_ratio_and_the_range_of_the_rounds() {
        let round = |ours, linux| {
            let mut figures = Figures::of(OURS, vec![figure("clear/65536", Unit::NsPerPage, ours)]);
            let origin = Origin { source: Source::Linux, ..OURS };
            figures.extend(Figures::of(origin, vec![figure("clear/65536", Unit::NsPerPage, linux)]));
            figures
        };
        let figures = Figures::of_rounds(vec![round(50.0, 2000.0), round(40.0, 1000.0), round(60.0, 3000.0)]);
        let text = document(figures).markdown();
        let row = "| clear, 64 KiB | ns per page | 50 (40 to 60) | 2,000 (1,000 to 3,000) | 0.025 |";
        assert!(text.contains(row), "{text}");
        assert!(text.contains("## Times with -cpu max: "), "{text}");
        assert!(!text.contains("## Times with -cpu max,-erms,-fsrm: "), "{text}");
    }

    #[test]
    fn a_policy_stands_beside_the_default_and_nowhere_else() {
        let names = [("first_touch/65536", 100.0), ("first_touch/65536/without fault-around", 150.0)];
        let list = names.map(|(name, value)| figure(name, Unit::NsPerPage, value));
        let text = document(Figures::of(OURS, list.to_vec())).markdown();
        let row = "| first_touch, 64 KiB, without fault-around | ns per page | 150 | 100 | 1.500 |";
        assert!(text.contains(row), "{text}");
        assert_eq!(text.matches("without fault-around").count(), 1);
    }

    #[test]
    fn a_goal_has_a_value_for_each_target_and_is_marked_if_it_is_not_met() {
        let mut figures = counted(Target::Gnu, 75.0);
        figures.extend(counted(Target::None, 100.0));
        let text = document(figures).markdown();
        let row = "| clear, 64 KiB / Linux | <= 0.08 | 0.075 | **0.100, not met** |";
        assert!(text.contains(row), "{text}");
        let text = document(counted(Target::Gnu, 75.0)).markdown();
        assert!(text.contains("| clear, 64 KiB / Linux | <= 0.08 | 0.075 | not measured |"), "{text}");
    }

    #[test]
    fn the_json_has_every_goal_even_without_a_value() {
        let mut figures = counted(Target::Gnu, 75.0);
        figures.extend(Figures::of(OURS, vec![figure("grow/1", Unit::Ns, 7000.0)]));
        let json = document(figures).json();
        assert_eq!(json["goals"][0]["gnu"], json!({ "value": 0.075, "met": true }));
        assert_eq!(json["goals"][0]["none"], Value::Null);
        assert_eq!(json["figures"][1]["source"], "palimpsest-gnu");
        assert_eq!(json["figures"][1]["median"], 7000.0);
        assert_eq!(json["samples"][0]["instances"], 100);
    }
}
