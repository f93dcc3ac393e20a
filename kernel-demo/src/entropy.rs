//! Random bytes for guests.
//!
//! The source is the CPU's RDRAND. On a CPU without it, it is ChaCha20 seeded with the time-stamp
//! counter, which is good enough for hash tables but not for keys.

use alloc::boxed::Box;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use x86_64::instructions::random::RdRand;

use crate::clock;

/// The number of attempts before RDRAND counts as broken. Intel recommends ten (SDM Vol 1
/// 7.3.17.1).
const ATTEMPTS: u32 = 10;

/// A source of random bytes.
#[derive(Debug)]
pub struct Entropy {
    source: Source,
}

#[derive(Debug)]
enum Source {
    Hardware(RdRand),
    Software(Box<ChaCha20Rng>),
}

impl Entropy {
    /// Returns the best source that this CPU has.
    #[must_use]
    pub fn new() -> Self {
        let source = RdRand::new().map_or_else(Source::software, Source::Hardware);
        Self { source }
    }

    /// Fills `bytes` with random bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(size_of::<u64>()) {
            let random = self.next().to_le_bytes();
            chunk.copy_from_slice(&random[..chunk.len()]);
        }
    }

    fn next(&mut self) -> u64 {
        let cpu = match &mut self.source {
            Source::Software(generator) => return generator.next_u64(),
            Source::Hardware(cpu) => *cpu,
        };
        if let Some(random) = (0..ATTEMPTS).find_map(|_| cpu.get_u64()) {
            return random;
        }
        self.source = Source::software();
        self.next()
    }
}

impl Default for Entropy {
    fn default() -> Self {
        Self::new()
    }
}

impl Source {
    fn software() -> Self {
        Self::Software(Box::new(ChaCha20Rng::seed_from_u64(clock::ticks())))
    }
}
