//! What a measurement is written down as: a Markdown table for people, JSON for programs.
//!
//! Owns both forms; how names and numbers are written is in [`words`]. Nothing is computed here but ratios of
//! neighbouring columns; the goals come from [`goals`].

mod runtimes;
mod words;

use crate::boots::Measured;
use crate::figure::{Figure, Figures, Origin, Source, compared};
use crate::goals;
use anyhow::{Context, Result};
use duct::cmd;
use palimpsest_host::kernel::Target;
use palimpsest_host::packages::Tool;
use palimpsest_host::protocol::Sample;
use palimpsest_host::qemu::{Clock, Cpu};
use serde_json::{Value, json};
use std::fmt::Write;
use std::fs;
use words::{case, cell, number, plain_name};

/// What has to be known to read the figures.
const PREFACE: &str = "\
Measured by `cargo xtask bench` in QEMU's TCG with one thread and one CPU. Under TCG code runs about ten
times slower than natively, so that no time here is a promise: what counts are ratios within one run, and
instruction counts, which repeat. A page is 4 KiB. One boot of the emulator may be half as fast as the next,
so that everything is measured in several rounds (`--rounds`, 3 unless said otherwise), and in each of them
Linux and Palimpsest take turns, suite by suite, on both CPUs; where zeroing by the same instruction
(`zero_rep_stosb`) took a tenth longer in one boot than in the other side's, the slower boot is repeated. A
time is the median of the rounds' medians, with the smallest of all runs beside it; ratios are those of
medians, but kernels of Wasm are compared by the smallest. `-cpu max` claims fast string instructions (ERMS),
which Linux then uses and TCG carries out byte by byte: that flatters whoever is compared with Linux, so that
the CPU without them stands beside it. Boots have all of their memory touched beforehand.
";

/// A measurement.
#[derive(Debug)]
pub(crate) struct Document {
    /// All figures
    pub(crate) figures: Figures,
    /// Moments in the filling of a machine with instances
    pub(crate) samples: Vec<Sample>,
    emulator: String,
    processor: String,
}

impl Document {
    /// These figures, with what is known about the machine.
    ///
    /// # Errors
    /// QEMU does not tell its version.
    pub(crate) fn new(figures: Figures) -> Result<Self> {
        let version = cmd!(Tool::Qemu.executable(), "--version").read().context("QEMU tells no version")?;
        let emulator = version.lines().next().unwrap_or_default().to_owned();
        Ok(Self { figures, samples: Vec::new(), emulator, processor: processor() })
    }

    /// Adds what a boot or a peer measured.
    pub(crate) fn add(&mut self, measured: Measured) {
        self.figures.extend(measured.figures);
        self.samples.extend(measured.samples);
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let figures: Vec<_> =
            self.figures.iter().map(|(origin, figure)| figure_json(*origin, figure)).collect();
        let goals: Vec<_> = goals::evaluate(&self.figures).iter().map(goals::Goal::json).collect();
        let accelerator = "tcg,thread=single";
        json!({
            "machine": { "emulator": self.emulator, "processor": self.processor, "accelerator": accelerator },
            "goals": goals,
            "figures": figures,
            "samples": self.samples,
        })
    }

    /// For people.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!("# Measured\n\n{PREFACE}\n{} on {}.\n", self.emulator, self.processor);
        if self.figures.iter().any(|(origin, _)| origin.clock == Clock::Host) {
            text.push_str(&self.goals());
        }
        for cpu in Cpu::ALL {
            text.push_str(&self.times(cpu));
        }
        text.push_str(&self.policies(Clock::Host));
        text.push_str(&self.policies(Clock::Instructions));
        text.push_str(&self.other_target());
        text.push_str(&self.counts());
        text.push_str(&runtimes::table(&self.figures));
        text.push_str(&self.list("The bare program in the emulator", Source::Floor, Clock::Host));
        text
    }

    fn goals(&self) -> String {
        let mut text =
            String::from("\n## Goals\n\n| what | goal | measured | met |\n| --- | --- | --- | --- |\n");
        for goal in goals::evaluate(&self.figures) {
            let value = goal.value.map_or_else(|| "not measured".to_owned(), number);
            let value = goal.note.iter().fold(value, |value, note| format!("{value} ({note})"));
            let met = if goal.is_met() { "yes" } else { "no" };
            line(&mut text, &[&goal.name, &goal.bound.to_string(), &value, met]);
        }
        text
    }

    /// Ours beside Linux's.
    fn times(&self, cpu: Cpu) -> String {
        let ours = Origin { source: Source::Kernel(Target::Gnu), cpu, clock: Clock::Host };
        let linux = Origin { source: Source::Linux, ..ours };
        let mut text = String::new();
        let standing = self.figures.of_origin(ours).filter(|figure| plain_name(&figure.name).is_none());
        for figure in standing {
            let linux = self.figures.find(linux, &figure.name);
            let ratio = linux.map(|linux| number(compared(figure) / compared(linux))).unwrap_or_default();
            let linux = linux.map(cell).unwrap_or_default();
            line(&mut text, &[&case(&figure.name), &figure.unit.to_string(), &cell(figure), &linux, &ratio]);
        }
        section(
            &format!("Times with -cpu {cpu}"),
            &["what", "unit", "Palimpsest", "Linux guest", "ratio"],
            &text,
        )
    }

    /// What each policy brings: a figure with something different, beside the one that stands.
    fn policies(&self, clock: Clock) -> String {
        let origin = Origin { source: Source::Kernel(Target::Gnu), cpu: Cpu::Max, clock };
        let mut text = String::new();
        for figure in self.figures.of_origin(origin) {
            let plain = plain_name(&figure.name).and_then(|name| self.figures.find(origin, name));
            let Some(plain) = plain.filter(|plain| plain.median != figure.median) else { continue };
            // Nothing is no multiple of nothing.
            let ratio = (plain.median != 0.0).then(|| number(figure.median / plain.median));
            let ratio = ratio.unwrap_or_default();
            line(
                &mut text,
                &[&case(&figure.name), &figure.unit.to_string(), &cell(figure), &cell(plain), &ratio],
            );
        }
        let what = match clock {
            Clock::Host => "times",
            Clock::Instructions => "instructions",
        };
        let heads = ["what", "unit", "so", "as it stands", "ratio"];
        section(&format!("What the policies bring: {what}"), &heads, &text)
    }

    fn other_target(&self) -> String {
        let none = Origin { source: Source::Kernel(Target::None), cpu: Cpu::Max, clock: Clock::Host };
        let gnu = Origin { source: Source::Kernel(Target::Gnu), ..none };
        let linux = Origin { source: Source::Linux, ..none };
        let mut text = String::new();
        for figure in self.figures.of_origin(none) {
            let find = |origin| self.figures.find(origin, &figure.name).map(cell).unwrap_or_default();
            line(
                &mut text,
                &[&case(&figure.name), &figure.unit.to_string(), &cell(figure), &find(gnu), &find(linux)],
            );
        }
        let heads = ["what", "unit", "for none", "for gnu", "Linux guest"];
        section("The kernel for x86_64-unknown-none, with -cpu max", &heads, &text)
    }

    fn counts(&self) -> String {
        [Target::Gnu, Target::None]
            .map(|target| {
                let title = format!("Instructions, the kernel for {}", target.triple());
                self.list(&title, Source::Kernel(target), Clock::Instructions)
            })
            .concat()
    }

    fn list(&self, title: &str, source: Source, clock: Clock) -> String {
        let mut text = String::new();
        let origin = Origin { source, cpu: Cpu::Max, clock };
        let standing = self.figures.of_origin(origin).filter(|figure| plain_name(&figure.name).is_none());
        for figure in standing {
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

fn figure_json(origin: Origin, figure: &Figure) -> Value {
    let clock = match origin.clock {
        Clock::Host => "host",
        Clock::Instructions => "instructions",
    };
    let mut value = serde_json::to_value(figure).expect("a figure has string keys");
    value["source"] = origin.source.to_string().into();
    value["cpu"] = origin.cpu.to_string().into();
    value["clock"] = clock.into();
    value
}

/// The processor under the emulator, where the system tells it.
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

    fn document(figures: Figures) -> Document {
        let (emulator, processor) = ("QEMU".to_owned(), "a processor".to_owned());
        Document {
            figures,
            samples: vec![Sample { name: "density".to_owned(), instances: 100, bytes: 4096 }],
            emulator,
            processor,
        }
    }

    #[test]
    fn ours_stands_beside_linux_with_the_ratio() {
        let mut figures = Figures::of(OURS, vec![figure("clear/65536", Unit::NsPerPage, 50.0)]);
        let linux = Origin { source: Source::Linux, ..OURS };
        figures.extend(Figures::of(linux, vec![figure("clear/65536", Unit::NsPerPage, 2000.0)]));
        let text = document(figures).markdown();
        assert!(text.contains("| clear, 64 KiB | ns per page | 50 | 2,000 | 0.025 |"), "{text}");
        assert!(text.contains("## Times with -cpu max\n"), "{text}");
        assert!(!text.contains("## Times with -cpu max,-erms,-fsrm"), "{text}");
    }

    #[test]
    fn a_policy_stands_beside_what_there_is_without_it_and_nowhere_else() {
        let names = [("first_touch/65536", 100.0), ("first_touch/65536/without fault-around", 150.0)];
        let list = names.map(|(name, value)| figure(name, Unit::NsPerPage, value));
        let text = document(Figures::of(OURS, list.to_vec())).markdown();
        let row = "| first_touch, 64 KiB, without fault-around | ns per page | 150 | 100 | 1.500 |";
        assert!(text.contains(row), "{text}");
        assert_eq!(text.matches("without fault-around").count(), 1);
    }

    #[test]
    fn every_goal_is_in_the_json_even_without_a_value() {
        let json = document(Figures::of(OURS, vec![figure("grow/1", Unit::Ns, 7000.0)])).json();
        let goals = json["goals"].as_array().expect("there is a list of goals");
        assert_eq!(goals.len(), goals::evaluate(&Figures::default()).len());
        assert!(goals.iter().all(|goal| goal["value"].is_null() && goal["met"] == false));
        assert_eq!(json["figures"][0]["source"], "palimpsest-gnu");
        assert_eq!(json["figures"][0]["median"], 7000.0);
        assert_eq!(json["samples"][0]["instances"], 100);
    }
}
