//! The checksum of a prepared module: CRC-32 of IEEE 802.3, as in gzip and PNG.

/// The remainders of all half bytes. A table of whole bytes is twice as fast, and takes 1 KiB of
/// flash.
const TABLE: [u32; 16] = {
    let mut table = [0; 16];
    let mut half_byte = 0;
    while half_byte < 16 {
        let mut remainder = half_byte;
        let mut bit = 0;
        while bit < 4 {
            remainder = if remainder & 1 == 1 { remainder >> 1 ^ POLYNOMIAL } else { remainder >> 1 };
            bit += 1;
        }
        table[half_byte as usize] = remainder;
        half_byte += 1;
    }
    table
};

/// The generator polynomial, with its bits reversed.
const POLYNOMIAL: u32 = 0xedb8_8320;

/// Returns the checksum of all `pieces`, as if they were one.
pub(super) fn checksum<const N: usize>(pieces: [&[u8]; N]) -> u64 {
    let bytes = pieces.into_iter().flatten();
    let crc = bytes.fold(u32::MAX, |crc, byte| {
        let crc = crc ^ u32::from(*byte);
        let crc = crc >> 4 ^ TABLE[(crc & 15) as usize];
        crc >> 4 ^ TABLE[(crc & 15) as usize]
    });
    (!crc).into()
}

#[cfg(test)]
mod tests {
    use super::checksum;

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        assert_eq!(checksum([b"123456789"]), 0xcbf4_3926);
        assert_eq!(checksum([b"1234", b"56789"]), 0xcbf4_3926);
        assert_eq!(checksum([]), 0);
    }
}
