//! The report of a run: the same figures as text on the console and as JSON.
//!
//! It is sent once, after the store is dropped, so that the free frames at the end can be compared
//! with those at the start.

use kernel_demo::{println, serial};
use palimpsest_engine::{Memory, Store};
use palimpsest_protocol::{MemoryReport, Report};

/// Returns the current figures of `memory`.
pub(crate) fn of_memory<T>(store: &Store<T>, memory: Memory) -> MemoryReport {
    let residency = memory.residency(store);
    MemoryReport {
        size_wasm_pages: memory.size(store),
        resident_frames: residency.resident_frames,
        ahead_frames: residency.ahead_frames,
        peak_resident_frames: residency.peak_resident_frames,
        table_frames: residency.table_frames,
        faults: residency.faults,
        frames_released: residency.frames_released,
        tables_waited: residency.tables_waited,
    }
}

/// Prints results, error and memories to the console, and sends the report.
pub(crate) fn publish(report: &Report) {
    for value in &report.results {
        println!("{value}");
    }
    if let Some(error) = &report.error {
        println!("{error}");
    }
    for (index, memory) in report.memories.iter().enumerate() {
        println!(
            "memory {index}: {} Wasm pages, {} frames resident, {} ahead (peak {}), {} table frames, {} faults, {} released",
            memory.size_wasm_pages,
            memory.resident_frames,
            memory.ahead_frames,
            memory.peak_resident_frames,
            memory.table_frames,
            memory.faults,
            memory.frames_released,
        );
    }
    if let Some(forks) = &report.forks {
        println!(
            "{} forks: {} frames and {} bytes of kernel heap each; the program that they start from has {} frames",
            forks.count, forks.frames_per_fork, forks.heap_bytes_per_fork, forks.frames_of_source,
        );
    }
    if report.cpus > 1 {
        println!(
            "{} CPUs, {} interrupts for discards, {} table frames waited for flushes, {} wait",
            report.cpus,
            report.interrupts_for_discards,
            report.sum(|memory| memory.tables_waited),
            report.waiting_table_frames,
        );
    }
    println!("free frames: {} at start, {} at end", report.free_frames_at_start, report.free_frames_at_end);
    send(report);
}

/// Sends the report without printing it.
pub(crate) fn send(report: &Report) {
    if let Err(error) = serial::report(report) {
        println!("no JSON report: {error}");
    }
}
