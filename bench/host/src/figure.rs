//! Figures and their origins.
//!
//! A figure has a name, which is the same for all sources that measure the same thing, a unit, and
//! the median and the minimum of its runs. Its origin is the source that measured it and the
//! conditions. Only figures with equal conditions are divided by each other.

use palimpsest_host::kernel::Target;
pub(crate) use palimpsest_host::protocol::{Figure, Unit};
use palimpsest_host::qemu::{Clock, Cpu};
use std::fmt;

/// The prefix of the names of the Wasm kernels' figures.
pub(crate) const KERNEL: &str = "kernel/";

/// Returns the value that is compared: the median, or for Wasm kernels the minimum, as in the
/// peers' own suite.
pub(crate) fn compared(figure: &Figure) -> f64 {
    if figure.name.starts_with(KERNEL) { figure.min } else { figure.median }
}

/// Whether the figure is a time.
pub(crate) const fn is_time(figure: &Figure) -> bool {
    matches!(figure.unit, Unit::Ns | Unit::NsPerPage)
}

/// Combines the same figure of several rounds: the median of the medians, and the minimum of all
/// runs.
fn of_rounds(mut rounds: Vec<Figure>) -> Figure {
    let min = rounds.iter().map(|figure| figure.min).fold(f64::INFINITY, f64::min);
    let runs = rounds.iter().map(|figure| figure.runs).sum();
    rounds.sort_by(|one, other| one.median.total_cmp(&other.median));
    let middle = rounds.swap_remove(rounds.len() / 2);
    Figure { min, runs, ..middle }
}

/// The spread of several rounds.
fn spread(rounds: &[Figure]) -> Spread {
    let values = rounds.iter().map(compared);
    let none = Spread { low: f64::INFINITY, high: f64::NEG_INFINITY };
    values.fold(none, |Spread { low, high }, value| Spread { low: low.min(value), high: high.max(value) })
}

/// What measured a figure.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Source {
    /// Our kernel, built for this target
    Kernel(Target),
    /// Linux in the emulator
    Linux,
    /// The bare program in the emulator
    Floor,
    /// A runtime on this machine, without an emulator; the figure's name contains its name
    Host,
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel(target) => write!(formatter, "palimpsest-{target}"),
            Self::Linux => formatter.write_str("linux"),
            Self::Floor => formatter.write_str("floor"),
            Self::Host => formatter.write_str("host"),
        }
    }
}

/// The source of a figure, and the conditions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Origin {
    /// The source
    pub(crate) source: Source,
    /// The model of the emulated CPU; meaningless for the host's runtimes
    pub(crate) cpu: Cpu,
    /// What the clock counted
    pub(crate) clock: Clock,
}

/// All figures of a measurement.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Figures {
    list: Vec<(Origin, Figure)>,
    spreads: Vec<(Origin, String, Spread)>,
}

/// The smallest and the largest of what several rounds found for the same figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    /// The smallest
    pub(crate) low: f64,
    /// The largest
    pub(crate) high: f64,
}

impl Figures {
    /// Figures of one origin.
    pub(crate) fn of(origin: Origin, figures: Vec<Figure>) -> Self {
        let list = figures.into_iter().map(|figure| (origin, figure)).collect();
        Self { list, spreads: Vec::new() }
    }

    /// Combines rounds of the same measurement. Figures keep the order of their first occurrence.
    pub(crate) fn of_rounds(rounds: Vec<Self>) -> Self {
        let mut groups: Vec<(Origin, Vec<Figure>)> = Vec::new();
        for (origin, figure) in rounds.into_iter().flat_map(|round| round.list) {
            let same = |(of, group): &&mut (Origin, Vec<Figure>)| {
                *of == origin && group.iter().all(|other| other.name == figure.name)
            };
            match groups.iter_mut().find(same) {
                Some((_, group)) => group.push(figure),
                None => groups.push((origin, vec![figure])),
            }
        }
        let mut figures = Self::default();
        for (origin, group) in groups {
            let (name, spread) = (group[0].name.clone(), spread(&group));
            figures.spreads.push((origin, name, spread));
            figures.list.push((origin, of_rounds(group)));
        }
        figures
    }

    /// Adds figures of another boot or peer.
    pub(crate) fn extend(&mut self, other: Self) {
        self.list.extend(other.list);
        self.spreads.extend(other.spreads);
    }

    /// The spread of the rounds of a figure; none if it was measured once.
    pub(crate) fn spread(&self, origin: Origin, name: &str) -> Option<Spread> {
        let mut of_name = self.spreads.iter().filter(|(of, figure, _)| *of == origin && figure == name);
        of_name.next().map(|(_, _, spread)| *spread)
    }

    /// The figure with this name and origin.
    pub(crate) fn find(&self, origin: Origin, name: &str) -> Option<&Figure> {
        self.of_origin(origin).find(|figure| figure.name == name)
    }

    /// All figures with this origin, in the order in which they were measured.
    pub(crate) fn of_origin(&self, origin: Origin) -> impl Iterator<Item = &Figure> {
        self.list.iter().filter(move |(of, _)| *of == origin).map(|(_, figure)| figure)
    }

    /// All figures with their origins.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &(Origin, Figure)> {
        self.list.iter()
    }
}

/// The geometric mean, or `None` without ratios.
pub(crate) fn geometric_mean(ratios: impl Iterator<Item = f64>) -> Option<f64> {
    let logarithms: Vec<_> = ratios.map(f64::ln).collect();
    let sum: f64 = logarithms.iter().sum();
    (!logarithms.is_empty()).then(|| (sum / logarithms.len() as f64).exp())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Our kernel for gnu, on the host's clock.
    pub(crate) const OURS: Origin =
        Origin { source: Source::Kernel(Target::Gnu), cpu: Cpu::Max, clock: Clock::Host };

    /// A figure of one run.
    pub(crate) fn figure(name: &str, unit: Unit, value: f64) -> Figure {
        Figure { name: name.to_owned(), unit, median: value, min: value, runs: 1, result: None }
    }

    #[test]
    fn a_figure_is_found_by_name_under_its_own_conditions_only() {
        let figures = Figures::of(OURS, vec![figure("clear/65536", Unit::NsPerPage, 12.5)]);
        assert_eq!(figures.find(OURS, "clear/65536").map(|figure| figure.median), Some(12.5));
        assert_eq!(figures.find(OURS, "clear/1048576"), None);
        for other in [
            Origin { source: Source::Linux, ..OURS },
            Origin { cpu: Cpu::WithoutErms, ..OURS },
            Origin { clock: Clock::Instructions, ..OURS },
        ] {
            assert_eq!(figures.find(other, "clear/65536"), None);
        }
    }

    #[test]
    fn rounds_come_to_the_median_of_medians_and_the_smallest_of_all() {
        let round = |median, min| {
            let first = Figure { median, min, runs: 9, ..figure("clear/65536", Unit::NsPerPage, 0.0) };
            Figures::of(OURS, vec![first, figure("grow/1", Unit::Ns, median)])
        };
        let elsewhere = Origin { cpu: Cpu::WithoutErms, ..OURS };
        let mut rounds = vec![round(30.0, 7.0), round(10.0, 8.0), round(20.0, 9.0)];
        rounds[0].extend(Figures::of(elsewhere, vec![figure("clear/65536", Unit::NsPerPage, 90.0)]));
        let figures = Figures::of_rounds(rounds);
        let clear = figures.find(OURS, "clear/65536").expect("every round has it");
        assert_eq!((clear.median, clear.min, clear.runs), (20.0, 7.0, 27));
        assert_eq!(figures.spread(OURS, "clear/65536"), Some(Spread { low: 10.0, high: 30.0 }));
        assert_eq!(figures.find(OURS, "grow/1").map(|figure| figure.median), Some(20.0));
        assert_eq!(figures.find(elsewhere, "clear/65536").map(|figure| figure.runs), Some(1));
        assert_eq!(figures.iter().count(), 3);
    }
}
