//! Boots the benchmark's kernel, once for each suite.
//!
//! The boot archive contains the modules that the suite names. A boot counts only if the kernel
//! ended it with success and sent its figures.

use crate::figure::{Figures, Origin, Source};
use crate::kernels::Kernels;
use crate::modules::{self, Module};
use anyhow::{Context, Result, ensure};
use palimpsest_host::boot::Session;
use palimpsest_host::kernel::{Image, Target};
use palimpsest_host::progress::Progress;
use palimpsest_host::protocol::{Measurements, Sample, Suite, Task};
use palimpsest_host::qemu::{Accelerator, Clock, Cpu, Ending, Machine, Setting};
use palimpsest_host::workspace::Workspace;
use std::time::Duration;

const TIME_LIMIT: Duration = Duration::from_secs(600);

/// Memory of the machine in MiB. The density of instances is that of a small machine.
const fn memory_mib(suite: &Suite) -> u32 {
    match suite {
        Suite::Density => 128,
        Suite::Boot => 256,
        Suite::Costs | Suite::Cpus | Suite::Load(_) | Suite::Kernels(_) => 512,
    }
}

/// The benchmark kernel of a target.
#[derive(Debug)]
pub(crate) struct Bench {
    session: Session,
    target: Target,
    segments: Vec<Module>,
}

/// The result of a boot.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    /// The figures
    pub(crate) figures: Figures,
    /// The samples of the suite `Density`
    pub(crate) samples: Vec<Sample>,
}

impl From<Figures> for Measured {
    fn from(figures: Figures) -> Self {
        Self { figures, ..Self::default() }
    }
}

impl Bench {
    /// Builds the kernel for one CPU.
    ///
    /// # Errors
    /// It does not build.
    pub(crate) fn new(workspace: &Workspace, target: Target) -> Result<Self> {
        Self::with(workspace, target, Image::BENCH)
    }

    /// Builds the kernel for several CPUs.
    ///
    /// # Errors
    /// It does not build.
    pub(crate) fn for_many_cpus(workspace: &Workspace, target: Target) -> Result<Self> {
        Self::with(workspace, target, Image::BENCH_MANY_CPUS)
    }

    fn with(workspace: &Workspace, target: Target, image: Image) -> Result<Self> {
        let session = Session::new(workspace, target, image)?;
        Ok(Self { session, target, segments: modules::with_segments() })
    }

    /// Measures a suite that needs no modules of other projects.
    ///
    /// # Errors
    /// The machine does not end with success, or its report is damaged.
    pub(crate) fn measure(&self, suite: Suite, cpu: Cpu, clock: Clock) -> Result<Measured> {
        let segments = if suite == Suite::Costs { self.segments.as_slice() } else { &[] };
        self.boot(suite, segments, Conditions { cpus: 1, cpu, clock })
    }

    /// Measures guests on a machine with `cpus` CPUs.
    ///
    /// # Errors
    /// As [`measure`](Self::measure).
    pub(crate) fn on_cpus(&self, cpus: u32, cpu: Cpu) -> Result<Measured> {
        self.boot(Suite::Cpus, &[], Conditions { cpus, cpu, clock: Clock::Host })
    }

    /// Measures how `modules` are loaded. Without modules, it measures nothing.
    ///
    /// # Errors
    /// As [`measure`](Self::measure).
    pub(crate) fn load(&self, modules: &[Module], cpu: Cpu, clock: Clock) -> Result<Measured> {
        if modules.is_empty() {
            return Ok(Measured::default());
        }
        let names = modules.iter().map(|module| module.file.clone()).collect();
        self.boot(Suite::Load(names), modules, Conditions { cpus: 1, cpu, clock })
    }

    /// Measures kernels of Wasm.
    ///
    /// # Errors
    /// As [`measure`](Self::measure).
    pub(crate) fn run(&self, kernels: &Kernels, cpu: Cpu, clock: Clock) -> Result<Measured> {
        self.boot(Suite::Kernels(kernels.jobs.clone()), &kernels.modules, Conditions { cpus: 1, cpu, clock })
    }

    fn boot(&self, suite: Suite, files: &[Module], conditions: Conditions) -> Result<Measured> {
        let Conditions { cpus, cpu, clock } = conditions;
        let packed: Vec<_> =
            files.iter().map(|module| (module.file.as_str(), module.bytes.as_slice())).collect();
        let machine = Machine {
            memory_mib: memory_mib(&suite),
            cpus,
            accelerator: Accelerator::Tcg,
            clock,
            time_limit: TIME_LIMIT,
            setting: Setting::Measuring(cpu),
        };
        let mut output = String::new();
        let shown = format!("{suite:?}");
        let kind = shown.split('(').next().unwrap_or_default();
        // The kernel prints a line for each figure.
        let progress = Progress::counted(&format!("measuring {kind} with -cpu {cpu}"), "figures", None);
        let task = Task::Measure(suite.clone());
        let ending = self.session.boot(machine, task, &packed, |line| {
            progress.advance();
            output.extend([line, "\n"]);
        })?;
        drop(progress);
        ensure!(ending == Ending::Success, "the suite {suite:?}: {ending}\n{output}");
        let report: Measurements =
            self.session.answer().with_context(|| format!("the suite {suite:?} was not measured"))?;
        ensure!(!report.figures.is_empty(), "the suite {suite:?} has no figures");
        let origin = Origin { source: Source::Kernel(self.target), cpu, clock };
        let figures = Figures::of(origin, report.figures);
        Ok(Measured { figures, samples: report.samples })
    }
}

/// The conditions of a boot.
#[derive(Clone, Copy)]
struct Conditions {
    cpus: u32,
    cpu: Cpu,
    clock: Clock,
}
