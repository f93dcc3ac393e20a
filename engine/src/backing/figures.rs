//! The figures that a backing reports, in frames.

use super::FrameShortage;

/// The result of a clear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cleared {
    /// Data frames that are in the frame source again, or on a [`Fixed`](crate::Fixed) backing in
    /// its arenas.
    pub frames_released: u64,
    /// Table frames that are in the frame source again.
    pub tables_released: u64,
    /// Table frames that will be there when other CPUs, which have run the store, have flushed
    /// their TLBs. With one CPU there are none.
    pub tables_waiting: u64,
    /// Frames that the memory keeps: zeroed, or marked to be zeroed before they are seen again.
    pub frames_retained: u64,
    /// Fresh zeroed frames that were mapped in place of released ones.
    pub frames_committed: u64,
}

impl Cleared {
    /// Returns whether every frame of the range was released and none was mapped in its place.
    #[must_use]
    pub fn is_released(&self) -> bool {
        self.frames_retained == 0 && self.frames_committed == 0
    }
}

/// The frames of a memory, and counts of its faults and releases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryResidency {
    /// Data frames of pages that were written.
    pub resident_frames: u64,
    /// Data frames that were committed ahead of a run of writes and never written. They are
    /// released before any allocation fails.
    pub ahead_frames: u64,
    /// The most resident frames and frames ahead that were held at a time.
    pub peak_resident_frames: u64,
    /// Table frames that the memory's region owns at present.
    pub table_frames: u64,
    /// Frames of cleared pages that wait to be reclaimed.
    pub deferred_frames: u64,
    /// Frames of cleared pages that others may use until the store is next called, on a
    /// [`Fixed`](crate::Fixed) backing.
    pub lent_frames: u64,
    /// Page faults that were resolved.
    pub faults: u64,
    /// Data frames that clears have released.
    pub frames_released: u64,
    /// Table frames that clears have released.
    pub tables_released: u64,
    /// Table frames that clears have emptied and that were released, or will be, when other CPUs
    /// have flushed their TLBs.
    pub tables_waited: u64,
}

/// What one store may have by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shares {
    /// Bytes of address space.
    pub(crate) address_bytes: u64,
    /// Frames, table frames included.
    pub(crate) resident_frames: u64,
}

/// The state of a store's account, in frames; table frames are included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The most frames that the store may hold.
    pub(crate) cap_frames: u64,
    /// Whether the store is still valid.
    pub(crate) health: Health,
    /// Frames held at present.
    pub(crate) held_frames: u64,
    /// The most frames that were held at a time.
    pub(crate) peak_frames: u64,
    /// Frames charged: those held, or under [`Commit::Reserved`](crate::Commit::Reserved) those
    /// reserved.
    pub(crate) charged_frames: u64,
}

/// Whether a store is still valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// Every write of its guest was kept.
    Sound,
    /// A write went into the sink because no frame was left, for this reason.
    #[cfg_attr(
        not(all(feature = "paging", target_arch = "x86_64")),
        expect(dead_code, reason = "the fixed backing has every frame from the start")
    )]
    Lost(FrameShortage),
    /// The guest has touched a page that is lent and closed, this many bytes from the start of its
    /// memory.
    Touched {
        /// Bytes.
        offset: u64,
    },
}
