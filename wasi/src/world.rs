//! The services of the embedder: streams, time, random numbers and blocks. Each is a small trait.
//!
//! The methods are called from a host function, without a lock held, and block the calling guest
//! until they return. A clock that must not block returns [`Wait::Pause`].

use alloc::{boxed::Box, sync::Arc};
use core::fmt::Debug;
use thiserror::Error;

/// The size of one block of a scratch directory, in bytes.
pub const BLOCK_BYTES: usize = 4096;

/// The source of a guest's standard input.
pub trait Input: Send {
    /// Writes bytes to the start of `buffer`, which is not empty, and returns how many. 0 is the
    /// end of the input.
    fn read(&mut self, buffer: &mut [u8]) -> usize;
}

/// The destination of a guest's standard output or error. Closures over `&[u8]` are outputs.
pub trait Output: Send {
    /// Takes all of `bytes`. They come as the guest writes them, not line by line.
    fn write(&mut self, bytes: &[u8]);
}

impl<F: FnMut(&[u8]) + Send> Output for F {
    fn write(&mut self, bytes: &[u8]) {
        self(bytes);
    }
}

/// Time, in nanoseconds.
pub trait Clock: Send {
    /// Returns the nanoseconds since an arbitrary moment. The result must never decrease.
    fn monotonic_ns(&mut self) -> u64;

    /// Returns the nanoseconds since 1970-01-01T00:00:00Z. The default is the monotonic time.
    fn realtime_ns(&mut self) -> u64 {
        self.monotonic_ns()
    }

    /// Returns the resolution of both clocks in nanoseconds, at least 1. The default is 1.
    fn resolution_ns(&self) -> u64 {
        1
    }

    /// Waits until the monotonic clock reaches `until_ns`, or requests that the guest is paused.
    /// The default reads the clock until then.
    fn wait_until(&mut self, until_ns: u64) -> Wait {
        while self.monotonic_ns() < until_ns {
            core::hint::spin_loop();
        }
        Wait::Done
    }

    /// Yields the CPU, or requests that the guest is paused. The default does neither.
    fn yield_now(&mut self) -> Wait {
        Wait::Done
    }
}

/// How a wait ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The wait is over.
    Done,
    /// The guest's call ends in a [`Pause`](palimpsest_engine::Pause). A
    /// [`Task`](palimpsest_engine::Task) resumes it when the time has come.
    Pause,
}

/// Random numbers. Closures over `&mut [u8]` that return a `Result` are sources.
pub trait Random: Send {
    /// Fills `bytes` with random numbers that are good enough for cryptographic keys.
    ///
    /// # Errors
    ///
    /// [`NoRandom`] if the source has failed. The guest's call returns `EIO`.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoRandom>;
}

impl<F: FnMut(&mut [u8]) -> Result<(), NoRandom> + Send> Random for F {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoRandom> {
        self(bytes)
    }
}

/// A source of random numbers has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the source of random numbers returns none; replace it")]
pub struct NoRandom;

/// Memory for the files of a scratch directory.
pub trait Blocks: Send {
    /// Returns a zeroed block that nothing else refers to, or None if none is free. The guest then
    /// gets `ENOSPC`.
    ///
    /// It is called only within the quota of
    /// [`WasiBuilder::scratch_bytes`](crate::WasiBuilder::scratch_bytes).
    fn allocate(&mut self) -> Option<Arc<dyn Block>>;
}

/// A block of a file. Dropping it releases it. Forks share the blocks of their snapshot, and
/// nothing writes to a block that is shared. A box is a block on the kernel's heap.
pub trait Block: Send + Sync + Debug {
    /// Returns the bytes.
    fn bytes(&self) -> &[u8; BLOCK_BYTES];

    /// Returns the bytes for writing.
    fn bytes_mut(&mut self) -> &mut [u8; BLOCK_BYTES];
}

impl Block for Box<[u8; BLOCK_BYTES]> {
    fn bytes(&self) -> &[u8; BLOCK_BYTES] {
        self
    }

    fn bytes_mut(&mut self) -> &mut [u8; BLOCK_BYTES] {
        self
    }
}

/// An input without bytes, and an output that discards them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Empty;

impl Input for Empty {
    fn read(&mut self, _buffer: &mut [u8]) -> usize {
        0
    }
}

impl Output for Empty {
    fn write(&mut self, _bytes: &[u8]) {}
}

impl Input for &'static [u8] {
    fn read(&mut self, buffer: &mut [u8]) -> usize {
        let (now, later) = self.split_at(self.len().min(buffer.len()));
        for (to, from) in buffer.iter_mut().zip(now) {
            *to = *from;
        }
        *self = later;
        now.len()
    }
}
