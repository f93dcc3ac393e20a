//! What the embedder provides: streams, time, randomness and blocks, each a small trait.
//!
//! Each is called from the host function that a guest has called, without any lock held, and holds up that
//! guest for as long as it runs: a clock that should not wait answers [`Wait::Pause`].

use alloc::boxed::Box;
use core::fmt::Debug;

/// The bytes of one block of a scratch directory.
pub const BLOCK_BYTES: usize = 4096;

/// Where a guest's standard input comes from.
pub trait Input: Send {
    /// Puts bytes into the start of `buffer`, which is not empty, and says how many; 0 is the end.
    fn read(&mut self, buffer: &mut [u8]) -> usize;
}

/// Where a guest's standard output or error goes to.
pub trait Output: Send {
    /// Takes all of `bytes`, which come as the guest writes them: lines are not put together.
    fn write(&mut self, bytes: &[u8]);
}

/// Time, in nanoseconds.
pub trait Clock: Send {
    /// Nanoseconds since 1970-01-01T00:00:00Z.
    fn realtime_ns(&mut self) -> u64;

    /// Nanoseconds since some moment; never fewer than before.
    fn monotonic_ns(&mut self) -> u64;

    /// The steps that both advance in; at least 1.
    fn resolution_ns(&self) -> u64;

    /// Waits until the monotonic clock shows `until_ns`, or says that the guest shall be paused.
    fn wait_until(&mut self, until_ns: u64) -> Wait;

    /// Lets others have the CPU, or says that the guest shall be paused.
    fn yield_now(&mut self) -> Wait;
}

/// How a wait ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// It is over.
    Done,
    /// The guest's call ends in a [`Pause`](palimpsest_engine::Pause), which a
    /// [`Task`](palimpsest_engine::Task) resumes when the time has come.
    Pause,
}

/// Random numbers.
pub trait Random: Send {
    /// Fills `bytes` with numbers that a guest may make keys from.
    fn fill(&mut self, bytes: &mut [u8]);
}

/// Memory for the files of a scratch directory.
pub trait Blocks: Send {
    /// One zeroed block of 4096 bytes, or `None` when there is none: the guest gets `ENOSPC`.
    fn allocate(&mut self) -> Option<Box<dyn Block>>;
}

/// A block that a file owns. Dropping it gives it back.
pub trait Block: Send + Debug {
    /// The bytes.
    fn bytes(&self) -> &[u8; BLOCK_BYTES];

    /// The bytes, to be changed.
    fn bytes_mut(&mut self) -> &mut [u8; BLOCK_BYTES];
}

/// No stream: an input at its end, an output that keeps nothing.
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
