//! A full measurement: our boots and the peers', in turns, in several rounds.
//!
//! Owns the order. In each round Linux's pages come right before ours and Linux's kernels right before ours, for
//! each CPU, so that a machine that grows slower slows both; and since one boot of the emulator may be half as fast
//! as the next, the rounds together make the figures; a boot in which the machine was slower for one side than for
//! the other is repeated. What repeats, instruction counts and how many instances fit,
//! is measured once. A kernel that returns something else than Linux's ends the measurement: a fast wrong answer is
//! no figure.

use crate::boots::Bench;
use crate::document::Document;
use crate::figure::{Figures, KERNEL, Origin, Source};
use crate::modules::{self, Module};
use crate::options::{BenchOptions, HostRuntimes};
use crate::peers::{LinuxSuite, Peers};
use anyhow::{Context, Result, ensure};
use palimpsest_guest_recipes::guest;
use palimpsest_host::protocol::{Job, Suite};
use palimpsest_host::qemu::{Clock, Cpu};
use palimpsest_host::workspace::Workspace;
use std::path::Path;

/// What tells how fast the machine was in a boot: the same instructions on both sides.
const PACE: &str = "zero_rep_stosb";

/// How much slower than in the other side's boot the machine may have been.
const MOST_SLOWER: f64 = 1.1;

/// How often a boot in which it was slower is repeated.
const MOST_REPEATS: usize = 4;

/// CoreMark among the peers' kernels: some tenths of a second in the emulator.
const COREMARK_FILE: &str = "coremark.wasm";
const COREMARK_JOB: &str = "coremark.wasm:run:30";

/// Measures everything that the options allow.
///
/// # Errors
/// A kernel or a peer does not build, run or answer; or two of them do not compute the same.
pub(crate) fn run(workspace: &Workspace, options: &BenchOptions) -> Result<Document> {
    let measurement = Measurement::prepare(workspace, options)?;
    let mut rounds = Vec::new();
    for round in 1..=options.rounds {
        println!("round {round} of {}", options.rounds);
        rounds.push(measurement.round(options.cpu.models())?);
    }
    let mut document = Document::new(Figures::of_rounds(rounds))?;
    measurement.once(options, &mut document)?;
    Ok(document)
}

/// What is measured.
struct Measurement {
    /// The kernel that everything is measured in
    bench: Bench,
    /// Those that only run the peers' kernels
    others: Vec<Bench>,
    side: Option<Side>,
    /// To be loaded
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

    /// Everything whose time is taken, once on each CPU.
    fn round(&self, models: &[Cpu]) -> Result<Figures> {
        let mut figures = Figures::default();
        for &cpu in models {
            println!("measuring with -cpu {cpu}");
            figures.extend(self.pages(cpu)?);
            if let Some(side) = &self.side {
                figures.extend(side.peers.linux(LinuxSuite::Wasm, cpu)?);
                figures.extend(side.kernels(&self.bench, cpu)?);
            }
            // Their goals are about one CPU.
            if let (Some(side), Cpu::Max) = (&self.side, cpu) {
                for other in &self.others {
                    figures.extend(side.kernels(other, cpu)?);
                }
            }
            figures.extend(self.bench.load(&self.modules, cpu, Clock::Host)?.figures);
            figures.extend(self.bench.measure(Suite::Boot, cpu, Clock::Host)?.figures);
        }
        agree(&figures)?;
        Ok(figures)
    }

    /// Our costs, and Linux's where there is one: in boots in which the machine was about as fast for both.
    fn pages(&self, cpu: Cpu) -> Result<Figures> {
        let measure_ours =
            || Ok::<_, anyhow::Error>(self.bench.measure(Suite::Costs, cpu, Clock::Host)?.figures);
        let Some(side) = &self.side else { return measure_ours() };
        let measure_linux = || side.peers.linux(LinuxSuite::Pages, cpu);
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

    /// What is the same each time, and what has nothing to be compared with.
    fn once(&self, options: &BenchOptions, document: &mut Document) -> Result<()> {
        document.add(self.bench.measure(Suite::Density, Cpu::Max, Clock::Host)?);
        document.add(self.bench.measure(Suite::Costs, Cpu::Max, Clock::Instructions)?);
        document.add(self.bench.load(&self.modules, Cpu::Max, Clock::Instructions)?);
        let Some(side) = &self.side else { return Ok(()) };
        document.add(side.peers.floor()?.into());
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
    jobs: Vec<Job>,
    modules: Vec<Module>,
}

impl Side {
    /// With CoreMark, if it can be had.
    fn find(workspace: &Workspace, directory: &Path, options: &BenchOptions) -> Result<Self> {
        let mut peers = Peers::find(directory)?;
        if let Some(bytes) = guest::coremark_function(workspace, options.setup.missing_policy())? {
            let module = Module { file: COREMARK_FILE.to_owned(), bytes };
            peers = peers.with_kernel(workspace.output("peers"), &module, COREMARK_JOB)?;
        }
        let jobs = peers.jobs()?;
        Ok(Self { modules: peers.modules(&jobs)?, jobs, peers })
    }

    /// The kernels in our kernel.
    fn kernels(&self, bench: &Bench, cpu: Cpu) -> Result<Figures> {
        Ok(bench.run(&self.jobs, &self.modules, cpu)?.figures)
    }
}

/// How long the machine took for something that is the same in each boot.
fn pace(figures: &Figures) -> Result<f64> {
    let mut all = figures.iter().map(|(_, figure)| figure);
    let found = all.find(|figure| figure.name == PACE).with_context(|| format!("{PACE} was not measured"))?;
    Ok(found.median)
}

/// Whether each kernel returned the same here and on Linux.
fn agree(figures: &Figures) -> Result<()> {
    for (origin, ours) in figures.iter().filter(|(_, figure)| figure.name.starts_with(KERNEL)) {
        let linux = figures.find(Origin { source: Source::Linux, ..*origin }, &ours.name);
        let same = linux.is_none_or(|linux| linux.result == ours.result);
        ensure!(same, "{} returned something else in {} than on Linux", ours.name, origin.source);
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
