//! What an address space takes up.
//!
//! The figures are summed up from the regions' records under one hold of the lock, so they fit together.
//! Called by: the embedder, for its reports.

use super::AddressSpace;
use crate::platform::Platform;
use crate::table::Sink;

impl<P: Platform> AddressSpace<P> {
    /// What all regions together take up now.
    pub fn usage(&self) -> Usage {
        self.with_state(|state, _| {
            let fixed_frames = state.tables.level3_frames() + 1 + Sink::FRAMES;
            let shared_table_frames = state.tables.shared_frames();
            let image_frames = state.image_frames;
            let start = Usage { fixed_frames, shared_table_frames, image_frames, ..Usage::default() };
            state.directory.records().iter().fold(start, |sum, record| Usage {
                regions: sum.regions + 1,
                reserved_bytes: sum.reserved_bytes + record.pages.size(),
                resident_frames: sum.resident_frames + record.residency.resident_frames,
                deferred_frames: sum.deferred_frames + record.residency.deferred_frames,
                owned_table_frames: sum.owned_table_frames + record.residency.table_frames,
                ..sum
            })
        })
    }
}

/// What an address space takes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Regions that are alive.
    pub regions: u64,
    /// Bytes of the regions' capacities together.
    pub reserved_bytes: u64,
    /// Data frames that are mapped in all regions.
    pub resident_frames: u64,
    /// Data frames of deferred pages.
    pub deferred_frames: u64,
    /// Table frames that belong to one region each.
    pub owned_table_frames: u64,
    /// Table frames that small regions share. They go when the last of their regions does.
    pub shared_table_frames: u64,
    /// Frames of images, each counted once however many regions show it.
    pub image_frames: u64,
    /// Frames that the space keeps for life: the zero frame, the sink and the level-3 tables.
    pub fixed_frames: u64,
}
