//! `cargo xtask bench --smp`: how discarding memory scales with the number of CPUs.
//!
//! A machine with N CPUs runs the same guests on one of them and on all, so that both use the same
//! emulator in the same minute. `compute` is the yardstick: it touches no memory, and so it shows
//! how far the host lets the machine scale. Linux runs the same rounds in threads of one process,
//! with its own yardstick. Only ratios are compared.

use crate::boots::Bench;
use crate::figure::Figures;
use crate::options::BenchOptions;
use crate::peers::Peers;
use crate::plots::{self, ScalingLine};
use crate::{PLOTS, write};
use anyhow::Result;
use palimpsest_host::digits::grouped;
use palimpsest_host::qemu::Cpu;
use palimpsest_host::workspace::Workspace;
use serde_json::Value;
use std::fmt;

/// The page of the documentation, from the repository's root.
const PAGE: &str = "docs/several-cpus.md";

/// The text of the page before the tables.
const PREFACE: &str = include_str!("document/cpus.md");

/// The machines.
const CPUS: [u32; 2] = [2, 4];

/// The model of the CPU. With fast string instructions the emulator makes Linux look worse than it
/// is.
const MODEL: Cpu = Cpu::WithoutErms;

/// The time for which the peer's script measures each figure.
const LINUX_SECONDS: f64 = 4.0;

/// What is measured in a machine: the name in the kernel's figures, and for people.
const CASES: [(&str, &str); 7] = [
    ("compute", "computing"),
    ("discard_64", "64 KiB, a guest for each CPU"),
    ("discard_64_shared", "64 KiB, guests of one module"),
    ("discard_64_moved", "64 KiB, four guests for each CPU, moved"),
    ("discard_1024", "1 MiB, a guest for each CPU"),
    ("discard_1024_shared", "1 MiB, guests of one module"),
    ("discard_1024_moved", "1 MiB, four guests for each CPU, moved"),
];

/// The figures of all machines.
#[derive(Debug)]
pub(crate) struct Scaling {
    machines: Vec<Machine>,
}

/// The figures of one machine.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) cpus: u32,
    ours: Figures,
    linux: Vec<Value>,
}

impl Scaling {
    /// Measures on each machine, and Linux if there are peers.
    ///
    /// # Errors
    /// The kernel or the peer does not build, run or answer.
    pub(crate) fn measure(workspace: &Workspace, options: &BenchOptions) -> Result<Self> {
        let bench = Bench::for_many_cpus(workspace, options.main_target())?;
        let peers = options.peers.as_deref().map(Peers::find).transpose()?;
        let machine = |cpus| {
            let linux =
                peers.as_ref().map_or_else(|| Ok(Vec::new()), |peers| peers.linux_on_cpus(cpus, MODEL))?;
            Ok(Machine { cpus, ours: bench.on_cpus(cpus, MODEL)?.figures, linux })
        };
        Ok(Self { machines: CPUS.into_iter().map(machine).collect::<Result<_>>()? })
    }

    /// Writes the page and its plot.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(crate) fn write_docs(&self, workspace: &Workspace) -> Result<()> {
        plots::write_scaling(&workspace.root().join(PLOTS), &self.lines())?;
        write(&workspace.root().join(PAGE), &format!("{PREFACE}{self}"))
    }

    /// The lines of the plot: the throughput on each number of CPUs, relative to one CPU.
    fn lines(&self) -> Vec<ScalingLine> {
        type Throughput = fn(&Machine) -> Option<f64>;
        let lines: [(&str, Throughput); 5] = [
            ("Palimpsest, computing", |machine| machine.throughput("compute")),
            ("Palimpsest, 64 KiB", |machine| machine.throughput("discard_64")),
            ("Palimpsest, 64 KiB, guests moved", |machine| machine.throughput("discard_64_moved")),
            ("Linux, computing", |machine| machine.linux_throughput("compute", 0)),
            ("Linux, 64 KiB", |machine| machine.linux_throughput("churn", 64 << 10)),
        ];
        let lines = lines.into_iter().filter_map(|(label, throughput)| {
            let points =
                self.machines.iter().map(|machine| Some((f64::from(machine.cpus), throughput(machine)?)));
            let points: Option<Vec<_>> = points.collect();
            Some((label, [vec![(1.0, 1.0)], points?].concat()))
        });
        lines.collect()
    }
}

impl Machine {
    /// The time of a round in nanoseconds.
    fn time(&self, name: &str) -> Option<f64> {
        let name = format!("cpus/{name}");
        let mut figures = self.ours.iter().map(|(_, figure)| figure);
        figures.find(|figure| figure.name == name).map(|figure| figure.median)
    }

    /// The throughput on all CPUs, relative to that on one.
    fn throughput(&self, name: &str) -> Option<f64> {
        Some(self.time(&format!("{name}/1"))? / self.time(&format!("{name}/{}", self.cpus))?)
    }

    /// The pace of a guest that computes beside guests that discard, relative to its pace beside
    /// other guests, or alone.
    fn neighbour(&self, kib: u32, reference: Reference) -> Option<f64> {
        let reference = match reference {
            Reference::Computing => self.time(&format!("neighbour_compute/{}", self.cpus)),
            Reference::Alone => self.time("neighbour_alone/1"),
        };
        Some(reference? / self.time(&format!("neighbour_{kib}/{}", self.cpus))?)
    }

    /// A number of Linux's line for this work.
    fn linux(&self, name: &str, bytes: u64, threads: u32, field: &str) -> Option<f64> {
        let is_line =
            |line: &&Value| line["name"] == name && line["bytes"] == bytes && line["threads"] == threads;
        self.linux.iter().find(is_line)?[field].as_f64()
    }

    fn linux_throughput(&self, name: &str, bytes: u64) -> Option<f64> {
        let rounds = |threads| self.linux(name, bytes, threads, "ops_per_s");
        Some(rounds(self.cpus)? / rounds(1)?)
    }

    /// The same of a thread. The peer's program has no neighbour of threads that compute, but each
    /// of the threads that compute on all CPUs is one.
    fn linux_neighbour(&self, bytes: u64, reference: Reference) -> Option<f64> {
        let reference = match reference {
            Reference::Computing => {
                self.linux("compute", 0, self.cpus, "ops_per_s").map(|rounds| rounds / f64::from(self.cpus))
            }
            Reference::Alone => self.linux("neighbour_alone", 0, 0, "neighbour_per_s"),
        };
        Some(self.linux("neighbour_beside", bytes, self.cpus - 1, "neighbour_per_s")? / reference?)
    }

    /// Interrupts for each discard of Linux's threads.
    fn linux_interrupts(&self, bytes: u64) -> Option<f64> {
        let line = |field| self.linux("churn", bytes, self.cpus, field);
        Some(line("shootdowns")? / (line("ops_per_s")? * LINUX_SECONDS))
    }
}

/// What a neighbour's pace beside discards is relative to.
#[derive(Clone, Copy)]
enum Reference {
    /// Its pace while all other CPUs compute. What is missing to 1, the discards have taken.
    Computing,
    /// Its pace while the other CPUs are idle.
    Alone,
}

fn quotient(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    Some(one? / other?)
}

/// A ratio, or nothing if it was not measured.
struct Ratio(Option<f64>);

impl fmt::Display for Ratio {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(ratio) => write!(formatter, "{ratio:.2}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Scaling {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.machines.iter().try_for_each(|machine| write!(formatter, "{machine}"))
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cpus = self.cpus;
        writeln!(formatter, "\n## {cpus} CPUs\n")?;
        writeln!(
            formatter,
            "| rounds | ns on 1 CPU | ns on {cpus} CPUs | throughput | of computing | Linux | of computing |"
        )?;
        writeln!(formatter, "| --- | --- | --- | --- | --- | --- | --- |")?;
        let [ours, theirs] = [self.throughput("compute"), self.linux_throughput("compute", 0)];
        for (name, label) in CASES {
            let time = |cpus: u32| {
                let time = self.time(&format!("{name}/{cpus}"));
                time.map_or_else(String::new, |ns| grouped(format_args!("{ns:.0}")))
            };
            let linux = match name {
                "compute" => theirs,
                "discard_64" => self.linux_throughput("churn", 64 << 10),
                "discard_1024" => self.linux_throughput("churn", 1 << 20),
                _ => None,
            };
            let throughput = self.throughput(name);
            writeln!(
                formatter,
                "| {label} | {} | {} | {} | {} | {} | {} |",
                time(1),
                time(cpus),
                Ratio(throughput),
                Ratio(quotient(throughput, ours)),
                Ratio(linux),
                Ratio(quotient(linux, theirs)),
            )?;
        }
        writeln!(formatter, "\n| | Palimpsest | Linux |\n| --- | --- | --- |")?;
        for (kib, label) in [(64, "64 KiB"), (1024, "1 MiB")] {
            let bytes = u64::from(kib) << 10;
            for (reference, words) in
                [(Reference::Computing, "beside computing"), (Reference::Alone, "alone")]
            {
                let ours = Ratio(self.neighbour(kib, reference));
                let theirs = Ratio(self.linux_neighbour(bytes, reference));
                writeln!(
                    formatter,
                    "| pace of a neighbour beside discards of {label}, relative to that {words} | {ours} | {theirs} |"
                )?;
            }
            let sent = Ratio(self.time("interrupts/discards"));
            let theirs = Ratio(self.linux_interrupts(bytes));
            writeln!(formatter, "| interrupts for each discard of {label} | {sent} | {theirs} |")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Unit;
    use crate::figure::tests::{OURS, figure};
    use serde_json::json;

    #[test]
    fn a_row_has_the_ratios_of_both_sides() {
        let times = [
            ("compute/1", 100.0),
            ("compute/2", 50.0),
            ("discard_64/1", 200.0),
            ("discard_64/2", 125.0),
            ("neighbour_alone/1", 90.0),
            ("neighbour_compute/2", 99.0),
            ("neighbour_64/2", 100.0),
        ];
        let list = times.map(|(name, ns)| figure(&format!("cpus/{name}"), Unit::Ns, ns));
        let line = |name: &str, bytes: u64, threads: u32, rounds: f64| json!({ "name": name, "bytes": bytes, "threads": threads, "ops_per_s": rounds, "shootdowns": 5_400 });
        let neighbour = |name: &str, bytes: u64, threads: u32, rounds: f64| json!({ "name": name, "bytes": bytes, "threads": threads, "neighbour_per_s": rounds });
        let linux = vec![
            line("compute", 0, 1, 10.0),
            line("compute", 0, 2, 18.0),
            line("churn", 65_536, 1, 1_000.0),
            line("churn", 65_536, 2, 1_350.0),
            neighbour("neighbour_alone", 0, 0, 10.0),
            neighbour("neighbour_beside", 65_536, 1, 7.2),
        ];
        let page = Machine { cpus: 2, ours: Figures::of(OURS, list.to_vec()), linux }.to_string();
        for row in [
            "| computing | 100 | 50 | 2.00 | 1.00 | 1.80 | 1.00 |",
            "| 64 KiB, a guest for each CPU | 200 | 125 | 1.60 | 0.80 | 1.35 | 0.75 |",
            "| 64 KiB, guests of one module |  |  |  |  |  |  |",
            "| pace of a neighbour beside discards of 64 KiB, relative to that beside computing | 0.99 | 0.80 |",
            "| pace of a neighbour beside discards of 64 KiB, relative to that alone | 0.90 | 0.72 |",
            "| pace of a neighbour beside discards of 1 MiB, relative to that beside computing |  |  |",
            "| interrupts for each discard of 64 KiB |  | 1.00 |",
        ] {
            assert!(page.contains(row), "{row} is not in {page}");
        }
    }
}
