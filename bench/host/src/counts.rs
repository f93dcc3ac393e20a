//! Counting instructions: the same work in our kernels and on Linux, each under `-icount`.
//!
//! Both sides run on the CPU model without ERMS and FSRM, because each byte of a `rep stosb` counts
//! as an instruction: with them Linux's counts would be larger by the size of every page that it
//! zeroes.

use crate::baseline::Reference;
use crate::boots::{Bench, Measured};
use crate::document::emulator;
use crate::figure::{Figures, Origin, Source, compared};
use crate::goals::Counts;
use crate::kernels::Kernels;
use crate::modules::Module;
use crate::peers::{LinuxSuite, Peers};
use anyhow::{Context, Result};
use duct::cmd;
use palimpsest_host::protocol::Suite;
use palimpsest_host::qemu::{Clock, Cpu};

/// The CPU on which instructions are counted.
pub(crate) const CPU: Cpu = Cpu::WithoutErms;

/// The origin of the counts of one side.
pub(crate) const fn origin(source: Source) -> Origin {
    Origin { source, cpu: CPU, clock: Clock::Instructions }
}

/// Counts everything in the kernel of one target. `modules` are loaded too.
///
/// # Errors
/// A boot fails.
pub(crate) fn ours(bench: &Bench, kernels: &Kernels, modules: &[Module]) -> Result<Figures> {
    let mut figures = bench.measure(Suite::Costs, CPU, Clock::Instructions)?.figures;
    figures.extend(bench.run(kernels, CPU, Clock::Instructions)?.figures);
    figures.extend(bench.load(modules, CPU, Clock::Instructions)?.figures);
    Ok(figures)
}

/// Counts the instances that fit into a small machine. It takes minutes, so `--check` does not.
///
/// # Errors
/// The boot fails.
pub(crate) fn density(bench: &Bench) -> Result<Measured> {
    bench.measure(Suite::Density, CPU, Clock::Instructions)
}

/// Counts page operations and kernels on Linux.
///
/// # Errors
/// A boot of the guest fails, or does not name its Linux.
pub(crate) fn linux(peers: &Peers) -> Result<(Figures, Reference)> {
    let pages = peers.linux(LinuxSuite::Pages, CPU, Clock::Instructions)?;
    let wasm = peers.linux(LinuxSuite::Wasm, CPU, Clock::Instructions)?;
    let kernel = pages.kernel.context("the Linux guest does not name its kernel")?;
    let mut figures = pages.figures;
    figures.extend(wasm.figures);
    let reference = Reference {
        date: cmd!("date", "+%F").read().context("cannot get the date")?,
        kernel,
        emulator: emulator()?,
        cpu: CPU.to_string(),
        counts: of(&figures, Source::Linux),
    };
    Ok((figures, reference))
}

/// All counts of one side, by name, in whole tenths: that is precise enough, and keeps files
/// readable.
pub(crate) fn of(figures: &Figures, source: Source) -> Counts {
    let figures = figures.of_origin(origin(source));
    figures.map(|figure| (figure.name.clone(), (compared(figure) * 10.0).round() / 10.0)).collect()
}
