//! The plots of the documentation: SVG files that a browser shows on light and dark pages alike.
//!
//! Owns what is drawn and how: white ground, dark text, a legend, units at both axes. Every plot is made from
//! the document's figures; one whose figures were not measured is not written. Axes are linear; where a plot
//! needs powers, their exponents are drawn, and labelled as what they stand for.

use crate::document::Document;
use crate::figure::{Origin, Source};
use crate::timelines::Timeline;
use anyhow::{Result, anyhow};
use palimpsest_host::kernel::Target;
use palimpsest_host::qemu::{Clock, Cpu};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use std::fs;
use std::path::Path;

const SIZE: (u32, u32) = (900, 500);

const TEXT: &str = "sans-serif";

/// Told apart by people who do not see red and green too.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(120, 120, 120),
];

/// The ranges of the costs of pages in bytes.
const RANGES: [u64; 3] = [64 << 10, 1 << 20, 64 << 20];

/// A line of a plot.
struct Series {
    label: String,
    points: Vec<(f64, f64)>,
}

/// What stands at an axis.
struct Axis {
    label: &'static str,
    /// What the number at a tick stands for
    tick: fn(f64) -> String,
    /// Between which numbers
    range: (f64, f64),
    /// How many ticks there may be
    ticks: usize,
}

/// A plot but for its lines.
struct Frame<'a> {
    title: &'a str,
    x: Axis,
    y: Axis,
    /// Where lines rarely are
    legend: SeriesLabelPosition,
}

/// Writes all plots into `directory`.
///
/// # Errors
/// A file cannot be written.
pub(crate) fn write(directory: &Path, document: &Document, timelines: &[Timeline]) -> Result<()> {
    fs::create_dir_all(directory)?;
    cost_per_page(&directory.join("cost-per-page.svg"), document)?;
    instances(&directory.join("instances.svg"), document)?;
    timelines.iter().try_for_each(|timeline| resident_frames(directory, timeline))
}

/// Cost of a page against the size of the range, ours and the others'.
fn cost_per_page(path: &Path, document: &Document) -> Result<()> {
    let lines = [
        ("Palimpsest", Source::Kernel(Target::Gnu), "first_touch"),
        ("Linux guest", Source::Linux, "first_touch"),
        ("bare program", Source::Floor, "first_touch"),
        ("Palimpsest", Source::Kernel(Target::Gnu), "clear"),
        ("Linux guest", Source::Linux, "clear"),
        ("bare program", Source::Floor, "clear_one_flush"),
    ];
    let series = lines.into_iter().filter_map(|(who, source, operation)| {
        let origin = Origin { source, cpu: Cpu::Max, clock: Clock::Host };
        let points: Option<Vec<_>> = RANGES
            .into_iter()
            .map(|bytes| {
                let figure = document.figures.find(origin, &format!("{operation}/{bytes}"))?;
                Some(((bytes as f64).log2(), figure.median.log10()))
            })
            .collect();
        let what = if operation == "first_touch" { "first touch" } else { "clear" };
        Some(Series { label: format!("{who}, {what}"), points: points? })
    });
    let frame = Frame {
        title: "Cost of a page, QEMU TCG, -cpu max",
        x: Axis { label: "size of the range", tick: bytes_of_exponent, range: (16.0, 26.0), ticks: 11 },
        y: Axis { label: "ns for each 4 KiB page", tick: power_of_ten, range: (0.0, 5.0), ticks: 6 },
        legend: SeriesLabelPosition::LowerLeft,
    };
    draw(path, &frame, &series.collect::<Vec<_>>())
}

/// Instances alive against the memory that they have taken.
fn instances(path: &Path, document: &Document) -> Result<()> {
    let guests =
        [("density", "memory of one Wasm page"), ("density_growable", "memory that may grow to 4 GiB")];
    let series = guests.map(|(name, label)| {
        let samples = document.samples.iter().filter(|sample| sample.name == name);
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let points = samples.map(|sample| (mib(sample.bytes), sample.instances as f64)).collect();
        Series { label: label.to_owned(), points }
    });
    let (most_mib, most) = largest(&series);
    let frame = Frame {
        title: "Instances in a machine of 128 MiB",
        x: Axis { label: "frames and heap taken, MiB", tick: whole, range: (0.0, most_mib), ticks: 10 },
        y: Axis { label: "instances alive, each having run", tick: whole, range: (0.0, most), ticks: 10 },
        legend: SeriesLabelPosition::LowerRight,
    };
    draw(path, &frame, &series)
}

/// What a program held over time.
fn resident_frames(directory: &Path, timeline: &Timeline) -> Result<()> {
    let series: Vec<_> = timeline
        .lines
        .iter()
        .map(|line| {
            let points = line.points.iter().map(|(fuel, frames)| (fuel / 1e6, *frames)).collect();
            Series { label: line.name.clone(), points }
        })
        .collect();
    let (longest, most) = largest(&series);
    let frame = Frame {
        title: &format!("Frames over time: {}", timeline.program),
        x: Axis { label: "fuel used, millions of units", tick: whole, range: (0.0, longest), ticks: 10 },
        y: Axis { label: "resident frames of 4 KiB", tick: whole, range: (0.0, most * 1.05), ticks: 10 },
        legend: SeriesLabelPosition::LowerRight,
    };
    draw(&directory.join(format!("resident-{}.svg", timeline.program)), &frame, &series)
}

/// The largest coordinates of all points.
fn largest(series: &[Series]) -> (f64, f64) {
    series
        .iter()
        .flat_map(|series| &series.points)
        .fold((1.0, 1.0), |(x, y), point| (point.0.max(x), point.1.max(y)))
}

fn draw(path: &Path, frame: &Frame<'_>, series: &[Series]) -> Result<()> {
    let Frame { title, x, y, legend } = frame;
    if series.iter().all(|series| series.points.is_empty()) {
        println!("{} is left out: it was not measured", path.display());
        return Ok(());
    }
    let cannot = |error: &dyn std::fmt::Display| anyhow!("cannot draw {}: {error}", path.display());
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE).map_err(|error| cannot(&error))?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, (TEXT, 22))
        .margin(12)
        .margin_right(36)
        .x_label_area_size(48)
        .y_label_area_size(76)
        .build_cartesian_2d(x.range.0..x.range.1, y.range.0..y.range.1)
        .map_err(|error| cannot(&error))?;
    chart
        .configure_mesh()
        .x_desc(x.label)
        .y_desc(y.label)
        .x_labels(x.ticks)
        .y_labels(y.ticks)
        .light_line_style(WHITE)
        .x_label_formatter(&|value| (x.tick)(*value))
        .y_label_formatter(&|value| (y.tick)(*value))
        .label_style((TEXT, 15))
        .draw()
        .map_err(|error| cannot(&error))?;
    draw_lines(&mut chart, series).map_err(|error| cannot(&error))?;
    chart
        .configure_series_labels()
        .position(legend.clone())
        .background_style(WHITE.mix(0.9))
        .border_style(BLACK.mix(0.3))
        .label_font((TEXT, 15))
        .draw()
        .map_err(|error| cannot(&error))?;
    area.present().map_err(|error| cannot(&error))
}

type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Draws the lines, each with a colour of its own.
fn draw_lines<'b>(
    chart: &mut Chart<'_, 'b>,
    series: &[Series],
) -> Result<(), DrawingAreaErrorKind<<SVGBackend<'b> as DrawingBackend>::ErrorType>> {
    for (series, colour) in series.iter().zip(COLOURS.into_iter().cycle()) {
        let line = LineSeries::new(series.points.iter().copied(), colour.stroke_width(2)).point_size(2);
        chart
            .draw_series(line)?
            .label(&series.label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(3)));
    }
    Ok(())
}

fn bytes_of_exponent(exponent: f64) -> String {
    if exponent < 20.0 {
        format!("{:.0} KiB", (exponent - 10.0).exp2())
    } else {
        format!("{:.0} MiB", (exponent - 20.0).exp2())
    }
}

fn power_of_ten(exponent: f64) -> String {
    format!("{:.0}", 10_f64.powf(exponent))
}

fn whole(value: f64) -> String {
    format!("{value:.0}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timelines::Line;

    #[test]
    fn a_plot_has_units_at_its_axes_and_a_legend() -> Result<()> {
        let directory = std::env::temp_dir().join(format!("palimpsest-{}-plots", std::process::id()));
        fs::create_dir_all(&directory)?;
        let points = vec![(1e6, 10.0), (2e6, 30.0)];
        let lines = vec![Line { name: "plain".to_owned(), points }];
        let drawn = resident_frames(&directory, &Timeline { program: "churn", lines });
        let text = fs::read_to_string(directory.join("resident-churn.svg"));
        fs::remove_dir_all(&directory)?;
        drawn?;
        let text = text?;
        let words =
            ["Frames over time: churn", "fuel used, millions of units", "resident frames of 4 KiB", "plain"];
        for words in words {
            assert!(text.contains(words), "{words} is not in {text}");
        }
        Ok(())
    }

    #[test]
    fn exponents_are_labelled_as_what_they_stand_for() {
        assert_eq!([16.0, 20.0, 26.0].map(bytes_of_exponent), ["64 KiB", "1 MiB", "64 MiB"]);
        assert_eq!([0.0, 3.0].map(power_of_ten), ["1", "1000"]);
    }
}
