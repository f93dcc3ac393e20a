//! The report of a run.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::Value;

/// Points of two numbers, in the order in which they were measured.
pub type Series = Vec<(u64, u64)>;

/// What a run came to. The kernel sends it once, after the guest's store was dropped.
///
/// Every field is in the JSON, also one without a value. A report that lacks a field was damaged on
/// its way, and is refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// How the guest's call ended.
    pub outcome: Outcome,
    /// What the called function returned.
    pub results: Vec<Value>,
    /// Why the call failed, in one line.
    #[serde(deserialize_with = "Option::deserialize")]
    pub error: Option<String>,
    /// The exit code of a program that ended itself.
    #[serde(deserialize_with = "Option::deserialize")]
    pub exit_code: Option<u32>,
    /// The guest's memories at the end of the call.
    pub memories: Vec<MemoryReport>,
    /// The number of CPUs of the machine.
    pub cpus: u64,
    /// Interrupts that CPUs have sent to each other because memory was discarded.
    pub interrupts_for_discards: u64,
    /// Table frames of no memory any more, which were not free yet when the guest's store had been
    /// dropped, because a CPU had not flushed its TLB.
    pub waiting_table_frames: u64,
    /// Free frames before the guest was loaded.
    pub free_frames_at_start: u64,
    /// Free frames after the guest's store was dropped, and all CPUs have flushed their TLBs.
    pub free_frames_at_end: u64,
    /// Instructions of the instantiation, if the clock counts instructions.
    #[serde(deserialize_with = "Option::deserialize")]
    pub instructions_to_instantiate: Option<u64>,
    /// Instructions of all calls, if the clock counts instructions.
    #[serde(deserialize_with = "Option::deserialize")]
    pub instructions_to_run: Option<u64>,
    /// The time of all calls of a program, in nanoseconds.
    #[serde(deserialize_with = "Option::deserialize")]
    pub nanoseconds_to_run: Option<u64>,
    /// The forks of a program, if the request had some.
    #[serde(deserialize_with = "Option::deserialize")]
    pub forks: Option<ForksReport>,
    /// Of a program: the fuel used so far, and the frames resident then.
    pub timeline: Series,
    /// The bytes written to standard output so far, and the frames resident then.
    pub output_timeline: Series,
}

impl Report {
    /// Returns the sum of `figure` over all memories.
    pub fn sum(&self, figure: impl Fn(&MemoryReport) -> u64) -> u64 {
        self.memories.iter().map(figure).sum()
    }
}

/// How the guest's call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It returned, or the program ended itself with exit code 0.
    Returned,
    /// The program ended itself with another exit code.
    Exited,
    /// It trapped.
    Trap,
    /// It was not made, because the module, an import, a name or an argument is wrong.
    Error,
}

/// The forks of an initialized program, while all of them are alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForksReport {
    /// The number of forks.
    pub count: u32,
    /// The frames that each has for itself, tables included, rounded up to a whole number.
    pub frames_per_fork: u64,
    /// The frames that the initialized program has, which a new instance would take as well.
    pub frames_of_source: u64,
    /// Bytes of kernel heap that each has, rounded up.
    pub heap_bytes_per_fork: u64,
    /// Instructions from the start of loading the program until it was initialized, if the clock
    /// counts instructions.
    #[serde(deserialize_with = "Option::deserialize")]
    pub instructions_of_source: Option<u64>,
    /// Instructions until the first fork could execute an instruction of Wasm, if the clock counts
    /// instructions.
    #[serde(deserialize_with = "Option::deserialize")]
    pub instructions_to_first: Option<u64>,
    /// Instructions of each fork with its work, on average, if the clock counts instructions.
    #[serde(deserialize_with = "Option::deserialize")]
    pub instructions_per_fork: Option<u64>,
}

/// One linear memory at the end of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryReport {
    /// The memory's size in Wasm pages.
    pub size_wasm_pages: u64,
    /// Frames of pages that were written.
    pub resident_frames: u64,
    /// Frames that were committed ahead of a run of writes and never written.
    pub ahead_frames: u64,
    /// The largest number of resident frames and frames ahead at once.
    pub peak_resident_frames: u64,
    /// Frames that hold the memory's page tables.
    pub table_frames: u64,
    /// Page faults that were resolved.
    pub faults: u64,
    /// Frames that clears have released.
    pub frames_released: u64,
    /// Table frames that the memory has given up, and that were not free until other CPUs had
    /// flushed their TLBs.
    pub tables_waited: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use serde_json::Value as Json;

    const REPORT: &str = r#"{"outcome":"exited","results":[],"error":null,"exit_code":7,
        "memories":[{"size_wasm_pages":2,"resident_frames":1,"ahead_frames":2,"peak_resident_frames":4,"table_frames":3,
        "faults":5,"frames_released":3,"tables_waited":6}],"cpus":1,"interrupts_for_discards":0,"waiting_table_frames":2,
        "free_frames_at_start":1,"free_frames_at_end":1,
        "instructions_to_instantiate":null,"instructions_to_run":null,"nanoseconds_to_run":null,
        "forks":{"count":2,"frames_per_fork":9,"frames_of_source":100,"heap_bytes_per_fork":7,
        "instructions_of_source":900,"instructions_to_first":null,"instructions_per_fork":8},
        "timeline":[],"output_timeline":[[5,20],[9,7]]}"#;

    #[test]
    fn a_report_is_written_as_it_was_read() -> Result<(), serde_json::Error> {
        let report: Report = serde_json::from_str(REPORT)?;
        assert_eq!(report.output_timeline, [(5, 20), (9, 7)]);
        let json: Json = serde_json::from_str(REPORT)?;
        assert_eq!(serde_json::to_value(&report)?, json);
        Ok(())
    }

    #[test]
    fn each_field_is_required() -> Result<(), serde_json::Error> {
        let json: Json = serde_json::from_str(REPORT)?;
        let fields = json.as_object().expect("a report is an object");
        assert_eq!(fields.len(), 16);
        for name in fields.keys() {
            let mut damaged = fields.clone();
            damaged.remove(name);
            let error = serde_json::from_value::<Report>(damaged.into()).expect_err("a field is missing");
            assert!(error.to_string().contains(name), "{error}");
        }
        Ok(())
    }

    #[test]
    fn figures_of_memories_are_added_up() -> Result<(), serde_json::Error> {
        let mut report: Report = serde_json::from_str(REPORT)?;
        report.memories.push(report.memories[0]);
        assert_eq!(report.sum(|memory| memory.peak_resident_frames), 8);
        Ok(())
    }
}
