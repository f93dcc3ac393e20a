//! The report of a run: the same figures for people on the console and for programs as JSON.
//!
//! Owns the JSON's shape. It is sent once, when the store is gone, so that the free frames at the end can be
//! compared with those at the start.

use alloc::{string::String, vec::Vec};
use kernel_demo::{println, serial};
use palimpsest_engine::Residency;
use serde::Serialize;

use crate::{samples::Samples, values::Value};

/// What a run came to.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) outcome: Outcome,
    pub(crate) results: Vec<Value>,
    pub(crate) error: Option<String>,
    /// Only of a program: what it ended with.
    pub(crate) exit_code: Option<u32>,
    pub(crate) memories: Vec<MemoryReport>,
    pub(crate) free_frames_at_start: u64,
    pub(crate) free_frames_at_end: u64,
    /// Only where the clock counts instructions.
    pub(crate) instructions_to_instantiate: Option<u64>,
    /// Only where the clock counts instructions.
    pub(crate) instructions_to_run: Option<u64>,
    /// Only of a program: the time of all its calls.
    pub(crate) nanoseconds_to_run: Option<u64>,
    /// Only of a program: units of fuel used, and the frames resident then.
    pub(crate) timeline: Samples,
    /// Bytes written to standard output, and the frames resident then.
    pub(crate) output_timeline: Samples,
}

/// How the guest's call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// It returned, or ended itself with 0.
    Returned,
    /// It ended itself with an exit code other than 0.
    Exited,
    /// It trapped.
    Trap,
    /// It was never made: a bad module, import, name or argument.
    Error,
}

/// One linear memory at the end of the call, in frames but for its size.
#[derive(Debug, Serialize)]
pub(crate) struct MemoryReport {
    pub(crate) size_wasm_pages: u64,
    resident_frames: u64,
    peak_resident_frames: u64,
    table_frames: u64,
    faults: u64,
    frames_released: u64,
}

impl MemoryReport {
    pub(crate) fn new(size_wasm_pages: u64, held: Residency) -> Self {
        Self {
            size_wasm_pages,
            resident_frames: held.resident_frames,
            peak_resident_frames: held.peak_resident_frames,
            table_frames: held.table_frames,
            faults: held.faults,
            frames_released: held.frames_released,
        }
    }

    fn print(&self, index: usize) {
        println!(
            "memory {index}: {} Wasm pages, {} frames resident (peak {}), {} table frames, {} faults, {} released",
            self.size_wasm_pages,
            self.resident_frames,
            self.peak_resident_frames,
            self.table_frames,
            self.faults,
            self.frames_released,
        );
    }
}

impl Report {
    /// Prints results, error and memories to the console and sends the JSON.
    pub(crate) fn publish(&self) {
        for value in &self.results {
            println!("{value}");
        }
        if let Some(error) = &self.error {
            println!("{error}");
        }
        for (index, memory) in self.memories.iter().enumerate() {
            memory.print(index);
        }
        println!("free frames: {} at start, {} at end", self.free_frames_at_start, self.free_frames_at_end);
        self.send();
    }

    /// Sends the JSON alone.
    pub(crate) fn send(&self) {
        let json = serde_json::to_string(self).expect("the report has string keys and finite depth");
        if let Err(error) = serial::report(&json) {
            println!("no JSON report: {error}");
        }
    }
}
