//! The bytes of a file: a part of an archive, or blocks that come when they are written.
//!
//! A file of blocks may have holes, which read as zero and take nothing. What lies behind its end is zero in
//! the blocks too, so that a file which grows again shows nothing of what it was. Used by
//! [`Volume`](super::Volume).

use alloc::{
    boxed::Box,
    collections::{BTreeMap, btree_map::Entry},
};
use wasip1::{ERRNO_FBIG, ERRNO_NOSPC, ERRNO_ROFS, Errno};

use crate::world::{BLOCK_BYTES, Block, Blocks};

/// The largest size of a file in bytes: what a `filedelta` can name.
pub(super) const FILE_BYTES_MAX: u64 = i64::MAX as u64;

/// What a block that was never written reads as.
static HOLE: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];

/// A file's bytes.
#[derive(Debug)]
pub(super) enum Content {
    /// Part of an archive; never changes.
    Archived(&'static [u8]),
    /// Blocks by their number in the file, where something was written.
    Scratch { len: u64, blocks: BTreeMap<u64, Box<dyn Block>> },
}

impl Content {
    /// A file without bytes that can be written.
    pub(super) fn scratch() -> Self {
        Self::Scratch { len: 0, blocks: BTreeMap::new() }
    }

    /// The number of bytes.
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Archived(bytes) => bytes.len() as u64,
            Self::Scratch { len, .. } => *len,
        }
    }

    /// Reads from `offset` on, as much as there is, and returns how much that was.
    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let left = self.len().saturating_sub(offset);
        let len = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let buffer = &mut buffer[..len];
        match self {
            Self::Archived(bytes) => {
                let start = bytes.len() - usize::try_from(left).expect("an archive is in memory");
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

    /// Writes at `offset`, with blocks from `source`, and returns how much was written: less than all if
    /// there are no more blocks.
    ///
    /// # Errors
    ///
    /// `EROFS` in an archive, `EFBIG` beyond the largest size, `ENOSPC` if there is no block at all.
    pub(super) fn write(
        &mut self,
        source: &mut dyn Blocks,
        offset: u64,
        bytes: &[u8],
    ) -> Result<usize, Errno> {
        let Self::Scratch { len, blocks } = self else { return Err(ERRNO_ROFS) };
        let end = offset.checked_add(bytes.len() as u64).filter(|end| *end <= FILE_BYTES_MAX);
        end.ok_or(ERRNO_FBIG)?;
        let mut written = 0;
        for piece in Pieces::new(offset, bytes.len()) {
            let block = match blocks.entry(piece.block) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => {
                    let Some(block) = source.allocate() else { break };
                    entry.insert(block)
                }
            };
            let part = &bytes[piece.at..piece.at + piece.len];
            block.bytes_mut()[piece.start..piece.start + piece.len].copy_from_slice(part);
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

    /// Cuts the file off at `size`, or lets it end there, behind a hole.
    ///
    /// # Errors
    ///
    /// `EROFS` in an archive, `EFBIG` beyond the largest size.
    pub(super) fn resize(&mut self, size: u64) -> Result<(), Errno> {
        let Self::Scratch { len, blocks } = self else { return Err(ERRNO_ROFS) };
        if size > FILE_BYTES_MAX {
            return Err(ERRNO_FBIG);
        }
        drop(blocks.split_off(&size.div_ceil(BLOCK_BYTES as u64)));
        let Pieces { block, start, .. } = Pieces::new(size, 0);
        if let Some(last) = blocks.get_mut(&block) {
            last.bytes_mut()[start..].fill(0);
        }
        *len = size;
        Ok(())
    }
}

/// The parts of a range of a file, block by block.
struct Pieces {
    block: u64,
    start: usize,
    at: usize,
    left: usize,
}

/// The part of a range that lies in one block.
struct Piece {
    /// Which block of the file.
    block: u64,
    /// The first byte in the block.
    start: usize,
    /// The first byte in the range.
    at: usize,
    /// The number of bytes.
    len: usize,
}

impl Pieces {
    fn new(offset: u64, len: usize) -> Self {
        let start = usize::try_from(offset % BLOCK_BYTES as u64).expect("it is below 4096");
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
