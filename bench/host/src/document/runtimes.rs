//! The table of the runtimes on this machine: their code compared with wasmi's, and the cost of
//! memories.

use super::words::number;
use super::{line, section};
use crate::figure::{Figure, Figures, KERNEL, compared, geometric_mean};
use crate::peers::runtimes::{GROWING, ORIGIN, REFERENCE, WHOLE};

const HEADS: [&str; 5] = [
    "runtime",
    "kernels, time / wasmi, geometric mean",
    "instantiate 65,536 Wasm pages and touch the last, ms",
    "peak memory then, MiB",
    "`memory.grow` by 1, ns",
];

/// The table, or an empty string if they were not measured.
pub(super) fn table(figures: &Figures) -> String {
    let mut text = String::new();
    for runtime in names(figures) {
        let find = |what: &str| figures.find(ORIGIN, &format!("{what}/{runtime}"));
        let shown = |figure: Option<&Figure>, unit: f64| {
            figure.map(|figure| number(figure.min / unit)).unwrap_or_default()
        };
        let mean = mean_ratio(figures, runtime).map(number).unwrap_or_default();
        let whole = shown(find(&format!("memory/{WHOLE}")), 1e6);
        let peak = shown(find(&format!("peak/{WHOLE}")), f64::from(1 << 20));
        let (guest, times) = GROWING;
        let growth = shown(find(&format!("memory/{guest}")), times);
        line(&mut text, &[runtime, &mean, &whole, &peak, &growth]);
    }
    section("Other runtimes, on the host, without an emulator: smallest times", &HEADS, &text)
}

/// The runtimes in the order in which they were measured.
fn names(figures: &Figures) -> Vec<&str> {
    let mut names = Vec::new();
    for (_, runtime) in figures.of_origin(ORIGIN).filter_map(|figure| figure.name.rsplit_once('/')) {
        if !names.contains(&runtime) {
            names.push(runtime);
        }
    }
    names
}

/// The geometric mean of the runtime's times divided by those of the reference, over all kernels.
fn mean_ratio(figures: &Figures, runtime: &str) -> Option<f64> {
    let ratios =
        figures.of_origin(ORIGIN).filter(|figure| figure.name.starts_with(KERNEL)).filter_map(|figure| {
            let (kernel, _) = figure.name.rsplit_once('/').filter(|(_, of)| *of == runtime)?;
            let reference = figures.find(ORIGIN, &format!("{kernel}/{REFERENCE}"))?;
            Some(compared(figure) / compared(reference))
        });
    geometric_mean(ratios)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Unit;
    use crate::figure::tests::figure;

    #[test]
    fn a_runtime_stands_with_its_mean_against_wasmi() {
        let list = [
            ("kernel/fib/wasmi", 10.0),
            ("kernel/fib/wasm3", 20.0),
            ("kernel/sort/wasmi", 10.0),
            ("kernel/sort/wasm3", 80.0),
            ("memory/mem4g -1/wasm3", 1.5e9),
            ("peak/mem4g -1/wasm3", 4_294_967_296.0),
            ("memory/grow 4096/wasm3", 409_600.0),
        ];
        let list = list.map(|(name, value)| figure(name, Unit::Ns, value));
        let text = table(&Figures::of(ORIGIN, list.to_vec()));
        assert!(text.contains("| wasmi | 1 |  |  |  |\n"), "{text}");
        assert!(text.contains("| wasm3 | 4 | 1,500 | 4,096 | 100 |\n"), "{text}");
        assert_eq!(table(&Figures::default()), "");
    }
}
