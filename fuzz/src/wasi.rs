//! Sequences of WASI calls with any arguments: each returns an error code, and afterwards no block
//! and no byte of the kernel's heap is missing.

use palimpsest_counting::Growth;
use palimpsest_engine::{
    Config, Engine, Error, Fuel, Instance, Linker, Memory, Module, Store, TrapCode, Val,
};
use palimpsest_wasi::{BLOCK_BYTES, Block, Blocks, Clock, NoRandom, Random, Wait, Wasi, add_to_linker};
use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use crate::{
    HEAP,
    backing::backing,
    preview1::{FUNCTIONS, Function, guest_wat},
};

/// Where names and vectors of buffers are in the guest's memory.
const VECTORS: u32 = 1024;
const PATHS: u32 = 2048;
const RESULTS: u32 = 512;

/// Every piece of it is a path.
const NAMES: &[u8] = b"a/b/../c/./a/b//a/../../b/c/a/./../a/c/..";

/// The end of the guest's memory.
const END: u32 = 2 << 16;

/// What the embedder gives the guest for files: blocks, bytes and files.
const BLOCKS: u64 = 64;
const QUOTA_BYTES: u64 = 1 << 20;
const FILES: usize = 64;

/// The heap that a guest may take: the quota, and the engine with its module.
const BUDGET: usize = 4 << 20;

/// Units of fuel for all calls together.
const FUEL: u64 = 20_000_000;

/// Runs the target.
///
/// # Panics
///
/// Panics if a call does more than return an error code, or if something is not free afterwards.
pub fn run(data: &[u8]) {
    static WASM: OnceLock<Vec<u8>> = OnceLock::new();
    let wasm = WASM.get_or_init(|| wat::parse_str(guest_wat()).expect("the text is well-formed"));
    let free = backing().free_bytes();
    let pool = Pool::new(BLOCKS);
    let (Growth { peak, left }, ()) = HEAP.measure(|| live(wasm, &pool, data));
    assert!(peak < BUDGET, "the heap grew by {peak} bytes");
    assert_eq!(left, 0, "bytes are still allocated after the end of the store");
    assert_eq!(pool.left(), BLOCKS, "blocks are missing after the end of the store");
    assert_eq!(backing().free_bytes(), free, "memory is in use after the end of the store");
}

fn live(wasm: &[u8], pool: &Pool, data: &[u8]) {
    let engine = Engine::new(Config::default().fuel(Fuel::Metered), backing().clone());
    let engine = engine.expect("the build's dispatch is flat");
    let module = Module::new(&engine, wasm).expect("the module is valid");
    let wasi = Wasi::builder()
        .arg("program")
        .env("KEY", "value")
        .stdin(b"input".as_slice())
        .clock(Ticks(0))
        .random(Ticks(0))
        .scratch("/tmp", pool.clone())
        .scratch("/other", pool.clone())
        .scratch_files(FILES)
        .scratch_bytes(QUOTA_BYTES);
    let mut store = Store::new(&engine, wasi.build());
    store.set_fuel(FUEL).expect("the engine is metered");
    let mut linker = Linker::new();
    add_to_linker(&mut linker, |wasi| wasi).expect("the names are different");
    let instance = linker.instantiate(&mut store, &module).expect("the imports are defined");
    let memory = instance.get_memory(&store, "memory").expect("it is exported");
    let mut guest = Guest { store, instance, memory };
    guest.prepare();
    let mut words = Words(data);
    while let Some(kind) = words.byte() {
        let is_over = match FUNCTIONS.get(usize::from(kind) % (FUNCTIONS.len() + 3)) {
            Some(function) => guest.call(function, &mut words),
            None => guest.poke(&mut words),
        };
        if is_over {
            break;
        }
    }
}

struct Guest {
    store: Store<Wasi>,
    instance: Instance,
    memory: Memory,
}

impl Guest {
    /// Writes paths, and vectors of buffers of which some are inside the memory.
    fn prepare(&mut self) {
        let vectors = [8192, 100, 9000, 5000, VECTORS, 16, END - 10, 20, 0, u32::MAX, 16_384, 70_000];
        let bytes: Vec<u8> = vectors.iter().flat_map(|word: &u32| word.to_le_bytes()).collect();
        for (at, bytes) in [(VECTORS, bytes.as_slice()), (PATHS, NAMES)] {
            self.memory.write(&mut self.store, at as usize, bytes).expect("it is inside");
        }
    }

    /// Calls a function. Returns whether the guest has no fuel left.
    fn call(&mut self, (name, params): &Function, words: &mut Words<'_>) -> bool {
        let arguments: Vec<_> = params
            .iter()
            .map(|param| match *param {
                "i64" => Val::I64(words.long().cast_signed()),
                _ => Val::I32(words.word().cast_signed()),
            })
            .collect();
        let mut results = [Val::I32(-1)];
        let func = self.instance.get_func(&self.store, name).expect("it is exported");
        match func.call(&mut self.store, &arguments, &mut results) {
            Ok(()) => {
                let errno = results[0].i32().expect("every function returns an error code");
                assert!((0..=76).contains(&errno), "{name} returns {errno}");
                false
            }
            Err(error) => {
                assert_eq!(Error::as_trap_code(&error), Some(TrapCode::OutOfFuel), "{name}: {error}");
                true
            }
        }
    }

    /// Writes a byte among the paths or vectors.
    fn poke(&mut self, words: &mut Words<'_>) -> bool {
        let at = RESULTS + (words.word() % 2048);
        let byte = words.byte().unwrap_or(0);
        self.memory.write(&mut self.store, at as usize, &[byte]).expect("it is inside");
        false
    }
}

/// The arguments of calls.
struct Words<'a>(&'a [u8]);

impl Words<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn next(&mut self) -> u8 {
        self.byte().unwrap_or(0)
    }

    /// Descriptors, counts, flags, pointers and lengths alike.
    fn word(&mut self) -> u32 {
        let byte = u32::from(self.next());
        match byte {
            ..32 => byte,
            32..80 => PATHS + (byte - 32),
            80..96 => RESULTS + 4 * (byte - 80),
            96..112 => VECTORS + 8 * ((byte - 96) % 6),
            112..120 => END - (byte - 112),
            120..128 => u32::MAX - (byte - 120),
            128..136 => 1 << (24 + byte - 128),
            136..144 => 4096 * (byte - 136) + 1,
            _ => u32::from_le_bytes([self.next(), self.next(), 0, 0]),
        }
    }

    /// Offsets, sizes, times and rights.
    fn long(&mut self) -> u64 {
        let byte = self.next();
        match byte {
            ..16 => byte.into(),
            16..80 => 1 << (byte - 16),
            80..144 => u64::MAX >> (byte - 80),
            144..200 => u64::MAX - u64::from(byte - 144),
            _ => u64::from(u16::from_le_bytes([self.next(), self.next()])) << (byte % 24),
        }
    }
}

/// A limited number of blocks.
#[derive(Clone)]
pub(crate) struct Pool(Arc<AtomicU64>);

impl Pool {
    pub(crate) fn new(blocks: u64) -> Self {
        Self(Arc::new(AtomicU64::new(blocks)))
    }

    /// Returns the number of blocks that are not in use.
    pub(crate) fn left(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Blocks for Pool {
    fn allocate(&mut self) -> Option<Arc<dyn Block>> {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).ok()?;
        Some(Arc::new(Pooled { bytes: [0; BLOCK_BYTES], pool: self.clone() }))
    }
}

struct Pooled {
    bytes: [u8; BLOCK_BYTES],
    pool: Pool,
}

impl std::fmt::Debug for Pooled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pooled").finish_non_exhaustive()
    }
}

impl Block for Pooled {
    fn bytes(&self) -> &[u8; BLOCK_BYTES] {
        &self.bytes
    }

    fn bytes_mut(&mut self) -> &mut [u8; BLOCK_BYTES] {
        &mut self.bytes
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        self.pool.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A clock that advances with each question, and numbers that are the same in every run.
pub(crate) struct Ticks(pub(crate) u64);

impl Clock for Ticks {
    fn monotonic_ns(&mut self) -> u64 {
        self.0 = self.0.saturating_add(1000);
        self.0
    }

    fn resolution_ns(&self) -> u64 {
        1000
    }

    fn wait_until(&mut self, until_ns: u64) -> Wait {
        self.0 = self.0.max(until_ns);
        Wait::Done
    }
}

impl Random for Ticks {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoRandom> {
        bytes.fill(self.0 as u8);
        self.0 = self.0.wrapping_add(1);
        Ok(())
    }
}
