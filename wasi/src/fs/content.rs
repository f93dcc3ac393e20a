//! The bytes of a file: a slice of an archive, or blocks that are allocated on write.
//!
//! Snapshots and forks share blocks with the file that they were made of. A file that writes to a
//! shared block replaces it by a copy.
//!
//! A file of blocks may have holes, which read as zeros and use no block. The bytes of the last
//! block beyond the end of the file are zero. A file that is truncated and extended therefore shows
//! none of its previous bytes.

use alloc::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};
use wasip1::{ERRNO_FBIG, ERRNO_NOSPC, ERRNO_ROFS, Errno};

use super::storage::Storage;
use crate::world::{BLOCK_BYTES, Block};

/// The largest size of a file in bytes. It is the largest `filedelta`.
pub(super) const FILE_BYTES_MAX: u64 = i64::MAX as u64;

/// The bytes of a block that was never written.
static HOLE: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];

/// The bytes of a file.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// A slice of an archive. It never changes.
    Archived(&'static [u8]),
    /// The blocks that were written, indexed by their number in the file.
    Scratch { len: u64, blocks: Arc<BTreeMap<u64, Arc<dyn Block>>> },
}

impl Content {
    /// Creates an empty file that can be written.
    pub(super) fn scratch() -> Self {
        Self::Scratch { len: 0, blocks: Arc::default() }
    }

    /// Returns the size in bytes.
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Archived(bytes) => bytes.len() as u64,
            Self::Scratch { len, .. } => *len,
        }
    }

    /// Reads the bytes from `offset`, and returns how many were read.
    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let left = self.len().saturating_sub(offset);
        let len = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let buffer = &mut buffer[..len];
        match self {
            Self::Archived(bytes) => {
                let start = bytes.len() - usize::try_from(left).expect("`left` is at most `bytes.len()`");
                buffer.copy_from_slice(&bytes[start..start + len]);
            }
            Self::Scratch { blocks, .. } => {
                for piece in Pieces::new(offset, len) {
                    let part = &mut buffer[piece.at..piece.at + piece.len];
                    let block = blocks.get(&piece.block).map(|block| block.bytes());
                    let bytes = block.unwrap_or(&HOLE);
                    part.copy_from_slice(&bytes[piece.start..piece.start + piece.len]);
                }
            }
        }
        len
    }

    /// Returns the number of blocks.
    pub(super) fn blocks(&self) -> usize {
        match self {
            Self::Archived(_) => 0,
            Self::Scratch { blocks, .. } => blocks.len(),
        }
    }

    /// Writes at `offset` into blocks from `storage`. Returns fewer bytes than were passed if
    /// `storage` has no block for the rest.
    ///
    /// # Errors
    ///
    /// `EROFS` in an archive, `EFBIG` beyond the largest size, `ENOSPC` if `storage` has no block
    /// for the first byte.
    pub(super) fn write(&mut self, storage: &mut Storage, offset: u64, bytes: &[u8]) -> Result<usize, Errno> {
        let Self::Scratch { len, blocks } = self else { return Err(ERRNO_ROFS) };
        let end = offset.checked_add(bytes.len() as u64).filter(|end| *end <= FILE_BYTES_MAX);
        end.ok_or(ERRNO_FBIG)?;
        let blocks = storage.own(blocks, BTreeMap::len);
        let mut written = 0;
        for piece in Pieces::new(offset, bytes.len()) {
            let block = match blocks.entry(piece.block) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => {
                    let Ok(block) = storage.allocate() else { break };
                    entry.insert(block)
                }
            };
            let Ok(block) = storage.bytes_mut(block) else { break };
            let part = &bytes[piece.at..piece.at + piece.len];
            block[piece.start..piece.start + piece.len].copy_from_slice(part);
            written += piece.len;
        }
        if written == 0 && !bytes.is_empty() {
            return Err(ERRNO_NOSPC);
        }
        if written > 0 {
            *len = (*len).max(offset + written as u64);
        }
        Ok(written)
    }

    /// Truncates the file to `size`, or extends it with a hole.
    ///
    /// # Errors
    ///
    /// `EROFS` in an archive, `EFBIG` beyond the largest size, `ENOSPC` if the last block is shared
    /// and `storage` has no block for a copy.
    pub(super) fn resize(&mut self, storage: &mut Storage, size: u64) -> Result<(), Errno> {
        let Self::Scratch { len, blocks } = self else { return Err(ERRNO_ROFS) };
        if size > FILE_BYTES_MAX {
            return Err(ERRNO_FBIG);
        }
        if size < *len {
            let blocks = storage.own(blocks, BTreeMap::len);
            let Pieces { block, start, .. } = Pieces::new(size, 0);
            // A file that ends at the start of a block does not keep the block.
            if let Some(last) = blocks.get_mut(&block).filter(|_| start > 0) {
                storage.bytes_mut(last)?[start..].fill(0);
            }
            let freed = blocks.split_off(&size.div_ceil(BLOCK_BYTES as u64));
            storage.release_blocks(freed.len());
        }
        *len = size;
        Ok(())
    }
}

/// Divides a range of a file at the boundaries of blocks.
struct Pieces {
    block: u64,
    start: usize,
    at: usize,
    left: usize,
}

/// The part of a range in one block.
struct Piece {
    /// The number of the block in the file.
    block: u64,
    /// The offset of the part in the block.
    start: usize,
    /// The offset of the part in the range.
    at: usize,
    /// The number of bytes.
    len: usize,
}

impl Pieces {
    fn new(offset: u64, len: usize) -> Self {
        let start = usize::try_from(offset % BLOCK_BYTES as u64).expect("the remainder is below 4096");
        Self { block: offset / BLOCK_BYTES as u64, start, at: 0, left: len }
    }
}

impl Iterator for Pieces {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        if self.left == 0 {
            return None;
        }
        let len = self.left.min(BLOCK_BYTES - self.start);
        let piece = Piece { block: self.block, start: self.start, at: self.at, len };
        self.block += 1;
        self.start = 0;
        self.at += len;
        self.left -= len;
        Some(piece)
    }
}
