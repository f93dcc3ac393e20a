//! Implementations of the embedder's traits that tests can observe.

use palimpsest_wasi::{BLOCK_BYTES, Block, Blocks, Clock, NoRandom, Output, Random, Wait};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

/// Standard output that a test can read.
#[derive(Clone, Default)]
pub(crate) struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Output for Written {
    fn write(&mut self, bytes: &[u8]) {
        self.0.lock().unwrap().extend(bytes);
    }
}

/// A limited number of blocks. It counts those that are not in use.
#[derive(Clone)]
pub(crate) struct Pool(Arc<AtomicU64>);

impl Pool {
    pub(crate) fn of(blocks: u64) -> Self {
        Self(Arc::new(AtomicU64::new(blocks)))
    }

    /// The number of free blocks.
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

/// A clock that advances only in waits. It ends a wait at once, or pauses the guest.
pub(crate) struct ManualClock {
    pub(crate) now: Arc<AtomicU64>,
    pub(crate) wait: Wait,
}

impl ManualClock {
    /// The difference of real time and monotonic time.
    pub(crate) const EPOCH_NS: u64 = 1_000_000;

    pub(crate) fn new(now_ns: u64, wait: Wait) -> Self {
        Self { now: Arc::new(AtomicU64::new(now_ns)), wait }
    }
}

impl Clock for ManualClock {
    fn realtime_ns(&mut self) -> u64 {
        self.monotonic_ns() + Self::EPOCH_NS
    }

    fn monotonic_ns(&mut self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    fn resolution_ns(&self) -> u64 {
        7
    }

    fn wait_until(&mut self, until_ns: u64) -> Wait {
        if self.wait == Wait::Done {
            self.now.store(until_ns, Ordering::Relaxed);
        }
        self.wait
    }

    fn yield_now(&mut self) -> Wait {
        self.wait
    }
}

/// Predictable numbers.
pub(crate) struct Counting(pub(crate) u8);

impl Random for Counting {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoRandom> {
        for byte in bytes {
            self.0 = self.0.wrapping_add(1);
            *byte = self.0;
        }
        Ok(())
    }
}

/// Returns a tar archive of files. A name that ends in `/` is a directory.
pub(crate) fn tar_of(files: &[(&str, &[u8])]) -> &'static [u8] {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(if name.ends_with('/') {
            tar::EntryType::Directory
        } else {
            tar::EntryType::Regular
        });
        header.set_size(content.len() as u64);
        header.set_mtime(8);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap().leak()
}
