//! A series of measurements that never grows above a fixed size.
//!
//! Owns the thinning: a full series drops every second point, and from then on takes every second measurement
//! only. So a long run has as many points as a short one, evenly spread. Used for what a run reports over
//! time.

use alloc::vec::Vec;
use palimpsest_protocol::Series;

/// The most points in a series.
const CAPACITY: usize = 512;

/// Points of two numbers, in the order in which they were measured.
#[derive(Debug)]
pub(crate) struct Samples {
    points: Series,
    /// Measurements for each point that is kept.
    stride: u64,
    /// Measurements so far.
    measured: u64,
}

impl Default for Samples {
    fn default() -> Self {
        Self { points: Vec::new(), stride: 1, measured: 0 }
    }
}

impl Samples {
    /// The points so far.
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
