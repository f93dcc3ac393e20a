//! Random bytes for guests.
//!
//! The source is the CPU's RDRAND. On a CPU without it, it is ChaCha20 seeded with the time-stamp
//! counter, which is good enough for hash tables but not for keys.

use alloc::boxed::Box;

use palimpsest_wasi::{NoRandom, Random, RdRand};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::clock;

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
}

impl Random for Entropy {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoRandom> {
        if let Source::Hardware(cpu) = &mut self.source {
            if cpu.fill(bytes).is_ok() {
                return Ok(());
            }
            self.source = Source::software();
        }
        if let Source::Software(generator) = &mut self.source {
            generator.fill_bytes(bytes);
        }
        Ok(())
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
