//! The plots of the documentation, as SVG files.
//!
//! The ground is white and the text dark, so that a plot is readable on light and dark pages. A
//! title states what is drawn and which direction is better. Lines that coincide stay visible: the
//! lower one is wider and paler. A plot whose figures were not measured is not written. Where an
//! axis is logarithmic, exponents are drawn and labelled as what they stand for. What a plot shows
//! is explained in `document/plots.md`.

use crate::counts;
use crate::document::Document;
use crate::figure::{Origin, Source};
use crate::steps::Steps;
use anyhow::{Context, Result, anyhow};
use palimpsest_host::digits::grouped;
use palimpsest_host::kernel::Target;
use palimpsest_host::qemu::{Clock, Cpu};
use plotters::coord::Shift;
use plotters::coord::ranged1d::ValueFormatter;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::fs;
use std::path::Path;

const SIZE: (u32, u32) = (960, 500);

/// The height of a plot with the steps of a program, whose labels are vertical, and the part that
/// they take.
const STEPS_HEIGHT: u32 = 720;
const STEPS_LABELS: u32 = 290;

const TEXT: &str = "sans-serif";

const TEXT_SIZE: u32 = 15;

const TITLE_SIZE: u32 = 20;

/// Distinguishable without seeing red and green, and without seeing colours by their lightness.
const BLUE: RGBColor = RGBColor(0, 114, 178);
const VERMILION: RGBColor = RGBColor(213, 94, 0);
const GREY: RGBColor = RGBColor(110, 110, 110);

/// The ranges of the costs of pages in bytes.
const RANGES: [u64; 3] = [64 << 10, 1 << 20, 64 << 20];

/// The distance below which two labels at the ends of lines would touch, in powers of ten.
const LABEL_GAP: f64 = 0.17;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Writes all plots into `directory`.
///
/// # Errors
/// A file cannot be written.
pub(crate) fn write(directory: &Path, document: &Document, steps: Option<&Steps>) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let cost = cost_lines(document);
    plot(&directory.join("cost-per-page.svg"), SIZE, !cost.is_empty(), |area| cost_per_page(area, &cost))?;
    let fillings = fillings(document);
    let has_samples = fillings.iter().all(|(_, points)| !points.is_empty());
    plot(&directory.join("instances.svg"), SIZE, has_samples, |area| instances(area, &fillings))?;
    let Some(steps) = steps else { return Ok(()) };
    let path = directory.join(format!("steps-{}.svg", steps.program));
    plot(&path, (SIZE.0, STEPS_HEIGHT), true, |area| frames_at_steps(area, steps))
}

/// A line of the plot of CPUs: what it shows, and the throughput on each number of CPUs.
pub(crate) type ScalingLine = (&'static str, Vec<(f64, f64)>);

/// Writes the plot of the throughput on several CPUs into `directory`.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn write_scaling(directory: &Path, lines: &[ScalingLine]) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    plot(&directory.join("cpus.svg"), SIZE, !lines.is_empty(), |area| throughput(area, lines))
}

/// Throughput against the number of CPUs. Lines of computing are pale.
fn throughput(area: &Area<'_>, lines: &[ScalingLine]) -> Drawn {
    let points = lines.iter().flat_map(|(_, points)| points);
    let (most_cpus, most) = points.fold((1.0_f64, 1.0_f64), |(x, y), point| (x.max(point.0), y.max(point.1)));
    let mut chart = ChartBuilder::on(area)
        .caption("Throughput, relative to one CPU: higher is better", (TEXT, TITLE_SIZE))
        .margin(12)
        .margin_right(24)
        .x_label_area_size(48)
        .y_label_area_size(76)
        // The space at the top is for the legend.
        .build_cartesian_2d(0.8..most_cpus + 0.2, 0.0..most * 1.6)?;
    chart
        .configure_mesh()
        .x_desc("CPUs of the machine, on a host with two cores")
        .y_desc("rounds in the same time")
        .disable_x_mesh()
        .x_labels(16)
        .x_label_formatter(&|cpus| if cpus.fract() == 0.0 { format!("{cpus:.0}") } else { String::new() })
        .y_label_formatter(&|throughput| format!("{throughput:.1}"))
        .light_line_style(WHITE)
        .label_style((TEXT, TEXT_SIZE))
        .draw()?;
    for (label, points) in lines {
        let colour = if label.starts_with("Linux") { VERMILION } else { BLUE };
        let style = if label.ends_with("computing") {
            colour.mix(0.3).stroke_width(9)
        } else if label.ends_with("moved") {
            GREY.stroke_width(2)
        } else {
            colour.stroke_width(3)
        };
        chart
            .draw_series(LineSeries::new(points.iter().copied(), style))?
            .label(*label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 24, y)], style));
        chart.draw_series(points.iter().map(|point| Circle::new(*point, 4, style.filled())))?;
    }
    draw_legend(&mut chart, SeriesLabelPosition::UpperLeft)
}

/// Draws a file, unless its figures were not measured.
fn plot(
    path: &Path,
    size: (u32, u32),
    is_measured: bool,
    draw: impl FnOnce(&Area<'_>) -> Drawn,
) -> Result<()> {
    if !is_measured {
        println!("{} is not written: its figures were not measured", path.display());
        return Ok(());
    }
    let area = SVGBackend::new(path, size).into_drawing_area();
    let drawn = area.fill(&WHITE).map_err(Into::into).and_then(|()| draw(&area));
    let written = drawn.and_then(|()| area.present().map_err(Into::into));
    written.map_err(|error| anyhow!("cannot draw {}: {error}", path.display()))
}

/// What drawing returns.
type Drawn = Result<(), Box<dyn std::error::Error>>;

/// A line of the plot of costs.
struct CostLine {
    label: String,
    colour: RGBColor,
    /// Clears are dashed
    is_clear: bool,
    /// The logarithms of bytes, to the base 2, and of instructions, to the base 10
    points: Vec<(f64, f64)>,
}

/// The lines whose figures were all measured.
fn cost_lines(document: &Document) -> Vec<CostLine> {
    let gnu = counts::of(&document.figures, Source::Kernel(Target::Gnu));
    let linux = &document.reference().counts;
    let bare = Origin { source: Source::Floor, cpu: Cpu::Max, clock: Clock::Instructions };
    let bare = document.figures.of_origin(bare).map(|figure| (figure.name.clone(), figure.median)).collect();
    let lines = [
        ("Linux, first touch", VERMILION, linux, "first_touch"),
        ("Palimpsest, first touch", BLUE, &gnu, "first_touch"),
        ("bare program, first touch", GREY, &bare, "first_touch"),
        ("Linux, clear", VERMILION, linux, "clear"),
        ("Palimpsest, clear", BLUE, &gnu, "clear"),
        ("bare program, clear", GREY, &bare, "clear_one_flush"),
    ];
    let lines = lines.into_iter().filter_map(|(label, colour, counts, operation)| {
        let point = |bytes: u64| {
            let count = counts.get(&format!("{operation}/{bytes}"))?;
            Some(((bytes as f64).log2(), count.log10()))
        };
        let points: Option<Vec<_>> = RANGES.into_iter().map(point).collect();
        let points = points?;
        let (_, last) = *points.last()?;
        let label = format!("{label}: {}", grouped(format_args!("{:.0}", 10_f64.powf(last))));
        Some(CostLine { label, colour, is_clear: operation != "first_touch", points })
    });
    lines.collect()
}

/// Instructions for a page against the size of the range, with a label at the end of each line.
fn cost_per_page(area: &Area<'_>, lines: &[CostLine]) -> Drawn {
    let sizes = RANGES.map(|bytes| (bytes as f64).log2());
    let mut chart = ChartBuilder::on(area)
        .caption("Instructions for each 4 KiB page: lower is better", (TEXT, TITLE_SIZE))
        .margin(12)
        .x_label_area_size(48)
        .y_label_area_size(76)
        // The space after the last size is for the labels.
        .build_cartesian_2d(sizes[0]..sizes[2] + 5.5, 0.0..4.0)?;
    chart
        .configure_mesh()
        .x_desc("size of the range that is touched or cleared")
        .y_desc("instructions for each page")
        .disable_x_mesh()
        .set_tick_mark_size(LabelAreaPosition::Bottom, 0)
        .x_labels(16)
        .y_labels(5)
        .x_label_formatter(&|exponent| {
            if sizes.contains(exponent) { bytes_of_exponent(*exponent) } else { String::new() }
        })
        // The lowest label would touch the first one of the other axis.
        .y_label_formatter(&|exponent| if *exponent > 0.0 { power_of_ten(*exponent) } else { String::new() })
        .light_line_style(WHITE)
        .label_style((TEXT, TEXT_SIZE))
        .draw()?;
    for CostLine { colour, is_clear, points, .. } in lines {
        let style = colour.stroke_width(3);
        if *is_clear {
            chart.draw_series(DashedLineSeries::new(points.iter().copied(), 7, 5, style))?;
        } else {
            chart.draw_series(LineSeries::new(points.iter().copied(), style))?;
        }
        chart.draw_series(points.iter().map(|point| Circle::new(*point, 4, colour.filled())))?;
    }
    let ends: Vec<_> = lines.iter().filter_map(|line| line.points.last().copied()).collect();
    for (line, height) in lines.iter().zip(spread_out(&ends.iter().map(|end| end.1).collect::<Vec<_>>())) {
        let style = (TEXT, TEXT_SIZE).into_font().color(&line.colour).pos(Pos::new(HPos::Left, VPos::Center));
        chart.draw_series([Text::new(line.label.clone(), (sizes[2] + 0.25, height), style)])?;
    }
    Ok(())
}

/// Moves heights apart until no two are nearer than [`LABEL_GAP`], in the order in which they are.
fn spread_out(heights: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..heights.len()).collect();
    order.sort_by(|one, other| heights[*one].total_cmp(&heights[*other]));
    let mut spread = heights.to_vec();
    for pair in order.windows(2) {
        spread[pair[1]] = spread[pair[1]].max(spread[pair[0]] + LABEL_GAP);
    }
    spread
}

/// What each kind of instance is called, with the MiB in use and the instances alive.
type Filling = (&'static str, Vec<(f64, f64)>);

fn fillings(document: &Document) -> [Filling; 2] {
    let kinds =
        [("density", "memory of one Wasm page"), ("density_growable", "memory that may grow to 4 GiB")];
    kinds.map(|(name, label)| {
        let samples = document.samples.iter().filter(|sample| sample.name == name);
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        (label, samples.map(|sample| (mib(sample.bytes), sample.instances as f64)).collect())
    })
}

/// Instances alive against the memory that they use.
fn instances(area: &Area<'_>, fillings: &[Filling]) -> Drawn {
    let points = fillings.iter().flat_map(|(_, points)| points);
    let (most_mib, most) = points.fold((1.0_f64, 1.0_f64), |(x, y), point| (x.max(point.0), y.max(point.1)));
    let mut chart = ChartBuilder::on(area)
        .caption("Instances alive in a machine of 128 MiB: higher is better", (TEXT, TITLE_SIZE))
        .margin(12)
        .margin_right(24)
        .x_label_area_size(48)
        .y_label_area_size(76)
        .build_cartesian_2d(0.0..most_mib * 1.05, 0.0..most * 1.05)?;
    chart
        .configure_mesh()
        .x_desc("frames and kernel heap in use, MiB")
        .y_desc("instances, each of which has run")
        .x_label_formatter(&|mib| format!("{mib:.0}"))
        .y_label_formatter(&|count| grouped(format_args!("{count:.0}")))
        .light_line_style(WHITE)
        .label_style((TEXT, TEXT_SIZE))
        .draw()?;
    for ((label, points), colour) in fillings.iter().zip([BLUE, VERMILION]) {
        let style = colour.stroke_width(3);
        chart
            .draw_series(LineSeries::new(points.iter().copied(), style))?
            .label(*label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 24, y)], style));
    }
    draw_legend(&mut chart, SeriesLabelPosition::UpperLeft)
}

/// Resident frames at each step of a program, which the x axis names.
fn frames_at_steps(area: &Area<'_>, steps: &Steps) -> Drawn {
    let most = steps.runs.iter().flat_map(|(_, frames)| frames).copied().max().unwrap_or(1).max(1) as f64;
    let last = steps.labels.len().saturating_sub(1) as f64;
    let mut chart = ChartBuilder::on(area)
        .caption(
            format!("{}: resident frames at each of its steps, lower is better", steps.program),
            (TEXT, TITLE_SIZE),
        )
        .margin(12)
        .margin_right(24)
        .x_label_area_size(STEPS_LABELS)
        .y_label_area_size(76)
        // The space at the top is for the legend.
        .build_cartesian_2d(-0.5..last + 0.5, 0.0..most * 1.35)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(0)
        .y_desc("resident frames of 4 KiB")
        .y_label_formatter(&|frames| grouped(format_args!("{frames:.0}")))
        .light_line_style(WHITE)
        .label_style((TEXT, TEXT_SIZE))
        .draw()?;
    let styles = [
        (VERMILION.mix(0.35).stroke_width(12), VERMILION),
        (GREY.mix(0.7).stroke_width(7), GREY),
        (BLUE.stroke_width(2), BLUE),
    ];
    for ((label, frames), (style, colour)) in steps.runs.iter().zip(styles.into_iter().cycle()) {
        let points: Vec<_> =
            frames.iter().zip(0..).map(|(frames, at)| (f64::from(at), *frames as f64)).collect();
        chart
            .draw_series(LineSeries::new(points.iter().copied(), style))?
            .label(*label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 24, y)], style));
        chart.draw_series(points.iter().map(|point| Circle::new(*point, 4, colour.filled())))?;
    }
    let font = (TEXT, TEXT_SIZE).into_font().transform(FontTransform::Rotate90);
    let style = font.color(&BLACK).pos(Pos::new(HPos::Left, VPos::Center));
    for (label, at) in steps.labels.iter().zip(0..) {
        let (x, y) = chart.backend_coord(&(f64::from(at), 0.0));
        area.draw(&PathElement::new([(x, y), (x, y + 6)], BLACK))?;
        area.draw(&Text::new(label.clone(), (x, y + 12), style.clone()))?;
    }
    draw_legend(&mut chart, SeriesLabelPosition::UpperRight)
}

fn draw_legend<'a, 'b: 'a, X, Y>(
    chart: &mut ChartContext<'a, SVGBackend<'b>, Cartesian2d<X, Y>>,
    position: SeriesLabelPosition,
) -> Drawn
where
    X: Ranged + ValueFormatter<X::ValueType>,
    Y: Ranged + ValueFormatter<Y::ValueType>,
{
    chart
        .configure_series_labels()
        .position(position)
        .background_style(WHITE.mix(0.9))
        .border_style(BLACK.mix(0.3))
        .label_font((TEXT, TEXT_SIZE))
        .draw()
        .map_err(|error| error.to_string().into())
}

fn bytes_of_exponent(exponent: f64) -> String {
    if exponent < 20.0 {
        format!("{:.0} KiB", (exponent - 10.0).exp2())
    } else {
        format!("{:.0} MiB", (exponent - 20.0).exp2())
    }
}

fn power_of_ten(exponent: f64) -> String {
    grouped(format_args!("{:.0}", 10_f64.powf(exponent)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_of_steps_names_every_step_and_every_run() -> Result<()> {
        let directory = std::env::temp_dir().join(format!("palimpsest-{}-plots", std::process::id()));
        fs::create_dir_all(&directory)?;
        let steps = Steps {
            program: "churn",
            labels: vec!["a block".to_owned(), "it is freed".to_owned()],
            runs: vec![("plain", vec![30, 30]), ("host heap", vec![30, 10])],
        };
        let path = directory.join("steps.svg");
        let drawn = plot(&path, SIZE, true, |area| frames_at_steps(area, &steps));
        let text = fs::read_to_string(&path);
        fs::remove_dir_all(&directory)?;
        drawn?;
        let text = text?;
        for words in
            ["churn: resident frames", "lower is better", "a block", "it is freed", "plain", "host heap"]
        {
            assert!(text.contains(words), "{words} is not in {text}");
        }
        Ok(())
    }

    #[test]
    fn labels_of_lines_that_end_together_do_not_touch() {
        assert_eq!(spread_out(&[3.0, 1.0, 2.0]), [3.0, 1.0, 2.0]);
        let spread = spread_out(&[2.0, 2.05, 2.0]);
        assert_eq!(spread, [2.0, 2.0 + 2.0 * LABEL_GAP, 2.0 + LABEL_GAP]);
    }

    #[test]
    fn exponents_are_labelled_as_what_they_stand_for() {
        assert_eq!([16.0, 20.0, 26.0].map(bytes_of_exponent), ["64 KiB", "1 MiB", "64 MiB"]);
        assert_eq!([0.0, 3.0].map(power_of_ten), ["1", "1,000"]);
    }
}
