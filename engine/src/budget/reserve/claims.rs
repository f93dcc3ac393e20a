//! The claims on the reserve, by their size.
//!
//! A claim is rounded up to one of the sizes below, and each size has a count. So the largest claim
//! is found without a list, and a claim takes no heap. Each size is at most an eighth larger than
//! the one before.

use core::sync::atomic::{AtomicU32, Ordering::SeqCst};

/// The sizes between a power of two and the next.
const STEPS: usize = 8;
/// The smallest size is [`STEPS`] units.
const UNIT_BYTES: usize = 512;
/// The number of sizes: from 4 KiB to almost 2 GiB.
const CLASSES: usize = 19 * STEPS;

/// How many claims of each size there are.
pub(super) struct Claims {
    counts: [AtomicU32; CLASSES],
}

impl Claims {
    pub(super) const fn none() -> Self {
        Self { counts: [const { AtomicU32::new(0) }; CLASSES] }
    }

    /// Adds a claim of `bytes`. Returns its class, or `None` if no class is as large.
    pub(super) fn add(&self, bytes: usize) -> Option<usize> {
        let class = class_of(bytes)?;
        self.counts[class].fetch_add(1, SeqCst);
        Some(class)
    }

    /// Removes a claim of this class.
    pub(super) fn remove(&self, class: usize) {
        self.counts[class].fetch_sub(1, SeqCst);
    }

    /// Returns the size of the largest claim, or 0.
    pub(super) fn largest_bytes(&self) -> usize {
        self.counts.iter().rposition(|count| count.load(SeqCst) > 0).map_or(0, size_of_class)
    }
}

/// Returns the class with the smallest size that is at least `bytes`.
fn class_of(bytes: usize) -> Option<usize> {
    let units = bytes.div_ceil(UNIT_BYTES).max(STEPS);
    // As many units are 8 to 15 times this power of two.
    let octave = units.ilog2() - STEPS.ilog2();
    let steps = units.div_ceil(1 << octave);
    // 16 steps are the first size of the next octave.
    Some(octave as usize * STEPS + steps - STEPS).filter(|&class| class < CLASSES)
}

/// Returns the size of a class in bytes.
fn size_of_class(class: usize) -> usize {
    ((STEPS + class % STEPS) * UNIT_BYTES) << (class / STEPS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_at_least_as_large_as_its_claims_and_an_eighth_larger_at_most() {
        for bytes in
            (0..1 << 16).chain((16..30).flat_map(|log2| [(1 << log2) - 1, 1 << log2, (1 << log2) + 1]))
        {
            let class = class_of(bytes).expect("the size is within the classes");
            let size = size_of_class(class);
            assert!(size >= bytes, "{bytes} in {size}");
            assert!(size == 4096 || size <= bytes + bytes / 8 + UNIT_BYTES, "{bytes} in {size}");
            assert!(class == 0 || size_of_class(class - 1) < bytes, "{bytes} in {size}");
        }
        assert_eq!(class_of(1 << 31), None);
        assert_eq!(class_of(usize::MAX), None);
    }

    #[test]
    fn the_largest_claim_is_found_after_others_end() {
        let claims = Claims::none();
        assert_eq!(claims.largest_bytes(), 0);
        let small = claims.add(5_000).expect("there is a class");
        let large = claims.add(1 << 20).expect("there is a class");
        let same = claims.add(1 << 20).expect("there is a class");
        assert_eq!(claims.largest_bytes(), 1 << 20);
        claims.remove(large);
        assert_eq!(claims.largest_bytes(), 1 << 20);
        claims.remove(same);
        assert_eq!(claims.largest_bytes(), 5_120);
        claims.remove(small);
        assert_eq!(claims.largest_bytes(), 0);
    }
}
