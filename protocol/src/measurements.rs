//! Figures of the benchmark.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

/// Everything that the benchmark's kernel measured in one boot.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measurements {
    /// The figures, in the order in which they were measured.
    pub figures: Vec<Figure>,
    /// States of a machine that is being filled with instances. Only of the suite `density`.
    pub samples: Vec<Sample>,
}

/// Something that was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// What was measured, and after a `/` in which case.
    pub name: String,
    /// The unit of both numbers.
    pub unit: Unit,
    /// The median of the runs.
    pub median: f64,
    /// The smallest of the runs.
    pub min: f64,
    /// The number of runs.
    pub runs: u64,
    /// What the measured function returned, if it was a guest's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<i64>,
}

/// The unit of a [`Figure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Nanoseconds.
    Ns,
    /// Nanoseconds for each 4 KiB page.
    NsPerPage,
    /// Executed instructions.
    Instructions,
    /// Executed instructions for each 4 KiB page.
    InstructionsPerPage,
    /// Frames of 4 KiB.
    Frames,
    /// Bytes.
    Bytes,
    /// Instances.
    Instances,
    /// Interrupts between CPUs.
    Interrupts,
}

impl fmt::Display for Unit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Ns => "ns",
            Self::NsPerPage => "ns per page",
            Self::Instructions => "instructions",
            Self::InstructionsPerPage => "instructions per page",
            Self::Frames => "frames",
            Self::Bytes => "bytes",
            Self::Instances => "instances",
            Self::Interrupts => "interrupts",
        })
    }
}

/// The memory in use while a machine is being filled with instances.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// The kind of instances.
    pub name: String,
    /// The number of instances that are alive.
    pub instances: u64,
    /// The bytes of frames and heap that they use.
    pub bytes: u64,
}
