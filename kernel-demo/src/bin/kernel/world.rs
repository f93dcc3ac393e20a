//! The world of a guest: the kernel's ports, clocks, files and frames as WASI, and a heap.
//!
//! Standard output and error are two serial ports. `/` is the directory in the boot archive,
//! read-only. The blocks of `/tmp` are frames of the pool, which dropping the store releases. They
//! are a share of what is free at the start, so a guest that fills `/tmp` gets `ENOSPC` and not a
//! memory without frames.

use alloc::sync::Arc;

use kernel_demo::entropy::Entropy;
use kernel_demo::memory::{self, BLOCK_BYTES, Space};
use kernel_demo::serial::{self, GuestStream};
use kernel_demo::timer;
use kernel_demo::{Machine, rtc};
use palimpsest_engine::{DataError, DuplicateDefinition, Linker, Module, SnapshotData};
use palimpsest_heap::{Heap, HeapState};
use palimpsest_protocol::{Entry, files};
use palimpsest_wasi::{
    ArchiveError, BLOCK_CHARGE_BYTES, Block, Blocks, Clock, FILE_CHARGE_BYTES, Output, TscClock, Wait, Wasi,
    WasiState,
};
use spin::Mutex;

use crate::run::Guest;
use crate::samples::Samples;

/// What happens when a guest waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// The CPU waits with it, because it has nothing else to run.
    Spin,
    /// Its call is suspended, because it runs in slices.
    Pause,
}

/// A record of the writes to standard output, without the bytes themselves.
#[derive(Debug, Default)]
pub(crate) struct OutputLog {
    bytes: u64,
    /// The resident frames at each write, by the number of bytes written until then.
    pub(crate) samples: Samples,
}

/// The record that the guest's world and the report share.
pub(crate) type SharedOutputLog = Arc<Mutex<OutputLog>>;

/// Builds the world that the request of `guest` describes.
pub(crate) fn of(
    guest: Guest<'_>,
    time: TscClock,
    waiting: Waiting,
    log: &SharedOutputLog,
) -> Result<Wasi, ArchiveError> {
    let Guest { machine, request, .. } = guest;
    let name = match &request.entry {
        Entry::Call { .. } => "",
        Entry::Program { name, .. } => name,
    };
    let mut builder = Wasi::builder()
        .arg(name.as_bytes())
        .args(request.arguments.iter().map(|word| word.as_bytes()))
        .stdin(machine.file(files::INPUT).unwrap_or_default())
        .stdout(StandardOutput::new(machine, log))
        .stderr(StandardError)
        .clock(Clocks { time, waiting })
        .random(Entropy::new());
    for (name, value) in &request.environment {
        builder = builder.env(name.as_bytes(), value.as_bytes());
    }
    if let Some(root) = machine.file(files::ROOT) {
        builder = builder.archive("/", root)?;
    }
    let (bytes, files) = tmp_limits(machine);
    Ok(builder.scratch("/tmp", Frames).scratch_bytes(bytes).scratch_files(files).build())
}

/// The part of the free frames that `/tmp` may take.
const TMP_FRAMES_DIVISOR: u64 = 4;

/// The part of the free heap that the blocks of `/tmp` may take, and again its files.
const TMP_HEAP_DIVISOR: u64 = 8;

/// Returns the quota of `/tmp` in bytes and its limit of files: at most a quarter of the free
/// frames, and a quarter of the free heap.
fn tmp_limits(machine: &Machine) -> (u64, usize) {
    let free = machine.frames().free_frames() * BLOCK_BYTES as u64;
    let heap = machine.heap();
    let heap_share = heap.size_bytes.saturating_sub(heap.used_bytes) as u64 / TMP_HEAP_DIVISOR;
    let blocks = heap_share / (BLOCK_CHARGE_BYTES - BLOCK_BYTES as u64);
    let bytes = (free / TMP_FRAMES_DIVISOR).min(blocks * BLOCK_CHARGE_BYTES);
    let files = heap_share / FILE_CHARGE_BYTES;
    (bytes, usize::try_from(files).unwrap_or(usize::MAX))
}

/// The data of a program's store.
pub(crate) struct World {
    wasi: Wasi,
    heap: Heap,
}

impl World {
    /// Returns the data for a program in the world `wasi`.
    pub(crate) fn new(wasi: Wasi) -> Self {
        Self { wasi, heap: Heap::default() }
    }
}

impl SnapshotData for World {
    type State = (WasiState, HeapState);

    fn save(&mut self) -> Result<Self::State, DataError> {
        Ok((self.wasi.save()?, self.heap.save()?))
    }

    fn restore(&mut self, (wasi, heap): &Self::State) -> Result<(), DataError> {
        self.wasi.restore(wasi)?;
        self.heap.restore(heap)
    }
}

/// Returns a linker with WASI and, in the form for the memory that `module` exports, the heap
/// functions.
pub(crate) fn linker(module: &Module) -> Result<Linker<World>, DuplicateDefinition> {
    let mut linker = Linker::new();
    palimpsest_wasi::add_to_linker(&mut linker, |world: &mut World| &mut world.wasi)?;
    if module.exports().any(|export| export.ty().memory().is_some_and(|memory| memory.is_64())) {
        palimpsest_heap::add_to_linker64(&mut linker, |world: &mut World| &mut world.heap)?;
    } else {
        palimpsest_heap::add_to_linker(&mut linker, |world: &mut World| &mut world.heap)?;
    }
    Ok(linker)
}

/// Standard output. Every write is sent at once and recorded.
pub(crate) struct StandardOutput {
    space: &'static Space,
    log: SharedOutputLog,
}

impl StandardOutput {
    pub(crate) fn new(machine: &Machine, log: &SharedOutputLog) -> Self {
        Self { space: machine.space(), log: Arc::clone(log) }
    }
}

impl Output for StandardOutput {
    fn write(&mut self, bytes: &[u8]) {
        serial::send(GuestStream::Output, bytes);
        let mut log = self.log.lock();
        log.bytes += bytes.len() as u64;
        let written = log.bytes;
        log.samples.add(written, self.space.usage().resident_frames);
    }
}

/// Standard error. Every write is sent at once.
pub(crate) struct StandardError;

impl Output for StandardError {
    fn write(&mut self, bytes: &[u8]) {
        serial::send(GuestStream::Errors, bytes);
    }
}

/// Starts a clock with the time of day, and measures the rate of the counter.
pub(crate) fn start_clock() -> TscClock {
    let rate = timer::calibrate();
    TscClock::start(rate).with_realtime_ns(rtc::unix_seconds() * 1_000_000_000)
}

/// A clock with the chosen kind of wait.
struct Clocks {
    time: TscClock,
    waiting: Waiting,
}

impl Clock for Clocks {
    fn monotonic_ns(&mut self) -> u64 {
        self.time.monotonic_ns()
    }

    fn realtime_ns(&mut self) -> u64 {
        self.time.realtime_ns()
    }

    fn resolution_ns(&self) -> u64 {
        self.time.resolution_ns()
    }

    fn wait_until(&mut self, until_ns: u64) -> Wait {
        match self.waiting {
            Waiting::Pause => Wait::Pause,
            Waiting::Spin => self.time.wait_until(until_ns),
        }
    }

    fn yield_now(&mut self) -> Wait {
        match self.waiting {
            Waiting::Pause => Wait::Pause,
            Waiting::Spin => Wait::Done,
        }
    }
}

struct Frames;

impl Blocks for Frames {
    fn allocate(&mut self) -> Option<Arc<dyn Block>> {
        Some(Arc::new(FrameBlock(memory::Block::allocate()?)))
    }
}

#[derive(Debug)]
struct FrameBlock(memory::Block);

impl Block for FrameBlock {
    fn bytes(&self) -> &[u8; BLOCK_BYTES] {
        self.0.bytes()
    }

    fn bytes_mut(&mut self) -> &mut [u8; BLOCK_BYTES] {
        self.0.bytes_mut()
    }
}
