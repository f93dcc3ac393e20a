//! A series of measurements whose size is limited.
//!
//! When the series is full, every second point is removed, and from then on only every second
//! measurement is recorded. A long run therefore has as many points as a short one, evenly
//! distributed.

use alloc::vec::Vec;
use palimpsest_protocol::Series;

/// The limit of points in a series.
const CAPACITY: usize = 512;

/// Points of two numbers, in the order of measurement.
#[derive(Debug)]
pub(crate) struct Samples {
    points: Series,
    /// The number of measurements for each recorded point.
    stride: u64,
    /// The number of measurements so far.
    measured: u64,
}

impl Default for Samples {
    fn default() -> Self {
        Self { points: Vec::new(), stride: 1, measured: 0 }
    }
}

impl Samples {
    /// Returns the recorded points.
    pub(crate) fn into_series(self) -> Series {
        self.points
    }

    /// Records that `value` was measured at `position`.
    pub(crate) fn add(&mut self, position: u64, value: u64) {
        if self.points.len() == CAPACITY {
            let mut position_in_series = 0;
            self.points.retain(|_| {
                position_in_series += 1;
                position_in_series % 2 == 1
            });
            self.stride *= 2;
        }
        if self.measured.is_multiple_of(self.stride) {
            self.points.push((position, value));
        }
        self.measured += 1;
    }
}
