//! The figures of a region: what its record counts, and what its owner gets to see.

use crate::table::FrameCounts;

/// The frames of a region, and the events of its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Residency {
    /// Data frames of pages that were written.
    pub resident_frames: u64,
    /// Data frames that were committed ahead and never written. They are released before any
    /// allocation fails.
    pub ahead_frames: u64,
    /// The largest number of resident frames and frames ahead that the region ever held at once.
    pub peak_resident_frames: u64,
    /// Data frames of deferred pages: not resident, and not released yet.
    pub deferred_frames: u64,
    /// Table frames that belong to the region alone. Those that it shares are in the space's
    /// [`Usage`](crate::Usage).
    pub table_frames: u64,
    /// Page faults that were handled in the region.
    pub faults: u64,
    /// Data frames that were released since the region was made.
    pub frames_released: u64,
    /// Table frames of the region that were released since it was made.
    pub tables_released: u64,
    /// Table frames that the region has given up since it was made, and that were released, or will
    /// be, when other CPUs have flushed their TLBs.
    pub tables_waited: u64,
}

/// The counters in the record of a region.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Figures {
    /// Data frames within the CPU's reach, resident or ahead.
    pub(crate) mapped_frames: u64,
    pub(crate) peak_mapped_frames: u64,
    pub(crate) deferred_frames: u64,
    pub(crate) table_frames: u64,
    pub(crate) faults: u64,
    pub(crate) frames_released: u64,
    pub(crate) tables_released: u64,
    pub(crate) tables_waited: u64,
}

impl Figures {
    /// Counts frames that were mapped.
    #[inline]
    pub(crate) fn count_mapped(&mut self, frames: u64) {
        self.mapped_frames += frames;
        self.peak_mapped_frames = self.peak_mapped_frames.max(self.mapped_frames);
    }

    /// Counts frames that were taken out of their entries, or out of the CPU's reach.
    pub(crate) const fn forget(&mut self, frames: FrameCounts) {
        self.mapped_frames -= frames.mapped;
        self.deferred_frames -= frames.deferred;
    }

    /// Frames that the region holds, tables included.
    pub(crate) const fn held(&self) -> u64 {
        self.mapped_frames + self.deferred_frames + self.table_frames
    }

    /// Frames that the region has released, tables included.
    pub(crate) const fn released(&self) -> u64 {
        self.frames_released + self.tables_released
    }

    /// The figures for the region's owner, so many of its frames being ahead.
    pub(crate) const fn residency(&self, ahead_frames: u64) -> Residency {
        Residency {
            resident_frames: self.mapped_frames - ahead_frames,
            ahead_frames,
            peak_resident_frames: self.peak_mapped_frames,
            deferred_frames: self.deferred_frames,
            table_frames: self.table_frames,
            faults: self.faults,
            frames_released: self.frames_released,
            tables_released: self.tables_released,
            tables_waited: self.tables_waited,
        }
    }
}
