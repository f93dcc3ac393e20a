//! What is asked of a backing and what it answers: strategies and policies, and figures in frames.

/// What becomes of the frames behind cleared pages. Every strategy leaves zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// Unmap and release; the next touch brings a zeroed frame. For most kernels.
    #[default]
    Decommit,
    /// Release, and map fresh zeroed frames before returning. For guests that must not fault later.
    Recommit,
    /// Zero in place and keep the frames. For tiny ranges, and where there is no MMU or a flush is dear.
    ZeroNow,
    /// Unmap and mark; a touch takes the page back as zero, and [`Store::reclaim`](crate::Store::reclaim)
    /// or a shortage of frames releases it. For callers who cannot wait.
    Deferred,
}

/// What a clear did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cleared {
    /// Data frames that are back in the frame source.
    pub frames_released: u64,
    /// Table frames that are back in the frame source.
    pub tables_released: u64,
    /// Frames that are kept: zeroed, or marked to be zeroed before they are seen again.
    pub frames_retained: u64,
    /// Fresh zeroed frames that were mapped in place of released ones.
    pub frames_committed: u64,
}

impl Cleared {
    /// Whether the memory holds as many frames fewer as the range had.
    #[must_use]
    pub fn is_released(&self) -> bool {
        self.frames_retained == 0 && self.frames_committed == 0
    }
}

/// When a memory's frames are charged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Commit {
    /// A frame is taken when a page is first written. A write that finds none loses the store.
    #[default]
    OnTouch,
    /// Every frame of the size, tables included, is promised when the memory is made or grows, which fails if
    /// they cannot be promised. A first touch cannot fail then.
    Reserved,
}

/// What a region holds, in frames, and what has happened to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Residency {
    /// Data frames mapped now.
    pub resident_frames: u64,
    /// The most that were mapped at a time.
    pub peak_resident_frames: u64,
    /// Table frames that the region owns now.
    pub table_frames: u64,
    /// Frames of cleared pages that wait to be reclaimed.
    pub deferred_frames: u64,
    /// Page faults that were resolved.
    pub faults: u64,
    /// Data frames that clears have released.
    pub frames_released: u64,
}

/// How a store stands with its arena, in frames; table frames are included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether the store still counts.
    pub health: Health,
    /// Frames held now.
    pub held_frames: u64,
    /// The most that were held at a time.
    pub peak_frames: u64,
    /// Frames charged: those held, or under [`Commit::Reserved`] those promised.
    pub charged_frames: u64,
}

/// Whether what a store's guest does still counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// All is well.
    Sound,
    /// A write went into the sink because no frame was left.
    Lost,
}
