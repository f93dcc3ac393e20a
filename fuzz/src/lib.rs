//! Fuzz targets: functions of bytes that panic where the product breaks a promise.
//!
//! Each target runs in two ways. `cargo fuzz run NAME` searches for inputs that reach new code.
//! `cargo xtask fuzz` needs no nightly toolchain and no C++ compiler: it runs inputs that are
//! pseudorandom numbers from a seed, as many as requested, the same on every machine. The folder's
//! `README.md` has the commands.

#![expect(clippy::cast_possible_truncation, reason = "the bytes of an input are numbers of any width")]
#![expect(clippy::wildcard_enum_match_arm, reason = "what no guest can cause has no arm for each case")]

mod backing;
pub mod heap;
pub mod module;
mod numbers;
pub mod paging;
pub mod parsers;
pub mod snapshot;
pub mod splice;
pub mod wasi;

// The sources of tests, which use some of their items only there.
#[allow(dead_code, reason = "its other users are the tests of `palimpsest-paging`")]
#[path = "../../paging/tests/regions/operations.rs"]
mod operations;
#[allow(dead_code, reason = "its other users are the tests of `palimpsest-wasi`")]
#[path = "../../wasi/tests/wasi/preview1.rs"]
mod preview1;
#[allow(dead_code, reason = "its other users are the tests of `palimpsest-paging`")]
#[path = "../../paging/tests/regions/world/mod.rs"]
mod world;

use palimpsest_counting::CountingHeap;

pub use numbers::input;

#[global_allocator]
static HEAP: CountingHeap = CountingHeap::new();

/// A fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name, which is also that for `cargo fuzz run`.
    pub name: &'static str,
    /// Runs the target with one input.
    ///
    /// Panics if the product breaks a promise.
    pub run: fn(&[u8]),
    /// The maximum number of bytes of an input that is useful.
    pub input_bytes: usize,
    /// The number of inputs of the bounded run in `cargo xtask ci`. They take about 20 seconds.
    pub bounded_runs: u64,
}

/// All targets.
pub const TARGETS: [Target; 7] = [
    Target { name: "heap", run: heap::run, input_bytes: 1 << 11, bounded_runs: 10_000 },
    Target { name: "module", run: module::run, input_bytes: 1 << 14, bounded_runs: 160_000 },
    Target { name: "paging", run: paging::run, input_bytes: 1 << 11, bounded_runs: 10_000 },
    Target { name: "parsers", run: parsers::run, input_bytes: 1 << 12, bounded_runs: 200_000 },
    Target { name: "snapshot", run: snapshot::run, input_bytes: 1 << 11, bounded_runs: 10_000 },
    Target { name: "splice", run: splice::run, input_bytes: 1 << 12, bounded_runs: 13_000 },
    Target { name: "wasi", run: wasi::run, input_bytes: 1 << 11, bounded_runs: 10_000 },
];
