//! The hash of a prepared module's bytes, and of the sources of the splice.

/// What a hash starts with.
pub(crate) const START: u64 = 0;

/// The multiplier of FxHash, which is odd.
const MULTIPLIER: u64 = 0x517c_c1b7_2722_0a95;

/// Continues `hash` with `bytes`, as words of 8 bytes of which the last is filled with zeros.
///
/// A step maps different hashes to different ones, and different words too. Therefore a change
/// within one word always changes the result. One that was made on purpose need not. A word takes
/// five instructions, and no table takes flash.
pub(crate) const fn hashed(mut hash: u64, mut bytes: &[u8]) -> u64 {
    while let Some((word, rest)) = bytes.split_first_chunk() {
        hash = step(hash, u64::from_le_bytes(*word));
        bytes = rest;
    }
    let mut last = 0;
    let mut shift = 0;
    while let Some((byte, rest)) = bytes.split_first() {
        last |= (*byte as u64) << shift;
        shift += 8;
        bytes = rest;
    }
    step(hash, last)
}

const fn step(hash: u64, word: u64) -> u64 {
    (hash.rotate_left(5) ^ word).wrapping_mul(MULTIPLIER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_rotated_in_and_multiplied() {
        assert_eq!(hashed(START, &[]), 0);
        assert_eq!(hashed(START, &[1]), MULTIPLIER);
        let whole = hashed(START, &[1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(whole, MULTIPLIER.rotate_left(5).wrapping_mul(MULTIPLIER));
    }

    #[test]
    fn two_changes_of_the_highest_bit_do_not_cancel() {
        let mut bytes = [7; 32];
        let original = hashed(START, &[7; 32]);
        bytes[7] ^= 0x80;
        bytes[15] ^= 0x80;
        assert_ne!(hashed(START, &bytes), original);
    }
}
