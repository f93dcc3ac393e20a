//! The figures of a region.

use crate::table::FrameCounts;

/// The frames of a region, and the events of its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Residency {
    /// Data frames that are mapped in the region, touched or committed ahead.
    pub resident_frames: u64,
    /// The largest number of data frames that were ever mapped in it at once.
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
}

impl Residency {
    #[inline]
    pub(crate) fn count_resident(&mut self, frames: u64) {
        self.resident_frames += frames;
        self.peak_resident_frames = self.peak_resident_frames.max(self.resident_frames);
    }

    pub(crate) const fn forget(&mut self, frames: FrameCounts) {
        self.resident_frames -= frames.resident;
        self.deferred_frames -= frames.deferred;
    }
}
