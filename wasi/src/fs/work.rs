//! The work on a tree, which a metered guest pays for.
//!
//! The bytes that a call reads and writes do not show how much it does: a short path may lead
//! through many directories, and one byte may need a new block.

use core::cell::Cell;

use crate::{memory::BYTES_PER_UNIT, world::BLOCK_BYTES};

/// The price of a step from one directory to another, in units of fuel. A step takes about as long
/// as copying 512 bytes.
const STEP_UNITS: u64 = 8;

/// The price of a new block, which the embedder zeroes, in units of fuel.
const NEW_BLOCK_UNITS: u64 = BLOCK_BYTES as u64 / BYTES_PER_UNIT;

/// The price of freeing a block, in units of fuel.
const FREED_BLOCK_UNITS: u64 = STEP_UNITS;

/// The price of copying an entry of a map that is shared with a snapshot, in units of fuel.
const COPIED_ENTRY_UNITS: u64 = STEP_UNITS;

/// The work since the last call of [`take`](Self::take), in units of fuel.
#[derive(Debug, Default)]
pub(super) struct Work(Cell<u64>);

impl Work {
    /// Adds the lookup of a component of a path, or of a parent.
    pub(super) fn step(&self) {
        self.add(STEP_UNITS);
    }

    /// Adds the change of a file's number of blocks.
    pub(super) fn resized(&self, before: usize, after: usize) {
        self.add(after.saturating_sub(before) as u64 * NEW_BLOCK_UNITS);
        self.add(before.saturating_sub(after) as u64 * FREED_BLOCK_UNITS);
    }

    /// Adds the copy of a block that is shared.
    pub(super) fn copied_block(&self) {
        self.add(NEW_BLOCK_UNITS);
    }

    /// Adds the copy of a map that is shared.
    pub(super) fn copied_entries(&self, count: usize) {
        self.add(count as u64 * COPIED_ENTRY_UNITS);
    }

    /// Returns the sum and sets it to 0.
    pub(super) fn take(&self) -> u64 {
        self.0.take()
    }

    fn add(&self, units: u64) {
        self.0.set(self.0.get().saturating_add(units));
    }
}
