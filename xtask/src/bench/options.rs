//! The command line of `cargo xtask bench`.

use crate::cli::SetupOptions;
use crate::kernel::Target;
use crate::qemu::Cpu;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Options of `bench`.
#[derive(Args, Debug)]
pub(crate) struct BenchOptions {
    /// The folder with the peer programs, whose figures are then measured in the same run
    #[arg(long, value_name = "DIR", conflicts_with_all = ["icount", "check", "update_baseline"])]
    pub(super) peers: Option<PathBuf>,
    /// Write all figures and goals to this file
    #[arg(long, value_name = "PATH", conflicts_with_all = ["check", "update_baseline"])]
    pub(super) json: Option<PathBuf>,
    /// Count instructions only: the figures are the same on every machine
    #[arg(long)]
    pub(super) icount: bool,
    /// Count instructions, and fail if a figure is a tenth worse than the baseline
    #[arg(long)]
    pub(super) check: bool,
    /// Count instructions, and make them the baseline
    #[arg(long, conflicts_with = "check")]
    pub(super) update_baseline: bool,
    /// Write docs/bench.md and docs/plots, which need a full measurement
    #[arg(long, conflicts_with_all = ["icount", "check", "update_baseline"])]
    pub(super) docs: bool,
    /// The compilation target of the kernel; without it gnu, and running Wasm on none too
    #[arg(long, value_enum)]
    target: Option<Target>,
    /// The CPU that the emulator plays
    #[arg(long, value_enum, default_value_t = CpuChoice::Both)]
    pub(super) cpu: CpuChoice,
    /// Whether missing things are installed
    #[command(flatten)]
    pub(super) setup: SetupOptions,
}

/// The CPUs to measure on.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum CpuChoice {
    /// All that the emulator can: it then claims fast string instructions, which Linux uses and the emulator
    /// lacks
    Max,
    /// The same without that claim
    WithoutErms,
    /// One after the other
    Both,
}

impl CpuChoice {
    /// The CPUs in the order in which they are measured.
    pub(super) const fn models(self) -> &'static [Cpu] {
        match self {
            Self::Max => &[Cpu::Max],
            Self::WithoutErms => &[Cpu::WithoutErms],
            Self::Both => &[Cpu::Max, Cpu::WithoutErms],
        }
    }
}

impl BenchOptions {
    /// The targets of a full measurement, the one that everything is measured on first.
    pub(super) fn targets(&self) -> Vec<Target> {
        self.target.map_or_else(|| vec![Target::Gnu, Target::None], |target| vec![target])
    }

    /// The target that instructions are counted on.
    pub(super) fn counted_target(&self) -> Target {
        self.target.unwrap_or(Target::Gnu)
    }
}
