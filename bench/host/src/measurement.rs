//! A full measurement: boots of our kernel and of the peers, in turns, in several rounds.
//!
//! In each round Linux and our kernel take turns, for each CPU and suite, so that a change of the
//! machine's speed affects both. One boot of the emulator may be half as fast as the next, so a
//! figure is the median of the rounds, and a boot in which the machine was slower for one side is
//! repeated. Instruction counts repeat and are taken once. A kernel whose result differs from
//! Linux's ends the measurement with an error.

use crate::baseline::Baseline;
use crate::boots::Bench;
use crate::counts;
use crate::document::Document;
use crate::figure::{Figures, KERNEL, Origin, Source};
use crate::kernels::Kernels;
use crate::modules::{self, Module};
use crate::options::{BenchOptions, HostRuntimes};
use crate::peers::{LinuxSuite, Peers, forks};
use anyhow::{Context, Result, ensure};
use palimpsest_guest_recipes::guest;
use palimpsest_host::protocol::Suite;
use palimpsest_host::qemu::{Clock, Cpu};
use palimpsest_host::workspace::Workspace;
use std::path::Path;

/// The figure that shows how fast the machine was in a boot: the same instructions on both sides.
const PACE: &str = "zero_rep_stosb";

/// The most by which the machine may be slower in one side's boot.
const MOST_SLOWER: f64 = 1.1;

/// How often such a boot is repeated.
const MOST_REPEATS: usize = 4;

/// CoreMark, in addition to the committed kernels: some tenths of a second in the emulator.
const COREMARK_FILE: &str = "coremark.wasm";
const COREMARK_JOB: &str = "coremark.wasm:run:30";

/// Measures everything that the options allow.
///
/// # Errors
/// A kernel or a peer does not build, run or answer; or two of them compute different results.
pub(crate) fn run(workspace: &Workspace, options: &BenchOptions, baseline: Baseline) -> Result<Document> {
    let measurement = Measurement::prepare(workspace, options)?;
    let mut rounds = Vec::new();
    for round in 1..=options.rounds {
        println!("round {round} of {}", options.rounds);
        rounds.push(measurement.round(options.cpu.models())?);
    }
    let mut document = Document::new(baseline)?;
    document.add(Figures::of_rounds(rounds).into());
    measurement.once(workspace, options, &mut document)?;
    Ok(document)
}

/// What is measured.
struct Measurement {
    /// The kernel that everything is measured in
    bench: Bench,
    /// The kernels of the other targets, which only run the Wasm kernels on the host's clock
    others: Vec<Bench>,
    side: Option<Side>,
    /// Modules of other projects, which are loaded
    modules: Vec<Module>,
}

impl Measurement {
    fn prepare(workspace: &Workspace, options: &BenchOptions) -> Result<Self> {
        let side = options.peers.as_deref().map(|directory| Side::find(workspace, directory, options));
        let side = side.transpose()?;
        let targets = options.targets();
        let (&main, others) = targets.split_first().context("there is a target to measure on")?;
        let others = if side.is_some() { others } else { &[] };
        Ok(Self {
            modules: modules::real(workspace, options.setup.missing_policy())?,
            bench: Bench::new(workspace, main)?,
            others: others.iter().map(|&target| Bench::new(workspace, target)).collect::<Result<_>>()?,
            side,
        })
    }

    /// Takes all times once on each CPU.
    fn round(&self, models: &[Cpu]) -> Result<Figures> {
        let mut figures = Figures::default();
        for &cpu in models {
            println!("measuring with -cpu {cpu}");
            figures.extend(self.pages(cpu)?);
            if let Some(side) = &self.side {
                figures.extend(side.linux(cpu)?);
                figures.extend(side.ours(&self.bench, cpu)?);
            }
            // For the other targets, one CPU is enough.
            if let (Some(side), Cpu::Max) = (&self.side, cpu) {
                for other in &self.others {
                    figures.extend(side.ours(other, cpu)?);
                }
            }
            figures.extend(self.bench.load(&self.modules, cpu, Clock::Host)?.figures);
            figures.extend(self.bench.measure(Suite::Boot, cpu, Clock::Host)?.figures);
        }
        agree(&figures)?;
        Ok(figures)
    }

    /// Measures our costs, and Linux's if there are peers, in boots in which the machine was about
    /// as fast for both.
    fn pages(&self, cpu: Cpu) -> Result<Figures> {
        let measure_ours =
            || Ok::<_, anyhow::Error>(self.bench.measure(Suite::Costs, cpu, Clock::Host)?.figures);
        let Some(side) = &self.side else { return measure_ours() };
        let measure_linux =
            || Ok::<_, anyhow::Error>(side.peers.linux(LinuxSuite::Pages, cpu, Clock::Host)?.figures);
        let (mut linux, mut ours) = (measure_linux()?, measure_ours()?);
        for _ in 0..MOST_REPEATS {
            match pace(&ours)? / pace(&linux)? {
                ratio if ratio > MOST_SLOWER => ours = measure_ours()?,
                ratio if ratio < MOST_SLOWER.recip() => linux = measure_linux()?,
                _ => break,
            }
        }
        linux.extend(ours);
        Ok(linux)
    }

    /// Measures what repeats and what has nothing to be compared with.
    fn once(&self, workspace: &Workspace, options: &BenchOptions, document: &mut Document) -> Result<()> {
        let committed = Kernels::committed();
        let kernels = self.side.as_ref().map_or(&committed, |side| &side.kernels);
        document.add(counts::ours(&self.bench, kernels, &self.modules)?.into());
        document.add(counts::density(&self.bench)?);
        for other in &self.others {
            document.add(counts::ours(other, kernels, &[])?.into());
        }
        let Some(side) = &self.side else { return Ok(()) };
        let (figures, reference) = counts::linux(&side.peers)?;
        document.add(figures.into());
        document.set_reference(reference);
        document.add(side.peers.floor(Clock::Host)?.into());
        document.add(forks::measure(workspace)?.into());
        document.add(side.peers.floor(Clock::Instructions)?.into());
        match options.host_runtimes() {
            HostRuntimes::Measured => document.add(side.peers.host_runtimes(options.rounds)?.into()),
            HostRuntimes::LeftOut => {}
        }
        Ok(())
    }
}

/// The peers, with the kernels that both sides run.
struct Side {
    peers: Peers,
    kernels: Kernels,
}

impl Side {
    /// Finds the peers, and adds CoreMark to their kernels if it is available.
    fn find(workspace: &Workspace, directory: &Path, options: &BenchOptions) -> Result<Self> {
        let mut peers = Peers::find(directory)?;
        Kernels::committed().check(&peers)?;
        if let Some(bytes) = guest::coremark_function(workspace, options.setup.missing_policy())? {
            let module = Module { file: COREMARK_FILE.to_owned(), bytes };
            peers = peers.with_kernel(workspace.output("peers"), &module, COREMARK_JOB)?;
        }
        Ok(Self { kernels: peers.kernels()?, peers })
    }

    /// Linux's times of the kernels.
    fn linux(&self, cpu: Cpu) -> Result<Figures> {
        Ok(self.peers.linux(LinuxSuite::Wasm, cpu, Clock::Host)?.figures)
    }

    /// Our times of the kernels.
    fn ours(&self, bench: &Bench, cpu: Cpu) -> Result<Figures> {
        Ok(bench.run(&self.kernels, cpu, Clock::Host)?.figures)
    }
}

/// Returns the time of the [`PACE`] figure.
fn pace(figures: &Figures) -> Result<f64> {
    let mut all = figures.iter().map(|(_, figure)| figure);
    let found = all.find(|figure| figure.name == PACE).with_context(|| format!("{PACE} was not measured"))?;
    Ok(found.median)
}

/// Checks that each kernel returned the same result as on Linux.
///
/// # Errors
/// One did not.
fn agree(figures: &Figures) -> Result<()> {
    for (origin, ours) in figures.iter().filter(|(_, figure)| figure.name.starts_with(KERNEL)) {
        let linux = figures.find(Origin { source: Source::Linux, ..*origin }, &ours.name);
        let same = linux.is_none_or(|linux| linux.result == ours.result);
        ensure!(same, "{} returned another result in {} than on Linux", ours.name, origin.source);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::tests::{OURS, figure};
    use crate::figure::{Figure, Unit};
    use palimpsest_host::kernel::Target;

    #[test]
    fn a_kernel_that_computes_something_else_ends_the_measurement() {
        let result = |result| Figure { result: Some(result), ..figure("kernel/fib", Unit::Ns, 1.0) };
        let linux = Origin { source: Source::Linux, ..OURS };
        let none = Origin { source: Source::Kernel(Target::None), ..OURS };
        for (gnu, on_none, theirs, agreed) in [(5, 5, 5, true), (5, 5, 6, false), (5, 6, 5, false)] {
            let mut figures = Figures::of(OURS, vec![result(gnu)]);
            figures.extend(Figures::of(none, vec![result(on_none)]));
            figures.extend(Figures::of(linux, vec![result(theirs)]));
            assert_eq!(agree(&figures).is_ok(), agreed);
        }
    }
}
