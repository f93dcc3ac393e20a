//! The cost of a page: first touch, clear, and both again, for ranges of 64 KiB to 64 MiB.
//!
//! The kernel itself touches the pages through [`Memory::data_mut`], so that no interpreter is in
//! the figures. Pages are cleared by [`Memory::clear_pages`]. The names, sizes and order are those
//! of the Linux benchmark. Each pass begins with a new memory, whose page tables do not exist yet.
//! `policies` repeats some of the operations with another policy.

use alloc::format;
use alloc::vec::Vec;
use core::hint::black_box;

use kernel_demo::Machine;
use kernel_demo::memory::Frames;
use palimpsest_engine::{Engine, Memory, MemoryType, Store};
use palimpsest_protocol::Unit;

use crate::figures::{Figures, timed};
use crate::{BenchError, doing, guest};

const PAGE_BYTES: u64 = 4 << 10;
const WASM_PAGE_BYTES: u64 = 64 << 10;

/// The sizes of the ranges in Wasm pages: 64 KiB, 1 MiB, 64 MiB.
const RANGES: [u32; 3] = [1, 16, 1024];

/// Ranges up to this size, in Wasm pages, are measured [`SMALL_ROUNDS`] times in one reading, so
/// that the cost of reading the clock is negligible.
const SMALL: u32 = 16;
const SMALL_ROUNDS: u64 = 10;

/// The distance between two pages that are touched sparsely, in pages.
const SPARSE_PAGES: u64 = 64;

/// The operations, in their order. Each begins in the state in which the one before ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    FirstTouch,
    /// The loop alone: no page is missing.
    MappedTouch,
    Clear,
    /// Touches all pages again after a clear.
    Refault,
    ClearTouch,
    /// One page in 64 of a new memory.
    SparseTouch,
    SparseClear,
    /// Fills a new memory with zeros by `memset`, as a guest's `memory.fill` does.
    FillZero,
}

impl Operation {
    const ALL: [Self; 8] = [
        Self::FirstTouch,
        Self::MappedTouch,
        Self::Clear,
        Self::Refault,
        Self::ClearTouch,
        Self::SparseTouch,
        Self::SparseClear,
        Self::FillZero,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::FirstTouch => "first_touch",
            Self::MappedTouch => "mapped_touch",
            Self::Clear => "clear",
            Self::Refault => "refault",
            Self::ClearTouch => "clear_touch",
            Self::SparseTouch => "sparse_touch",
            Self::SparseClear => "sparse_clear",
            Self::FillZero => "fill_zero",
        }
    }

    /// The number of pages that it touches; for a clear, the number that were touched.
    fn pages(self, wasm_pages: u32) -> u64 {
        let pages = bytes_of(wasm_pages) / PAGE_BYTES;
        match self {
            Self::FirstTouch
            | Self::MappedTouch
            | Self::Clear
            | Self::Refault
            | Self::ClearTouch
            | Self::FillZero => pages,
            Self::SparseTouch | Self::SparseClear => pages.div_ceil(SPARSE_PAGES),
        }
    }
}

/// What is measured, and what the names of the figures end in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Variant {
    /// The end of the figures' names. It is empty for the default policies.
    pub(crate) suffix: &'static str,
    /// The operations whose figures are kept. All operations run in any case.
    pub(crate) kept: &'static [Operation],
    /// The pool, if its frames are zeroed ahead of need.
    pub(crate) scrubbed: Option<&'static Frames>,
}

/// Measures all operations on all ranges.
pub(crate) fn measure(machine: &Machine, figures: &mut Figures) -> Result<(), BenchError> {
    measure_variant(machine, &RANGES, Variant { suffix: "", kept: &Operation::ALL, scrubbed: None }, figures)
}

/// Measures all operations on ranges of these sizes in Wasm pages.
pub(crate) fn measure_variant(
    machine: &Machine,
    ranges: &[u32],
    variant: Variant,
    figures: &mut Figures,
) -> Result<(), BenchError> {
    let engine = guest::engine(machine)?;
    ranges.iter().try_for_each(|&wasm_pages| measure_range(&engine, wasm_pages, variant, figures))
}

/// Measures the first touch alone, on all ranges.
pub(crate) fn measure_first_touch(
    machine: &Machine,
    suffix: &str,
    figures: &mut Figures,
) -> Result<(), BenchError> {
    let engine = guest::engine(machine)?;
    let operation = Operation::FirstTouch;
    for wasm_pages in RANGES {
        let mut readings = Vec::with_capacity(figures.runs());
        for _ in 0..figures.runs() {
            let mut range = Range::new(&engine, wasm_pages, None)?;
            readings.push(range.touch(1));
        }
        let name = format!("{}/{}{suffix}", operation.name(), bytes_of(wasm_pages));
        figures.cost_per_page(name, &mut readings, operation.pages(wasm_pages));
    }
    Ok(())
}

fn measure_range(
    engine: &Engine,
    wasm_pages: u32,
    variant: Variant,
    figures: &mut Figures,
) -> Result<(), BenchError> {
    let name = |what: &str| format!("{what}/{}{}", bytes_of(wasm_pages), variant.suffix);
    let rounds = if wasm_pages <= SMALL { SMALL_ROUNDS } else { 1 };
    let mut readings: [Vec<u64>; Operation::ALL.len()] = Default::default();
    let mut frames = SparseAndFilled::default();
    for _ in 0..figures.runs() {
        let mut sums = [0; Operation::ALL.len()];
        for _ in 0..rounds {
            let pass = Pass::run(engine, wasm_pages, variant)?;
            sums.iter_mut().zip(pass.ticks).for_each(|(sum, ticks)| *sum += ticks);
            frames = pass.frames;
        }
        readings.iter_mut().zip(sums).for_each(|(readings, sum)| readings.push(sum));
    }
    let all = Operation::ALL.into_iter().zip(readings);
    for (operation, mut readings) in all.filter(|(operation, _)| variant.kept.contains(operation)) {
        figures.cost_per_page(name(operation.name()), &mut readings, operation.pages(wasm_pages) * rounds);
        if let Some((what, count)) = frames.of(operation) {
            figures.count(name(what), Unit::Frames, count);
        }
    }
    Ok(())
}

fn bytes_of(wasm_pages: u32) -> u64 {
    u64::from(wasm_pages) * WASM_PAGE_BYTES
}

/// The data frames that two of the operations used.
#[derive(Clone, Copy, Debug, Default)]
struct SparseAndFilled {
    sparse: u64,
    filled: u64,
}

impl SparseAndFilled {
    /// The name and the number of the frames that an operation used, if they are reported.
    const fn of(self, operation: Operation) -> Option<(&'static str, u64)> {
        match operation {
            Operation::SparseTouch => Some(("sparse_frames", self.sparse)),
            Operation::FillZero => Some(("fill_zero_frames", self.filled)),
            Operation::FirstTouch
            | Operation::MappedTouch
            | Operation::Clear
            | Operation::Refault
            | Operation::ClearTouch
            | Operation::SparseClear => None,
        }
    }
}

/// One run of every operation, on three new memories.
struct Pass {
    /// By operation.
    ticks: [u64; Operation::ALL.len()],
    frames: SparseAndFilled,
}

impl Pass {
    fn run(engine: &Engine, wasm_pages: u32, variant: Variant) -> Result<Self, BenchError> {
        let mut dense = Range::new(engine, wasm_pages, variant.scrubbed)?;
        let first_touch = dense.touch(1);
        let mapped_touch = dense.touch(1);
        let clear = dense.clear()?;
        let refault = dense.touch(1);
        let clear_touch = dense.clear()? + dense.touch(1);
        drop(dense);
        let mut sparse = Range::new(engine, wasm_pages, variant.scrubbed)?;
        let sparse_touch = sparse.touch(SPARSE_PAGES);
        let sparse_frames = sparse.resident_frames();
        let sparse_clear = sparse.clear()?;
        drop(sparse);
        let mut filled = Range::new(engine, wasm_pages, variant.scrubbed)?;
        let fill_zero = filled.fill();
        let ticks =
            [first_touch, mapped_touch, clear, refault, clear_touch, sparse_touch, sparse_clear, fill_zero];
        Ok(Self {
            ticks,
            frames: SparseAndFilled { sparse: sparse_frames, filled: filled.resident_frames() },
        })
    }
}

/// A memory in its own store.
struct Range {
    store: Store<()>,
    memory: Memory,
    wasm_pages: u32,
    scrubbed: Option<&'static Frames>,
}

impl Range {
    fn new(engine: &Engine, wasm_pages: u32, scrubbed: Option<&'static Frames>) -> Result<Self, BenchError> {
        let mut store = Store::new(engine, ());
        let memory = Memory::new(&mut store, MemoryType::new(wasm_pages, Some(wasm_pages)));
        Ok(Self { memory: doing("making a memory", memory)?, store, wasm_pages, scrubbed })
    }

    fn resident_frames(&self) -> u64 {
        self.memory.residency(&self.store).resident_frames
    }

    /// Writes one byte into every `step_pages`-th page. Returns the ticks.
    fn touch(&mut self, step_pages: u64) -> u64 {
        if let Some(pool) = self.scrubbed {
            pool.scrub(bytes_of(self.wasm_pages) / PAGE_BYTES);
        }
        let bytes = self.memory.data_mut(&mut self.store);
        let step = usize::try_from(step_pages * PAGE_BYTES).expect("64 pages are 256 KiB");
        let (ticks, ()) = timed(|| {
            for page in bytes.chunks_mut(step) {
                // Keeps the compiler from moving or merging the store.
                *black_box(&mut page[0]) = 1;
            }
        });
        ticks
    }

    /// Fills the memory with zeros. Returns the ticks.
    fn fill(&mut self) -> u64 {
        let bytes = self.memory.data_mut(&mut self.store);
        let (ticks, ()) = timed(|| black_box(bytes).fill(0));
        ticks
    }

    /// Clears the whole memory. Returns the ticks.
    fn clear(&mut self) -> Result<u64, BenchError> {
        let (ticks, cleared) = timed(|| self.memory.clear_pages(&mut self.store, 0, self.wasm_pages.into()));
        doing("clearing", cleared)?;
        Ok(ticks)
    }
}
