//! A full measurement: our boots and the peers', in turns.
//!
//! Owns the order. For each CPU Linux's pages come right before ours and Linux's kernels right before ours,
//! so that a machine that grows slower slows both. What does not depend on the CPU is measured once. A kernel
//! that returns something else than Linux's ends the measurement: a fast wrong answer is no figure.

use super::boots::{Bench, Measured, Suite};
use super::document::Document;
use super::figure::{Figures, Origin, Source};
use super::goals::KERNEL;
use super::modules::{self, Module};
use super::options::BenchOptions;
use super::peers::{Job, LinuxSuite, Peers};
use crate::kernel::Target;
use crate::qemu::{Clock, Cpu};
use crate::workspace::Workspace;
use anyhow::{Context, Result, ensure};

/// Measures everything that the options allow.
///
/// # Errors
/// A kernel or a peer does not build, run or answer; or two of them do not compute the same.
pub(super) fn run(workspace: &Workspace, options: &BenchOptions) -> Result<Document> {
    let peers = options.peers.as_deref().map(Side::find).transpose()?;
    let targets = options.targets();
    let (main, others) = targets.split_first().context("there is a target to measure on")?;
    let mut document = Document::new(Figures::default())?;
    let modules = modules::real(workspace, options.setup.missing_policy())?;
    let bench = Bench::new(workspace, *main)?;
    for &cpu in options.cpu.models() {
        println!("measuring with -cpu {cpu}");
        measure_with(&bench, peers.as_ref(), &modules, cpu, &mut document)?;
    }
    measure_once(&bench, &mut document)?;
    if let Some(side) = &peers {
        for &target in others {
            document.add(side.kernels(&Bench::new(workspace, target)?, Cpu::Max)?);
        }
        document.add(side.peers.floor()?.into());
        document.add(side.peers.host_runtimes()?.into());
        agree(&document.figures, &targets)?;
    }
    Ok(document)
}

/// The peers, with the kernels that both sides run.
struct Side {
    peers: Peers,
    jobs: Vec<Job>,
    modules: Vec<Module>,
}

impl Side {
    fn find(directory: &std::path::Path) -> Result<Self> {
        let peers = Peers::find(directory)?;
        let jobs = peers.jobs()?;
        Ok(Self { modules: peers.modules(&jobs)?, jobs, peers })
    }

    /// The kernels in our kernel.
    fn kernels(&self, bench: &Bench, cpu: Cpu) -> Result<Measured> {
        bench.run(&self.jobs, &self.modules, cpu)
    }
}

/// Everything that depends on the CPU.
fn measure_with(
    bench: &Bench,
    side: Option<&Side>,
    modules: &[Module],
    cpu: Cpu,
    document: &mut Document,
) -> Result<()> {
    if let Some(side) = side {
        document.add(side.peers.linux(LinuxSuite::Pages, cpu)?.into());
    }
    document.add(bench.measure(Suite::Costs, cpu, Clock::Host)?);
    if let Some(side) = side {
        document.add(side.peers.linux(LinuxSuite::Wasm, cpu)?.into());
        document.add(side.kernels(bench, cpu)?);
    }
    document.add(bench.load(modules, cpu)?);
    document.add(bench.measure(Suite::Boot, cpu, Clock::Host)?);
    Ok(())
}

/// What is the same on every CPU: how many instances fit, and how many instructions are executed.
fn measure_once(bench: &Bench, document: &mut Document) -> Result<()> {
    document.add(bench.measure(Suite::Density, Cpu::Max, Clock::Host)?);
    document.add(bench.measure(Suite::Costs, Cpu::Max, Clock::Instructions)?);
    Ok(())
}

/// Whether each kernel returned here what it returned on Linux.
fn agree(figures: &Figures, targets: &[Target]) -> Result<()> {
    for (origin, linux) in figures.iter().filter(|(origin, _)| origin.source == Source::Linux) {
        for &target in targets.iter().filter(|_| linux.name.starts_with(KERNEL)) {
            let ours = figures.find(Origin { source: Source::Kernel(target), ..*origin }, &linux.name);
            let same = ours.is_none_or(|ours| ours.result == linux.result);
            ensure!(same, "{} returned something else in our kernel for {target} than on Linux", linux.name);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::figure::tests::{OURS, figure};
    use super::super::figure::{Figure, Unit};
    use super::*;

    #[test]
    fn a_kernel_that_computes_something_else_ends_the_measurement() {
        let result = |result| Figure { result: Some(result), ..figure("kernel/fib", Unit::Ns, 1.0) };
        let linux = Origin { source: Source::Linux, ..OURS };
        for (ours, theirs, agreed) in [(5, 5, true), (5, 6, false)] {
            let mut figures = Figures::of(OURS, vec![result(ours)]);
            figures.extend(Figures::of(linux, vec![result(theirs)]));
            assert_eq!(agree(&figures, &[Target::Gnu, Target::None]).is_ok(), agreed);
        }
    }
}
