//! Inputs that are made of pseudorandom numbers.

/// Returns the input with this number under `seed`: up to `most_bytes` bytes, each magnitude of
/// length equally likely.
#[must_use]
pub fn input(seed: u64, number: u64, most_bytes: usize) -> Vec<u8> {
    let mut numbers = Numbers(seed ^ number.wrapping_mul(0xd1b5_4a32_d192_ed03));
    let magnitude = numbers.below(u64::from(most_bytes.ilog2()) + 1);
    let len = (1 << magnitude) + numbers.below(1 << magnitude);
    // Half of the inputs repeat few values, as a byte that selects an operation needs it.
    let is_narrow = numbers.below(2) == 0;
    let mut bytes = Vec::new();
    while bytes.len() < most_bytes.min(usize::try_from(len).unwrap_or(most_bytes)) {
        let word = numbers.next().to_le_bytes();
        if is_narrow && word[7] < 0x80 {
            bytes.push(word[0] & 15);
        } else {
            bytes.extend_from_slice(&word[..1 + usize::from(word[7] % 7)]);
        }
    }
    bytes.truncate(most_bytes);
    bytes
}

/// SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators", 2014).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_depends_on_seed_and_number_only() {
        assert_eq!(input(1, 2, 4096), input(1, 2, 4096));
        assert_ne!(input(1, 2, 4096), input(1, 3, 4096));
        assert_ne!(input(1, 2, 4096), input(2, 2, 4096));
    }

    #[test]
    fn inputs_have_lengths_of_every_magnitude() {
        let lengths: Vec<usize> = (0..1000).map(|number| input(1, number, 4096).len()).collect();
        assert!(lengths.iter().all(|len| (1..=4096).contains(len)));
        for magnitude in 0..12 {
            assert!(lengths.iter().any(|len| len.ilog2() == magnitude), "{magnitude}");
        }
    }
}
