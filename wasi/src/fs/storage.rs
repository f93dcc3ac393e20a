//! The storage of a volume's files: blocks from the embedder, within a quota of bytes.
//!
//! A file with one byte in each of its blocks takes much more than its bytes: whole blocks, and for
//! each a place in the map of the file. Both are charged, as is each node, so the quota bounds the
//! memory of the embedder, however the guest distributes its bytes.
//!
//! A fork is charged for the blocks and nodes that it shares as if they were its own. So what it
//! copies later is within its quota.

use alloc::{boxed::Box, sync::Arc};
use core::fmt;
use wasip1::{ERRNO_NOSPC, Errno};

use super::work::Work;
use crate::world::{BLOCK_BYTES, Block, Blocks};

/// The charge for each block of a file, in bytes: 4096 for its content, and 128 of the heap.
///
/// On a 64-bit machine, a place in the map of a file has 24 bytes, and up to 65 in a tree that is
/// filled as sparsely as it can be. The rest is for the box around the block and its counts.
pub const BLOCK_CHARGE_BYTES: u64 = BLOCK_BYTES as u64 + 128;

/// The charge for each file or directory except for the root, in bytes of the heap.
///
/// It covers the node, its entries in the two maps of its directory, and the longest name.
pub const FILE_CHARGE_BYTES: u64 = 1024;

/// The source of a volume's blocks, and what was taken from it.
pub(super) struct Storage {
    /// None in an archive.
    source: Option<Box<dyn Blocks>>,
    /// The quota in bytes.
    limit: u64,
    /// The sum of the charges. It exceeds `limit` only in a fork whose limit is smaller than that
    /// of its snapshot.
    charged: u64,
    /// The work on the tree and on the blocks.
    work: Work,
}

impl Storage {
    /// Returns the storage of an archive: unlimited nodes, and no blocks.
    pub(super) fn none() -> Self {
        Self { source: None, limit: u64::MAX, charged: 0, work: Work::default() }
    }

    /// Returns storage for up to `limit` bytes, with blocks from `source`.
    pub(super) fn new(source: Box<dyn Blocks>, limit: u64) -> Self {
        Self { source: Some(source), limit, charged: 0, work: Work::default() }
    }

    /// Sets the sum of the charges to that of the files of a snapshot.
    pub(super) fn restore(&mut self, charged: u64) {
        self.charged = charged;
    }

    /// Returns the sum of the charges.
    pub(super) fn charged(&self) -> u64 {
        self.charged
    }

    /// Returns the work.
    pub(super) fn work(&self) -> &Work {
        &self.work
    }

    /// Returns `shared` for a change. Copies it if a snapshot or a fork uses it too: then `len` is
    /// the number of its entries, by which the copy costs.
    pub(super) fn own<'a, V: Clone>(
        &self,
        shared: &'a mut Arc<V>,
        len: impl FnOnce(&V) -> usize,
    ) -> &'a mut V {
        if Arc::strong_count(shared) > 1 {
            self.work.copied_entries(len(shared));
        }
        Arc::make_mut(shared)
    }

    /// Returns the bytes of a block for writing. Replaces the block by a copy if a snapshot or a
    /// fork uses it too. The charge stays the same.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if no block is free for the copy.
    pub(super) fn bytes_mut<'a>(
        &mut self,
        block: &'a mut Arc<dyn Block>,
    ) -> Result<&'a mut [u8; BLOCK_BYTES], Errno> {
        if Arc::get_mut(block).is_none() {
            let source = self.source.as_deref_mut();
            let mut copy = source.and_then(|source| source.allocate()).ok_or(ERRNO_NOSPC)?;
            let bytes = Arc::get_mut(&mut copy).ok_or(ERRNO_NOSPC)?;
            bytes.bytes_mut().copy_from_slice(block.bytes());
            self.work.copied_block();
            *block = copy;
        }
        Arc::get_mut(block).map(|block| block.bytes_mut()).ok_or(ERRNO_NOSPC)
    }

    pub(super) fn is_writable(&self) -> bool {
        self.source.is_some()
    }

    /// Charges a file or directory.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if it exceeds the quota.
    pub(super) fn charge_node(&mut self) -> Result<(), Errno> {
        self.charge(FILE_CHARGE_BYTES)
    }

    /// Allocates and charges a block.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if it exceeds the quota, or if no block is free.
    pub(super) fn allocate(&mut self) -> Result<Arc<dyn Block>, Errno> {
        self.charge(BLOCK_CHARGE_BYTES)?;
        let block = self.source.as_deref_mut().and_then(|source| source.allocate());
        if block.is_none() {
            self.release_blocks(1);
        }
        block.ok_or(ERRNO_NOSPC)
    }

    /// Subtracts the charge of a node that was freed.
    pub(super) fn release_node(&mut self) {
        self.charged = self.charged.saturating_sub(FILE_CHARGE_BYTES);
    }

    /// Subtracts the charges of blocks that were freed.
    pub(super) fn release_blocks(&mut self, count: usize) {
        self.charged = self.charged.saturating_sub(BLOCK_CHARGE_BYTES * count as u64);
    }

    fn charge(&mut self, bytes: u64) -> Result<(), Errno> {
        if self.limit.saturating_sub(self.charged) < bytes {
            return Err(ERRNO_NOSPC);
        }
        self.charged += bytes;
        Ok(())
    }
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("Storage");
        fields.field("limit", &self.limit).field("charged", &self.charged).finish_non_exhaustive()
    }
}
