//! Measuring in our kernel: one boot for each suite.
//!
//! Owns the benchmark kernel of a target, and what is packed into its boots: the plan, and the modules that
//! the plan names. A boot counts only if the kernel ended it with success and sent all of its figures.

use crate::figure::{Figure, Figures, Origin, Source};
use crate::modules::{self, Module};
use crate::peers::Job;
use anyhow::{Context, Result, ensure};
use palimpsest_host::archive::Request;
use palimpsest_host::boot::Session;
use palimpsest_host::kernel::{Image, Target};
use palimpsest_host::qemu::{Accelerator, Clock, Cpu, Ending, Machine, Setting};
use palimpsest_host::workspace::Workspace;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::Duration;

/// The name of the plan in the boot archive.
const PLAN: &str = "bench.json";

/// What the kernel is asked for beside the plan: it has one mode.
const REQUEST: Request<'static> = Request::Tour;

const TIME_LIMIT: Duration = Duration::from_secs(600);

/// A group of figures that one boot measures.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Suite {
    /// From reset to the first Wasm instruction
    Boot,
    /// Pages, instances, growth, loops of Wasm
    Costs,
    /// Instances alive at once
    Density,
    /// Loading modules
    Load,
    /// The peers' kernels
    Kernels,
}

impl Suite {
    const fn name(self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::Costs => "costs",
            Self::Density => "density",
            Self::Load => "load",
            Self::Kernels => "kernels",
        }
    }

    /// Memory of the machine in MiB. The density of instances is that of a small machine.
    const fn memory_mib(self) -> u32 {
        match self {
            Self::Density => 128,
            Self::Boot => 256,
            Self::Costs | Self::Load | Self::Kernels => 512,
        }
    }
}

/// The benchmark kernel of a target.
#[derive(Debug)]
pub(crate) struct Bench {
    session: Session,
    target: Target,
    segments: Vec<Module>,
}

/// What a boot measured.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    /// The figures
    pub(crate) figures: Figures,
    /// Of the density of instances alone
    pub(crate) samples: Vec<Sample>,
}

/// A moment in the filling of a machine.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Sample {
    /// Which instances
    pub(crate) name: String,
    /// How many were alive
    pub(crate) instances: u64,
    /// What they had taken of frames and heap, in bytes
    pub(crate) bytes: u64,
}

impl From<Figures> for Measured {
    fn from(figures: Figures) -> Self {
        Self { figures, ..Self::default() }
    }
}

/// The kernel's report.
#[derive(Deserialize)]
struct Report {
    figures: Vec<Figure>,
    samples: Vec<Sample>,
}

impl Bench {
    /// Builds the kernel.
    ///
    /// # Errors
    /// It does not build.
    pub(crate) fn new(workspace: &Workspace, target: Target) -> Result<Self> {
        let session = Session::new(workspace, target, Image::new("palimpsest-bench-kernel", "bench"))?;
        Ok(Self { session, target, segments: modules::with_segments() })
    }

    /// Measures a suite that needs nothing from outside.
    ///
    /// # Errors
    /// The machine ends in another way than with success, or its report is damaged.
    pub(crate) fn measure(&self, suite: Suite, cpu: Cpu, clock: Clock) -> Result<Measured> {
        let segments = match suite {
            Suite::Costs => self.segments.as_slice(),
            Suite::Boot | Suite::Density | Suite::Load | Suite::Kernels => &[],
        };
        self.boot(suite, Plan { modules: &[], jobs: &[] }, segments, Conditions { cpu, clock })
    }

    /// Measures how `modules` are loaded; nothing if there are none.
    ///
    /// # Errors
    /// As [`measure`](Self::measure).
    pub(crate) fn load(&self, modules: &[Module], cpu: Cpu, clock: Clock) -> Result<Measured> {
        if modules.is_empty() {
            return Ok(Measured::default());
        }
        let plan = Plan { modules, jobs: &[] };
        self.boot(Suite::Load, plan, modules, Conditions { cpu, clock })
    }

    /// Measures the functions of `jobs`, whose modules are `files`.
    ///
    /// # Errors
    /// As [`measure`](Self::measure).
    pub(crate) fn run(&self, jobs: &[Job], files: &[Module], cpu: Cpu) -> Result<Measured> {
        let plan = Plan { modules: &[], jobs };
        self.boot(Suite::Kernels, plan, files, Conditions { cpu, clock: Clock::Host })
    }

    fn boot(
        &self,
        suite: Suite,
        plan: Plan<'_>,
        files: &[Module],
        conditions: Conditions,
    ) -> Result<Measured> {
        let Conditions { cpu, clock } = conditions;
        let plan = plan.to_json(suite);
        let mut packed = vec![(PLAN, plan.as_bytes())];
        packed.extend(files.iter().map(|module| (module.file.as_str(), module.bytes.as_slice())));
        let machine = Machine {
            memory_mib: suite.memory_mib(),
            accelerator: Accelerator::Tcg,
            clock,
            time_limit: TIME_LIMIT,
            setting: Setting::Measuring(cpu),
        };
        let mut output = String::new();
        let ending = self.session.boot(machine, REQUEST, &packed, |line| output.extend([line, "\n"]))?;
        ensure!(ending == Ending::Success, "the suite {}: {ending}\n{output}", suite.name());
        let report: Report = serde_json::from_str(&self.session.report_text()?)
            .with_context(|| format!("the kernel's report of the suite {} is damaged", suite.name()))?;
        ensure!(!report.figures.is_empty(), "the suite {} has no figures", suite.name());
        let origin = Origin { source: Source::Kernel(self.target), cpu, clock };
        let figures = Figures::of(origin, report.figures);
        Ok(Measured { figures, samples: report.samples })
    }
}

/// What is the same for all figures of a boot.
#[derive(Clone, Copy)]
struct Conditions {
    cpu: Cpu,
    clock: Clock,
}

/// What the kernel is to load and to call.
struct Plan<'a> {
    modules: &'a [Module],
    jobs: &'a [Job],
}

impl Plan<'_> {
    fn to_json(&self, suite: Suite) -> String {
        let modules: Vec<_> = self.modules.iter().map(|module| module.file.as_str()).collect();
        let jobs: Vec<_> = self.jobs.iter().map(Job::to_json).collect();
        json!({ "suite": suite.name(), "modules": modules, "jobs": jobs }).to_string()
    }
}
