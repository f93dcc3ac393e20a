//! The list of goals, and the figures that each is made from.

use super::{Bound, Goal};
use crate::figure::{Figure, Figures, KERNEL, Origin, Source, compared, geometric_mean};
use palimpsest_host::kernel::Target;
use palimpsest_host::qemu::{Clock, Cpu};

/// A cost of pages against Linux.
struct PageGoal {
    name: &'static str,
    operation: &'static str,
    /// Ranges in bytes
    ranges: &'static [&'static str],
    /// For each of the CPUs
    at_most: [f64; 2],
}

pub(super) const KIB_64: &str = "65536";
pub(super) const MIB_1: &str = "1048576";
pub(super) const MIB_64: &str = "67108864";

const CPUS: [Cpu; 2] = [Cpu::Max, Cpu::WithoutErms];

const PAGE_GOALS: [PageGoal; 5] = [
    PageGoal {
        name: "first touch, dense / Linux",
        operation: "first_touch",
        ranges: &[KIB_64, MIB_1, MIB_64],
        at_most: [0.08, 0.15],
    },
    PageGoal {
        name: "first touch, one page in 64 / Linux",
        operation: "sparse_touch",
        ranges: &[KIB_64, MIB_1, MIB_64],
        at_most: [0.20, 0.35],
    },
    PageGoal {
        name: "clear one touched Wasm page / MADV_DONTNEED of 64 KiB",
        operation: "clear",
        ranges: &[KIB_64],
        at_most: [0.10, 0.12],
    },
    PageGoal {
        name: "clear 1 MiB and more / MADV_DONTNEED",
        operation: "clear",
        ranges: &[MIB_1, MIB_64],
        at_most: [0.03, 0.04],
    },
    PageGoal {
        name: "clear and touch again, 64 KiB / Linux",
        operation: "clear_touch",
        ranges: &[KIB_64],
        at_most: [0.10, 0.20],
    },
];

/// The kernel that computes with floats.
const FLOAT_KERNEL: &str = "kernel/matmul";

/// The kernels whose time is that of making an instance, or of page faults: no measure of an interpreter.
const NOT_CODE: [&str; 2] = ["kernel/touch", "kernel/grow"];

/// All goals, in the order of their table.
pub(super) fn all(figures: &Figures) -> Vec<Goal> {
    let mut goals = Vec::new();
    for goal in &PAGE_GOALS {
        for (cpu, limit) in CPUS.into_iter().zip(goal.at_most) {
            let value = View { figures, cpu }.worst_page_ratio(goal);
            goals.push(Goal::new(format!("{} (-cpu {cpu})", goal.name), Bound::AtMost(limit), value));
        }
    }
    let view = View { figures, cpu: Cpu::Max };
    goals.push(view.sparse_frames());
    goals.extend(view.lives());
    goals.extend(view.wasm());
    goals.extend(view.rest());
    goals
}

/// The figures under one CPU.
#[derive(Clone, Copy)]
struct View<'a> {
    figures: &'a Figures,
    cpu: Cpu,
}

impl View<'_> {
    fn find(&self, source: Source, clock: Clock, name: &str) -> Option<&Figure> {
        self.figures.find(Origin { source, cpu: self.cpu, clock }, name)
    }

    /// What our kernel for gnu measured.
    fn ours(&self, name: &str) -> Option<f64> {
        self.find(Source::Kernel(Target::Gnu), Clock::Host, name).map(|figure| figure.median)
    }

    fn instructions(&self, name: &str) -> Option<f64> {
        self.find(Source::Kernel(Target::Gnu), Clock::Instructions, name).map(|figure| figure.median)
    }

    fn worst_page_ratio(&self, goal: &PageGoal) -> Option<f64> {
        let ratios = goal.ranges.iter().map(|range| {
            let name = format!("{}/{range}", goal.operation);
            Some(self.ours(&name)? / self.find(Source::Linux, Clock::Host, &name)?.median)
        });
        worst(ratios)
    }

    fn sparse_frames(&self) -> Goal {
        let touched = [(KIB_64, 1.0), (MIB_1, 4.0), (MIB_64, 256.0)];
        let frames =
            touched.iter().map(|(range, pages)| Some(self.ours(&format!("sparse_frames/{range}"))? / pages));
        let name = "data frames for each page touched, one page in 64";
        Goal::new(name, Bound::AtMost(1.0), worst(frames))
    }

    fn lives(&self) -> [Goal; 6] {
        let [one, all] = ["instantiate/1", "instantiate/65536"].map(|name| self.ours(name));
        let [by_one, by_all] = ["grow/1", "grow/65535"].map(|name| self.instructions(name));
        let micros = |name| self.ours(name).map(|ns| ns / 1000.0);
        let tables = self.ours("instantiate_table_frames/65536");
        [
            Goal::new("instantiate 65,536 Wasm pages / 1 Wasm page", Bound::AtMost(1.2), ratio(all, one)),
            Goal::new("its table frames", Bound::AtMost(4.0), tables),
            Goal::new("its time, us under TCG", Bound::AtMost(100.0), micros("instantiate/65536")),
            Goal::new(
                "memory.grow by 65,535 / by 1, instructions",
                Bound::AtMost(1.2),
                ratio(by_all, by_one),
            ),
            Goal::new(
                "its time, the slower one, us under TCG",
                Bound::AtMost(5.0),
                worst(["grow/1", "grow/65535"].into_iter().map(micros)),
            ),
            Goal::new(
                "its instructions, the larger count",
                Bound::AtMost(300.0),
                worst([by_one, by_all].into_iter()),
            ),
        ]
    }

    fn wasm(&self) -> [Goal; 4] {
        let gnu = self.kernel_ratios(Target::Gnu);
        let none = self.kernel_ratios(Target::None);
        let (floats, integers): (Vec<_>, Vec<_>) =
            none.into_iter().partition(|(name, _)| name == FLOAT_KERNEL);
        let slowest = |ratios| Worst::of(ratios).map(|worst| worst.name.replacen(KERNEL, "", 1));
        [
            Goal::new("Wasm kernels / wasmi on Linux, geometric mean (gnu)", Bound::AtMost(1.0), mean(&gnu)),
            Goal::new(
                "the same, the slowest of them",
                Bound::AtMost(1.05),
                Worst::of(&gnu).map(|worst| worst.ratio),
            )
            .with_note(slowest(&gnu)),
            Goal::new(
                "Wasm kernels of integers / wasmi on Linux (none)",
                Bound::AtMost(1.6),
                mean(&integers),
            )
            .with_note(slowest(&integers).map(|name| format!("the slowest: {name}"))),
            Goal::new("Wasm kernel of floats / wasmi on Linux (none)", Bound::AtMost(2.5), mean(&floats)),
        ]
    }

    /// For each of the kernels that Linux ran too: our time by Linux's.
    fn kernel_ratios(&self, target: Target) -> Vec<(String, f64)> {
        let origin = Origin { source: Source::Kernel(target), cpu: self.cpu, clock: Clock::Host };
        let kernels = self
            .figures
            .of_origin(origin)
            .filter(|figure| figure.name.starts_with(KERNEL) && !NOT_CODE.contains(&figure.name.as_str()));
        let ratios = kernels.filter_map(|ours| {
            let linux = self.find(Source::Linux, Clock::Host, &ours.name)?;
            Some((ours.name.clone(), compared(ours) / compared(linux)))
        });
        ratios.collect()
    }

    fn rest(&self) -> [Goal; 4] {
        let segments = ratio(self.ours("segments_touch_16/8388608"), self.ours("segments_touch_16/1048576"));
        let boot = self.ours("boot/first_instruction").map(|ns| ns / 1e6);
        [
            Goal::new(
                "one-page instances alive at once in 128 MiB",
                Bound::AtLeast(6000.0),
                self.ours("density/instances"),
            ),
            Goal::new(
                "instantiate 8 MiB of data and touch 16 pages / the same with 1 MiB",
                Bound::AtMost(1.5),
                segments,
            ),
            self.load(),
            Goal::new("boot to the first Wasm instruction, ms under TCG", Bound::AtMost(150.0), boot),
        ]
    }

    /// Judged by instructions, which repeat; the time is told beside them.
    fn load(&self) -> Goal {
        let worst = Worst::of(&self.load_ratios(Clock::Instructions));
        let by_time = Worst::of(&self.load_ratios(Clock::Host));
        let note = worst.as_ref().map(|worst| match by_time {
            Some(time) => format!("{}; by time {:.3}", worst.name, time.ratio),
            None => worst.name.clone(),
        });
        let name = "load a module / wasmi's lazy load, which validates too; the slowest, instructions";
        Goal::new(name, Bound::AtMost(1.5), worst.map(|worst| worst.ratio)).with_note(note)
    }

    /// For each module: our load by wasmi's.
    fn load_ratios(&self, clock: Clock) -> Vec<(String, f64)> {
        let origin = Origin { source: Source::Kernel(Target::Gnu), cpu: self.cpu, clock };
        let loads = self.figures.of_origin(origin).filter_map(|figure| {
            let module = figure.name.strip_prefix("load/")?;
            let wasmi = self.figures.find(origin, &format!("load_wasmi/{module}"))?;
            Some((module.to_owned(), figure.median / wasmi.median))
        });
        loads.collect()
    }
}

/// The largest of several ratios, and whose it is.
struct Worst {
    name: String,
    ratio: f64,
}

impl Worst {
    /// None of nothing.
    fn of(ratios: &[(String, f64)]) -> Option<Self> {
        let worst = ratios.iter().max_by(|(_, one), (_, other)| one.total_cmp(other))?;
        Some(Self { name: worst.0.clone(), ratio: worst.1 })
    }
}

fn ratio(of: Option<f64>, by: Option<f64>) -> Option<f64> {
    Some(of? / by?)
}

/// The largest; none if there is none, or one was not measured.
fn worst(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let values: Option<Vec<f64>> = values.collect();
    values?.into_iter().reduce(f64::max)
}

/// The geometric mean; none of nothing.
fn mean(ratios: &[(String, f64)]) -> Option<f64> {
    geometric_mean(ratios.iter().map(|(_, ratio)| *ratio))
}
