//! Collects figures and sends them.
//!
//! A reading is a number of ticks. A figure is in nanoseconds, or in instructions if the machine's
//! clock counts those, and has the median and the minimum of its runs.

use alloc::string::String;

use kernel_demo::timer::{self, TickRate};
use kernel_demo::{Machine, clock, println, serial};
use palimpsest_protocol::{Figure, Measurements, Sample, Unit};

/// Runs of a figure on the host's clock. A median of so many is not moved by one busy moment.
const TIMED_RUNS: usize = 9;

/// Runs of a figure that counts instructions. They differ only by the state that the previous run
/// left in the kernel, for example in the pool's lists.
const COUNTED_RUNS: usize = 3;

/// The meaning of the ticks of this machine's clock.
#[derive(Clone, Copy, Debug)]
enum Ticks {
    Time(TickRate),
    Instructions,
}

/// All figures of a boot.
#[derive(Debug)]
pub(crate) struct Figures {
    ticks: Ticks,
    measured: Measurements,
}

impl Figures {
    /// No figures yet. Calibrates the clock unless it counts instructions.
    pub(crate) fn new(machine: &Machine) -> Self {
        let ticks = if machine.request().counts_instructions() {
            Ticks::Instructions
        } else {
            Ticks::Time(timer::calibrate())
        };
        Self { ticks, measured: Measurements::default() }
    }

    /// The number of runs of each figure.
    pub(crate) fn runs(&self) -> usize {
        match self.ticks {
            Ticks::Time(_) => TIMED_RUNS,
            Ticks::Instructions => COUNTED_RUNS,
        }
    }

    /// Whether `ticks` are at least `milliseconds`. Counts of instructions are always enough.
    pub(crate) fn is_enough(&self, ticks: u64, milliseconds: u64) -> bool {
        match self.ticks {
            Ticks::Time(rate) => rate.nanoseconds_in(ticks) >= milliseconds * 1_000_000,
            Ticks::Instructions => true,
        }
    }

    /// Adds a figure of one reading, in ticks.
    pub(crate) fn once(&mut self, name: impl Into<String>, ticks: u64) {
        self.cost(name, &mut [ticks]);
    }

    /// Adds a cost. `readings` are ticks, one for each run.
    pub(crate) fn cost(&mut self, name: impl Into<String>, readings: &mut [u64]) {
        self.add(name.into(), [Unit::Ns, Unit::Instructions], readings, 1, None);
    }

    /// Adds the cost of one part. Each reading is the cost of `parts` of them.
    pub(crate) fn cost_each(&mut self, name: impl Into<String>, readings: &mut [u64], parts: u64) {
        self.add(name.into(), [Unit::Ns, Unit::Instructions], readings, parts, None);
    }

    /// Adds the cost of a guest's function and what it returned.
    pub(crate) fn call(&mut self, name: impl Into<String>, readings: &mut [u64], result: i32) {
        self.add(name.into(), [Unit::Ns, Unit::Instructions], readings, 1, Some(result.into()));
    }

    /// Adds the cost of a page. Each reading is the cost of `pages` of them.
    pub(crate) fn cost_per_page(&mut self, name: impl Into<String>, readings: &mut [u64], pages: u64) {
        self.add(name.into(), [Unit::NsPerPage, Unit::InstructionsPerPage], readings, pages, None);
    }

    /// Adds a number of frames, bytes or instances.
    pub(crate) fn count(&mut self, name: impl Into<String>, unit: Unit, count: u64) {
        let value = count as f64;
        self.push(Figure { name: name.into(), unit, median: value, min: value, runs: 1, result: None });
    }

    /// Adds a sample: the instances alive, and the bytes that they use.
    pub(crate) fn sample(&mut self, name: &str, instances: u64, bytes: u64) {
        self.measured.samples.push(Sample { name: name.into(), instances, bytes });
    }

    fn add(
        &mut self,
        name: String,
        [time, instructions]: [Unit; 2],
        readings: &mut [u64],
        parts: u64,
        result: Option<i64>,
    ) {
        readings.sort_unstable();
        let value = |ticks: u64| match self.ticks {
            Ticks::Time(rate) => rate.nanoseconds_in(ticks) as f64 / parts as f64,
            Ticks::Instructions => ticks as f64 / parts as f64,
        };
        let unit = match self.ticks {
            Ticks::Time(_) => time,
            Ticks::Instructions => instructions,
        };
        let (median, min) = (value(readings[readings.len() / 2]), value(readings[0]));
        self.push(Figure { name, unit, median, min, runs: readings.len() as u64, result });
    }

    fn push(&mut self, figure: Figure) {
        println!("{}: {:.1} {}, {:.1} at least", figure.name, figure.median, figure.unit, figure.min);
        self.measured.figures.push(figure);
    }

    /// Sends them through the second serial port.
    pub(crate) fn send(&self) {
        if let Err(error) = serial::report(&self.measured) {
            println!("no JSON report: {error}");
        }
    }
}

/// Runs `work`. Returns the ticks that it took, and its result.
pub(crate) fn timed<R>(work: impl FnOnce() -> R) -> (u64, R) {
    let start = clock::ticks();
    let result = work();
    (clock::ticks() - start, result)
}
