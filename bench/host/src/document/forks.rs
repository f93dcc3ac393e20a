//! The section on forks: ours beside instantiation in wasmtime, and what is published of others.

use super::words::number;
use super::{line, section};
use crate::counts;
use crate::figure::{Figures, Origin, Source};
use crate::peers::forks::WAYS;
use crate::peers::runtimes::ORIGIN;
use palimpsest_host::kernel::Target;

/// What is compared, and what others publish.
const TEXT: &str = include_str!("forks.md");

/// Our figures in the order of [`WAYS`], as far as there are such.
const OURS: [&str; 2] = ["segments_instantiate/1048576/without images", "segments_instantiate/1048576"];

const HEADS: [&str; 7] = [
    "data",
    "Palimpsest, instructions",
    "ratio",
    "wasmtime, ns to instantiate",
    "ratio",
    "wasmtime, ns of a life",
    "ratio",
];

/// The section, or an empty string if wasmtime was not measured.
pub(super) fn text(figures: &Figures) -> String {
    let ours = counts::origin(Source::Kernel(Target::Gnu));
    let mut lines = String::new();
    for (index, (way, what)) in WAYS.into_iter().zip(["copied", "shared", "shared, pooled"]).enumerate() {
        let ours = OURS.get(index).map(|name| pair(figures, ours, name, OURS[0])).unwrap_or_default();
        let [instantiated, lived] = ["wasmtime_instantiate", "wasmtime_life"]
            .map(|what| pair(figures, ORIGIN, &format!("{what}/{way}"), &format!("{what}/{}", WAYS[0])));
        let cells = [ours, instantiated, lived].concat();
        let cells: Vec<_> = [what].into_iter().chain(cells.iter().map(String::as_str)).collect();
        line(&mut lines, &cells);
    }
    if figures.find(ORIGIN, "wasmtime_life/fresh").is_none() {
        return String::new();
    }
    section("Forks", &HEADS, &lines) + TEXT
}

/// A figure, and its ratio to another one.
fn pair(figures: &Figures, origin: Origin, name: &str, reference: &str) -> [String; 2] {
    let find = |name| figures.find(origin, name).map(|figure| figure.median);
    let ratio = find(name).zip(find(reference)).map(|(value, reference)| number(value / reference));
    [find(name).map(number).unwrap_or_default(), ratio.unwrap_or_default()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Unit;
    use crate::figure::tests::figure;

    #[test]
    fn each_way_stands_with_its_ratio_to_copied_data() {
        let counts = [(OURS[0], 300_000.0), (OURS[1], 15_000.0)];
        let counts = counts.map(|(name, value)| figure(name, Unit::Instructions, value));
        let mut figures = Figures::of(counts::origin(Source::Kernel(Target::Gnu)), counts.to_vec());
        assert_eq!(text(&figures), "");
        let times = WAYS.into_iter().zip([80_000.0, 20_000.0, 8_000.0]);
        let times = times.flat_map(|(way, ns)| {
            [("instantiate", ns), ("life", 2.0 * ns)]
                .map(|(what, ns)| figure(&format!("wasmtime_{what}/{way}"), Unit::Ns, ns))
        });
        figures.extend(Figures::of(ORIGIN, times.collect()));
        let text = text(&figures);
        assert!(text.contains("| copied | 300,000 | 1 | 80,000 | 1 | 160,000 | 1 |\n"), "{text}");
        assert!(text.contains("| shared | 15,000 | 0.050 | 20,000 | 0.250 | 40,000 | 0.250 |\n"), "{text}");
        assert!(text.contains("| shared, pooled |  |  | 8,000 | 0.100 | 16,000 | 0.100 |\n"), "{text}");
    }
}
