//! Any bytes as a snapshot: `read_from` and `read_since` return an error or a state of the module.
//! A fork of that state can be called, and another snapshot of it can be made, within the heap that
//! the limits allow.

use arbitrary::Unstructured;
use palimpsest_counting::Growth;
use palimpsest_engine::{
    Config, DataError, Engine, Fuel, Instance, Limits, Linker, Module, Snapshot, SnapshotData, StateBytes,
    Store,
};
use palimpsest_heap::{BadPointer, Heap, HeapOptions, HeapState};
use palimpsest_wasi::{Wasi, WasiState};
use std::sync::OnceLock;

use crate::{
    HEAP,
    backing::backing,
    wasi::{Pool, Ticks},
};

/// The guest's functions.
const FUNCTIONS: [&str; 15] = [
    "advance",
    "drop",
    "grow",
    "fill",
    "clear",
    "call",
    "call_global",
    "sum",
    "allocate",
    "free",
    "open",
    "write",
    "read",
    "unlink",
    "close",
];

/// Frames that a store may hold. Three memories take 48 at least.
const STORE_FRAMES: u64 = 160;

/// Blocks, bytes and files of the scratch directory.
const BLOCKS: u64 = 32;
const SCRATCH_BYTES: u64 = 256 << 10;
const FILES: usize = 16;

/// The heap for two snapshots, one that is read and one of its fork, each with the frames of a
/// store and its files; and for the engine with its module.
const BUDGET: usize = 6 << 20;

/// Units of fuel for the calls of a store.
const FUEL: u64 = 100_000;

/// What a forged number is, besides a random one.
const NUMBERS: [u64; 12] =
    [0, 1, 7, 0xfff, 0x1000, 0x1_0000, 0x2_0000, 0xa_0000, 1 << 31, u32::MAX as u64, 1 << 63, u64::MAX];

/// Runs the target.
///
/// # Panics
///
/// Panics if the heap grows by more than the limits allow, if a state is not written and read as
/// the same, or if something is not free afterwards.
pub fn run(data: &[u8]) {
    is_read(data);
}

/// Runs the target. Returns whether the bytes are read as a snapshot.
fn is_read(data: &[u8]) -> bool {
    static WASM: OnceLock<Vec<u8>> = OnceLock::new();
    let text = include_str!("snapshot/state.wat");
    let wasm = WASM.get_or_init(|| wat::parse_str(text).expect("the text is well-formed"));
    let free = backing().free_bytes();
    let pool = Pool::new(BLOCKS);
    let (Growth { peak, left }, is_read) =
        HEAP.measure(|| live(wasm, &pool, &mut Unstructured::new(data)).unwrap_or(false));
    assert!(peak < BUDGET, "the heap grew by {peak} bytes");
    assert_eq!(left, 0, "bytes are still allocated after the end of the engine");
    assert_eq!(pool.left(), BLOCKS, "blocks are missing after the end of the store");
    assert_eq!(backing().free_bytes(), free, "memory is in use after the end of the store");
    is_read
}

/// Makes two snapshots of a guest, forges bytes from theirs, and runs a fork of what they are read
/// as. Returns whether they are read.
fn live(wasm: &[u8], pool: &Pool, data: &mut Unstructured<'_>) -> arbitrary::Result<bool> {
    let mut limits = Limits::default();
    limits.resident_frames = Some(STORE_FRAMES);
    limits.fuel = Some(FUEL);
    let config = Config::default().fuel(Fuel::Metered).snapshots(true).limits(limits);
    let engine = Engine::new(config, backing().clone()).expect("the build's dispatch is flat");
    let module = Module::new(&engine, wasm).expect("the module is valid");
    let linker = linker();

    let mut store = Store::new(&engine, World::new(pool));
    let instance = linker.instantiate(&mut store, &module).expect("the imports are defined");
    call_some(&mut store, instance, data)?;
    let first = store.snapshot(instance).expect("the guest can be recorded");
    call_some(&mut store, instance, data)?;
    let second = store.snapshot(instance).expect("the guest can be recorded");
    drop(store);

    let whole = [&first, &second].map(written);
    let since = written_since(&second, &first);
    let is_since = data.arbitrary()?;
    let mut bytes = if is_since { since } else { whole[usize::from(data.arbitrary::<bool>()?)].clone() };
    match data.int_in_range(0..=15)? {
        0 => bytes = data.bytes(data.len())?.to_vec(),
        1 => {
            bytes.truncate(24);
            bytes.extend_from_slice(data.bytes(data.len())?);
            bytes.extend_from_slice(&[0; 8]);
            seal(&mut bytes);
        }
        kind => {
            for change in data.arbitrary::<Vec<Change>>()? {
                change.apply(&mut bytes, &whole);
            }
            if kind > 2 {
                seal(&mut bytes);
            }
        }
    }
    let read =
        if is_since { Snapshot::read_since(&first, &bytes) } else { Snapshot::read_from(&module, &bytes) };
    drop((first, second));
    if let Ok(snapshot) = &read {
        fork(&linker, pool, snapshot);
    }
    Ok(read.is_ok())
}

/// Checks that a snapshot is written and read as the same, and calls all functions of a fork.
fn fork(linker: &Linker<World>, pool: &Pool, snapshot: &Snapshot<State>) {
    let bytes = written(snapshot);
    let again =
        Snapshot::<State>::read_from(snapshot.module(), &bytes).expect("what was written can be read");
    assert!(written(&again) == bytes, "a snapshot that was read is written differently");
    drop(again);
    let mut store = Store::new(snapshot.module().engine(), World::new(pool));
    // The blocks may not suffice for the files.
    let Ok(instance) = linker.fork(&mut store, snapshot) else { return };
    for name in FUNCTIONS {
        call(&mut store, instance, name);
    }
    // A forged number may have lost the store.
    let _ = store.snapshot(instance);
}

/// Calls up to seven functions.
fn call_some(
    store: &mut Store<World>,
    instance: Instance,
    data: &mut Unstructured<'_>,
) -> arbitrary::Result<()> {
    for _ in 0..data.int_in_range(0..=7)? {
        call(store, instance, data.choose(&FUNCTIONS)?);
    }
    Ok(())
}

/// Calls a function, which may trap.
fn call(store: &mut Store<World>, instance: Instance, name: &str) {
    let func = instance.get_typed_func::<(), i32>(&*store, name).expect("it is exported");
    let _ = func.call(store, ());
}

/// A change of a snapshot's bytes.
#[derive(arbitrary::Arbitrary)]
struct Change {
    place: u16,
    kind: u8,
    number: u64,
}

impl Change {
    /// Changes `bytes`. `others` are whole snapshots, of which parts are inserted.
    fn apply(&self, bytes: &mut Vec<u8>, others: &[Vec<u8>; 2]) {
        let place = usize::from(self.place) % (bytes.len() + 1);
        let len = (self.number >> 8) as usize % 600;
        let end = bytes.len().min(place + len);
        match self.kind % 8 {
            0 => bytes.insert(place, self.number as u8),
            1 => drop(bytes.drain(place..end)),
            2 => bytes.truncate(place),
            3 => bytes.extend_from_within(place..end),
            4 => {
                let other = &others[usize::from(self.number & 1 == 1)];
                let start = (self.number >> 32) as usize % other.len();
                let part = &other[start..other.len().min(start + len)];
                bytes.splice(place..end, part.iter().copied()).for_each(drop);
            }
            5 => {
                let number = NUMBERS[self.number as usize % NUMBERS.len()];
                overwrite(&mut bytes[place..], &number.to_le_bytes());
            }
            6 => overwrite(&mut bytes[place..], &self.number.to_le_bytes()),
            _ => overwrite(&mut bytes[place..], &[self.number as u8]),
        }
    }
}

/// Writes as much of `new` as there is room for.
fn overwrite(bytes: &mut [u8], new: &[u8]) {
    bytes.iter_mut().zip(new).for_each(|(byte, new)| *byte = *new);
}

/// Sets the checksum, which is in the last eight bytes.
fn seal(bytes: &mut [u8]) {
    let Some((content, checksum)) = bytes.split_last_chunk_mut() else { return };
    let step = |hash: u64, word: u64| (hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    let hash = content.chunks(4096).fold(0, |hash, block| {
        let (words, rest) = block.as_chunks();
        let hash = words.iter().fold(hash, |hash, word| step(hash, u64::from_le_bytes(*word)));
        let last = (0..).zip(rest).fold(0, |last, (place, byte)| last | u64::from(*byte) << (8 * place));
        step(hash, last)
    });
    *checksum = hash.to_le_bytes();
}

/// Returns the bytes of a snapshot.
fn written(snapshot: &Snapshot<State>) -> Vec<u8> {
    let mut bytes = Vec::new();
    snapshot.write_to(collect(&mut bytes)).expect("all of the state has bytes");
    bytes
}

fn written_since(snapshot: &Snapshot<State>, base: &Snapshot<State>) -> Vec<u8> {
    let mut bytes = Vec::new();
    snapshot.write_since(base, collect(&mut bytes)).expect("the base is an earlier snapshot");
    bytes
}

fn collect(bytes: &mut Vec<u8>) -> impl FnMut(&[u8]) -> Result<(), DataError> {
    |part| {
        bytes.extend_from_slice(part);
        Ok(())
    }
}

/// The data of a store: files, and the books of the guest's heap.
struct World {
    wasi: Wasi,
    heap: Heap,
}

impl World {
    fn new(pool: &Pool) -> Self {
        let wasi = Wasi::builder()
            .clock(Ticks(0))
            .random(Ticks(0))
            .scratch("/", pool.clone())
            .scratch_files(FILES)
            .scratch_bytes(SCRATCH_BYTES);
        let mut options = HeapOptions::default();
        options.bad_pointer = BadPointer::Ignore;
        Self { wasi: wasi.build(), heap: Heap::new(options) }
    }
}

/// Returns a linker with the functions that the guest imports.
fn linker() -> Linker<World> {
    let mut linker = Linker::new();
    let added = palimpsest_wasi::add_to_linker(&mut linker, |world: &mut World| &mut world.wasi);
    added.expect("the names are different");
    let added = palimpsest_heap::add_to_linker(&mut linker, |world: &mut World| &mut world.heap);
    added.expect("the names are different");
    linker
}

/// The recorded part of it.
struct State {
    wasi: WasiState,
    heap: HeapState,
}

impl SnapshotData for World {
    type State = State;

    fn save(&mut self) -> Result<State, DataError> {
        Ok(State { wasi: self.wasi.save()?, heap: self.heap.save()? })
    }

    fn restore(&mut self, state: &State) -> Result<(), DataError> {
        self.wasi.restore(&state.wasi)?;
        self.heap.restore(&state.heap)
    }
}

/// The number of bytes of the files, the files, and the books.
impl StateBytes for State {
    fn write_to(&self, sink: &mut dyn FnMut(&[u8]) -> Result<(), DataError>) -> Result<(), DataError> {
        let mut files = Vec::new();
        self.wasi.write_to(&mut collect(&mut files))?;
        sink(&(files.len() as u64).to_le_bytes())?;
        sink(&files)?;
        self.heap.write_to(sink)
    }

    fn read_from(bytes: &[u8]) -> Result<Self, DataError> {
        let parts = bytes.split_first_chunk().and_then(|(len, rest)| {
            let len = usize::try_from(u64::from_le_bytes(*len)).ok()?;
            rest.split_at_checked(len)
        });
        let (files, books) = parts.ok_or("the state ends too early")?;
        Ok(Self { wasi: WasiState::read_from(files)?, heap: HeapState::read_from(books)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input;

    #[test]
    fn forged_bytes_get_past_the_checksum_and_half_of_the_checks() {
        let read = (0..400).filter(|number| is_read(&input(1, *number, 1 << 11))).count();
        assert!((50..350).contains(&read), "{read} of 400 are read");
    }
}
