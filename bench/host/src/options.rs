//! The command line of `cargo xtask bench`.

use clap::{Parser, ValueEnum};
use palimpsest_host::kernel::Target;
use palimpsest_host::qemu::Cpu;
use palimpsest_host::setup::SetupOptions;
use std::path::PathBuf;

/// Measures what things cost, against Linux in the same emulator and against the checked-in
/// baseline.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask bench")]
pub(crate) struct BenchOptions {
    /// The folder with the peer programs, whose figures are then measured in the same run
    #[arg(long, value_name = "DIR", conflicts_with = "check")]
    pub(crate) peers: Option<PathBuf>,
    /// With the peers: also the other runtimes on this machine, without an emulator, if they have
    /// been built
    #[arg(long, requires = "peers", conflicts_with_all = ["icount", "update_baseline"])]
    runtimes: bool,
    /// How often everything whose time is taken is measured
    #[arg(
        long,
        value_name = "N",
        default_value_t = 3,
        value_parser = clap::value_parser!(u32).range(1..),
        conflicts_with_all = ["icount", "check", "update_baseline"]
    )]
    pub(crate) rounds: u32,
    /// Write all figures and goals to this file
    #[arg(long, value_name = "PATH", conflicts_with_all = ["check", "update_baseline"])]
    pub(crate) json: Option<PathBuf>,
    /// Count instructions only: the figures are the same on every machine. With the peers, count
    /// Linux's too
    #[arg(long)]
    pub(crate) icount: bool,
    /// Count instructions, and fail if one is 2 % worse than the baseline or a goal that was met is
    /// missed
    #[arg(long)]
    pub(crate) check: bool,
    /// Count instructions, and make them the baseline. With the peers, record Linux's counts too
    #[arg(long, conflicts_with = "check")]
    pub(crate) update_baseline: bool,
    /// Instead of everything else: the flash, stack and heap of firmware on a Cortex-M4; with
    /// --check or --update-baseline they are compared with the baseline or make it
    #[arg(long, conflicts_with_all = ["peers", "json", "icount", "docs"])]
    pub(crate) size: bool,
    /// Instead of everything else: how discarding memory scales with the number of CPUs. With the
    /// peers, Linux's threads too; with --docs, write docs/several-cpus.md
    #[arg(long, conflicts_with_all = ["runtimes", "json", "icount", "check", "update_baseline", "size"])]
    pub(crate) smp: bool,
    /// Write docs/performance.md and docs/plots; with --icount the page has no times
    #[arg(long, conflicts_with_all = ["check", "update_baseline"])]
    pub(crate) docs: bool,
    /// The compilation target of the kernel; without it instructions of both, times of gnu, and of
    /// none those of running Wasm
    #[arg(long, value_enum)]
    target: Option<Target>,
    /// The CPU that the emulator plays
    #[arg(long, value_enum, default_value_t = CpuChoice::Both)]
    pub(crate) cpu: CpuChoice,
    /// Whether missing things are installed
    #[command(flatten)]
    pub(crate) setup: SetupOptions,
}

/// The CPUs to measure on.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum CpuChoice {
    /// All that the emulator can: it then claims fast string instructions, which Linux uses and the
    /// emulator lacks
    Max,
    /// The same without that claim
    WithoutErms,
    /// One after the other
    Both,
}

impl CpuChoice {
    /// The CPUs in the order in which they are measured.
    pub(crate) const fn models(self) -> &'static [Cpu] {
        match self {
            Self::Max => &[Cpu::Max],
            Self::WithoutErms => &[Cpu::WithoutErms],
            Self::Both => &[Cpu::Max, Cpu::WithoutErms],
        }
    }
}

/// Whether the runtimes of this machine are measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum HostRuntimes {
    /// They are not requested
    LeftOut,
    /// They are, where they have been built
    Measured,
}

impl BenchOptions {
    /// Whether the runtimes of this machine are to be measured.
    pub(crate) const fn host_runtimes(&self) -> HostRuntimes {
        if self.runtimes { HostRuntimes::Measured } else { HostRuntimes::LeftOut }
    }

    /// The target on which everything is measured.
    pub(crate) fn main_target(&self) -> Target {
        self.target.unwrap_or(Target::Gnu)
    }

    /// The targets, the one that everything is measured on first.
    pub(crate) fn targets(&self) -> Vec<Target> {
        self.target.map_or_else(|| vec![Target::Gnu, Target::None], |target| vec![target])
    }
}
