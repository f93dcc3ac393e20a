//! The world of a guest: WASI with a directory of frames, a heap, and the functions of these tests.

use alloc::sync::Arc;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use kernel_demo::clock;
use kernel_demo::entropy::Entropy;
use kernel_demo::memory::{self, BLOCK_BYTES};
use palimpsest_engine::{AsContextMut, Caller, Error, HostError, Linker, Memory, MemoryType, Store};
use palimpsest_heap::Heap;
use palimpsest_wasi::{Block, Blocks, Clock, Output, Wait, Wasi, WasiBuilder};
use x86_64::registers::control::{Cr0, Cr0Flags};

/// The units that a neighbour has reported.
#[derive(Debug, Default)]
pub(crate) struct Units {
    /// All of them.
    pub(super) done: AtomicU64,
    /// Those with a wrong sum.
    pub(super) wrong: AtomicU64,
}

/// The data of a store.
pub(crate) struct World {
    wasi: Wasi,
    heap: Heap,
    units: Arc<Units>,
    /// The number of the host's calls until one of them fails.
    steps_left: u64,
}

impl World {
    /// A world without a step that fails.
    pub(super) fn new(units: &Arc<Units>) -> Self {
        Self::failing_at(units, u64::MAX)
    }

    /// A world whose files may have this many bytes.
    pub(crate) fn with_scratch(units: &Arc<Units>, bytes: u64) -> Self {
        Self::of(wasi().scratch_bytes(bytes), units, u64::MAX)
    }

    /// A world in which the call of `host.step` with this number fails, counted from 1.
    pub(super) fn failing_at(units: &Arc<Units>, step: u64) -> Self {
        Self::of(wasi(), units, step)
    }

    fn of(wasi: WasiBuilder, units: &Arc<Units>, steps_left: u64) -> Self {
        Self { wasi: wasi.build(), heap: Heap::default(), units: Arc::clone(units), steps_left }
    }
}

fn wasi() -> WasiBuilder {
    Wasi::builder()
        .arg("hostile")
        .stdout(Counted::default())
        .clock(Ticks)
        .random(Entropy::new())
        .scratch("/tmp", Frames)
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("units", &self.units).finish_non_exhaustive()
    }
}

/// The host refused a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct StepRefused;

impl fmt::Display for StepRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the host refuses this step")
    }
}

impl HostError for StepRefused {}

/// Returns a linker with everything that these guests import.
pub(crate) fn linker() -> Linker<World> {
    let mut linker = Linker::new();
    palimpsest_wasi::add_to_linker(&mut linker, |world: &mut World| &mut world.wasi)
        .and_then(|()| palimpsest_heap::add_to_linker(&mut linker, |world: &mut World| &mut world.heap))
        .expect("the linker is empty");
    linker
        .func_wrap("host", "unit", report_unit)
        .and_then(|linker| linker.func_wrap("host", "step", step))
        .and_then(|linker| {
            linker.func_wrap("host", "enter", |caller: Caller<'_, World>| enter(caller, "run"))
        })
        .and_then(|linker| linker.func_wrap("host", "exchange", exchange))
        .and_then(|linker| linker.func_wrap("host", "unprotected", memory_without_write_protection))
        .and_then(|linker| {
            linker.func_wrap("host", "leaf", |caller: Caller<'_, World>| enter(caller, "little"))
        })
        .expect("the names are free");
    linker
}

/// What a unit must add up to.
const SUM: u64 = sum_of_unit();

fn report_unit(caller: Caller<'_, World>, sum: u64) {
    let units = &caller.data().units;
    units.done.fetch_add(1, Ordering::Relaxed);
    units.wrong.fetch_add(u64::from(sum != SUM), Ordering::Relaxed);
}

/// Computes what a unit of `neighbour.wat` adds up to.
pub(super) const fn sum_of_unit() -> u64 {
    const NUMBERS: u32 = 1024;
    // The kept words are the numbers of their pages, from 16 to 47.
    const KEPT: u64 = (16 + 47) * 32 / 2;
    let (mut seed, mut sum) = (0x2545_f491_4f6c_dd1d_u64, KEPT);
    let mut number = 0;
    while number < NUMBERS {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        // The memory is zero before, because it was cleared.
        sum = sum.wrapping_add(seed);
        number += 1;
    }
    sum
}

fn step(mut caller: Caller<'_, World>) -> Result<(), Error> {
    let left = &mut caller.data_mut().steps_left;
    *left -= 1;
    if *left == 0 { Err(Error::host(StepRefused)) } else { Ok(()) }
}

/// Calls an export of the caller. A guest without it is refused.
fn enter(mut caller: Caller<'_, World>, export: &str) -> Result<(), Error> {
    let func = caller.get_export(export).and_then(|export| export.into_func());
    let func = func.ok_or_else(|| Error::host(StepRefused))?;
    func.call(caller.as_context_mut(), &[], &mut [])
}

/// Exchanges the data of the caller's store with that of another store, as an embedder may do.
fn exchange(mut caller: Caller<'_, World>) {
    let engine = caller.engine().clone();
    let mut other = Store::new(&engine, World::new(&caller.data().units));
    core::mem::swap(caller.data_mut(), other.data_mut());
}

/// Creates a memory while ring 0 may write to read-only pages, which an embedder must not allow.
/// Returns whether it was refused, and whether one is created afterwards.
fn memory_without_write_protection(mut caller: Caller<'_, World>) -> u32 {
    let cr0 = Cr0::read();
    let mut try_create = || Memory::new(&mut caller, MemoryType::new(1, Some(1))).is_ok();
    // SAFETY: no code writes to a read-only page before the flag is set again.
    unsafe { Cr0::write(cr0 - Cr0Flags::WRITE_PROTECT) };
    let is_refused = !try_create();
    // SAFETY: this restores what boot has set.
    unsafe { Cr0::write(cr0) };
    u32::from(is_refused && try_create())
}

/// Standard output that goes nowhere.
#[derive(Debug, Default)]
struct Counted {
    bytes: u64,
}

impl Output for Counted {
    fn write(&mut self, bytes: &[u8]) {
        self.bytes += bytes.iter().map(|byte| u64::from(*byte != 0) + 1).sum::<u64>();
    }
}

struct Ticks;

impl Clock for Ticks {
    fn monotonic_ns(&mut self) -> u64 {
        clock::ticks()
    }

    fn wait_until(&mut self, _until_ns: u64) -> Wait {
        Wait::Pause
    }

    fn yield_now(&mut self) -> Wait {
        Wait::Pause
    }
}

/// Blocks of files are frames.
struct Frames;

impl Blocks for Frames {
    fn allocate(&mut self) -> Option<Arc<dyn Block>> {
        let block = memory::Block::allocate()?;
        LIVE_BLOCKS.fetch_add(1, Ordering::Relaxed);
        Some(Arc::new(FrameBlock(block)))
    }
}

static LIVE_BLOCKS: AtomicU64 = AtomicU64::new(0);

/// Returns the number of frames that files have.
pub(crate) fn live_blocks() -> u64 {
    LIVE_BLOCKS.load(Ordering::Relaxed)
}

#[derive(Debug)]
struct FrameBlock(memory::Block);

impl Drop for FrameBlock {
    fn drop(&mut self) {
        LIVE_BLOCKS.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Block for FrameBlock {
    fn bytes(&self) -> &[u8; BLOCK_BYTES] {
        self.0.bytes()
    }

    fn bytes_mut(&mut self) -> &mut [u8; BLOCK_BYTES] {
        self.0.bytes_mut()
    }
}
