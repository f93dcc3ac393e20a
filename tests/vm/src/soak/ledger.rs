//! What must be true of frames, addresses and the heap.

use alloc::format;
use alloc::string::String;

use kernel_demo::Machine;
use palimpsest_engine::StoreReport;
use palimpsest_paging::Usage;

use crate::harness::free_frames;
use crate::hostile::live_blocks;

/// The state of a machine without programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ledger {
    free_frames: u64,
    /// Frames that the address space holds.
    held_frames: u64,
    /// Frames that files have.
    file_frames: u64,
    reserved_bytes: u64,
    heap_bytes: usize,
}

impl Ledger {
    pub(super) fn of(machine: &Machine) -> Self {
        let free_frames = free_frames(machine);
        let usage = machine.space().usage();
        Self {
            free_frames,
            held_frames: frames_of(&usage),
            file_frames: live_blocks(),
            reserved_bytes: usage.reserved_bytes,
            heap_bytes: machine.heap().used_bytes,
        }
    }

    /// Compares the machine with what the stores report.
    ///
    /// # Errors
    ///
    /// The first difference.
    pub(super) fn compare(
        &self,
        machine: &Machine,
        stores: impl Iterator<Item = StoreReport>,
    ) -> Result<(), String> {
        let now = Self::of(machine);
        let usage = machine.space().usage();
        let (mut resident, mut ahead, mut deferred, mut tables, mut reserved) = (0, 0, 0, 0, 0);
        for store in stores {
            resident += store.resident_frames;
            ahead += store.ahead_frames;
            deferred += store.deferred_frames;
            tables += store.table_frames;
            reserved += store.reserved_bytes;
        }
        for (what, actual, expected) in [
            ("free frames, and those of memories and files", now.frames(), self.frames()),
            ("resident frames of the stores", resident, usage.resident_frames),
            ("frames ahead of the stores", ahead, usage.ahead_frames),
            ("deferred frames of the stores", deferred, usage.deferred_frames),
            ("tables of the stores", tables, usage.owned_table_frames),
            ("reserved bytes of the stores", reserved + self.reserved_bytes, usage.reserved_bytes),
        ] {
            if actual != expected {
                return Err(format!("{what}: {actual} instead of {expected}; {usage:?}"));
            }
        }
        if now.heap_bytes < self.heap_bytes {
            return Err(format!("{} bytes of heap in use, at the start {}", now.heap_bytes, self.heap_bytes));
        }
        Ok(())
    }

    /// All frames that have an owner in these books.
    fn frames(&self) -> u64 {
        self.free_frames + self.held_frames + self.file_frames
    }

    /// Compares a machine without programs with the start.
    ///
    /// # Errors
    ///
    /// The difference.
    pub(super) fn compare_empty(&self, machine: &Machine) -> Result<(), String> {
        let now = Self::of(machine);
        if now == *self { Ok(()) } else { Err(format!("without programs {now:?}, at the start {self:?}")) }
    }
}

fn frames_of(usage: &Usage) -> u64 {
    usage.resident_frames
        + usage.ahead_frames
        + usage.deferred_frames
        + usage.owned_table_frames
        + usage.shared_table_frames
        + usage.image_frames
        + usage.fixed_frames
}
