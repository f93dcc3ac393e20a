//! The first bytes of a prepared module, and the checks of the file as a whole.

use super::{
    hash::{START, hashed},
    identity::SPLICE,
    reader::Reader,
    slice,
};
use crate::module::PreparedError;

/// The first bytes of a prepared module.
pub(super) const MAGIC: [u8; 4] = *b"\0plm";
/// The version of the format.
const VERSION: u32 = 1;
/// The offsets of the checksum, and of what follows it.
const CHECKSUM_AT: usize = 16;
const CONTENT_AT: usize = 24;

/// The contents of a head: where the parts of the file are.
#[derive(Clone, Copy, Debug)]
pub(in crate::module) struct Head {
    /// The length of the spliced module, which follows the head.
    pub(in crate::module) wasm_bytes: u64,
    /// The offset of the numbers.
    pub(in crate::module) numbers_at: u64,
}

impl Head {
    /// The length of a head.
    pub(in crate::module) const BYTES: usize = 48;

    /// Writes the head of a file that is otherwise complete.
    #[cfg(feature = "splice")]
    pub(in crate::module) fn write(self, file: &mut [u8]) {
        let length = file.len() as u64;
        let (start, content) = file.split_at_mut(CONTENT_AT);
        let numbers = [SPLICE, self.wasm_bytes, self.numbers_at].map(u64::to_le_bytes);
        content[..Self::BYTES - CONTENT_AT].copy_from_slice(numbers.as_flattened());
        start[..4].copy_from_slice(&MAGIC);
        start[4..8].copy_from_slice(&VERSION.to_le_bytes());
        start[8..CHECKSUM_AT].copy_from_slice(&length.to_le_bytes());
        let checksum = checksum(&start[..CHECKSUM_AT], content);
        start[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
    }

    /// Checks that `bytes` start with a whole prepared module of this version. Returns its head and
    /// its bytes.
    ///
    /// # Errors
    ///
    /// [`PreparedError`] if it is none, of another version, truncated, damaged, or of another
    /// splice.
    pub(super) fn read(bytes: &[u8]) -> Result<(Self, &[u8]), PreparedError> {
        let start = bytes.get(..MAGIC.len()).unwrap_or(bytes);
        if start.is_empty() || !MAGIC.starts_with(start) {
            return Err(PreparedError::NotPrepared { found: start.into() });
        }
        let truncated = |expected| PreparedError::Truncated { bytes: bytes.len(), expected };
        if bytes.len() < Self::BYTES {
            return Err(truncated(Self::BYTES as u64));
        }
        let mut reader = Reader::new(bytes);
        let magic_and_version = reader.number()?;
        let length = reader.number()?;
        let stored = reader.number()?;
        let found = (magic_and_version >> 32) as u32;
        if found != VERSION {
            return Err(PreparedError::OtherVersion { found, expected: VERSION });
        }
        let whole = slice(bytes, 0, length).map_err(|_| truncated(length))?;
        let content = whole.get(CONTENT_AT..).ok_or(PreparedError::Malformed)?;
        let checksum = checksum(&whole[..CHECKSUM_AT], content);
        if checksum != stored {
            return Err(PreparedError::Damaged { found: checksum, expected: stored });
        }
        let splice = reader.number()?;
        let wasm_bytes = reader.number()?;
        let numbers_at = reader.number()?;
        if splice != SPLICE {
            return Err(PreparedError::OtherSplice { found: splice, expected: SPLICE });
        }
        Ok((Self { wasm_bytes, numbers_at }, whole))
    }
}

/// Returns the hash of everything in a file but the hash itself.
fn checksum(start: &[u8], content: &[u8]) -> u64 {
    hashed(hashed(START, start), content)
}
