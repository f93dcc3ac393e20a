//! The one seam between the engine and memory: what linear memory is made of.
//!
//! A [`Backing`] opens one [`Arena`] for each store; the arena reserves a [`Region`] for each linear memory.
//! Two implementations exist from the first day: `Paged` (ring 0, demand-paged, frames go back) and
//! [`Fixed`] (a byte slice, for firmware without an MMU and for tests on a host). This file is one of
//! the engine's two with `unsafe` in it: the traits are unsafe to implement, because wasmi reads and writes
//! through the pointer that [`Region::bytes`] returns.

#![allow(unsafe_code)]

mod fixed;
#[cfg(all(feature = "paging", target_arch = "x86_64"))]
mod paged;

use alloc::boxed::Box;
use core::{fmt::Debug, ptr::NonNull};
use thiserror::Error;

use crate::{live::LiveBytes, units::Span};
pub use fixed::Fixed;
#[cfg(all(feature = "paging", target_arch = "x86_64"))]
pub use paged::Paged;

/// Where linear memories come from; shared by all stores of an engine.
///
/// # Safety
///
/// Every arena that it opens keeps the contract of [`Arena`].
pub unsafe trait Backing: Debug + Send + Sync {
    /// Opens the share of one store. `cap_frames` is the most that it may hold, table frames included.
    fn open(&self, cap_frames: Option<u64>, commit: Commit) -> Box<dyn Arena>;
}

/// One store's share of a backing.
///
/// # Safety
///
/// Every region that it reserves keeps the contract of [`Region`], for as long as the region lives, even
/// after the arena is dropped.
pub unsafe trait Arena: Debug + Send + Sync {
    /// Reserves a region of at least `size.initial` bytes and of `size.maximum` if it can, with the limit
    /// at `size.initial`.
    ///
    /// # Errors
    ///
    /// See [`ReserveError`]; nothing is left behind.
    fn reserve(&self, size: Reservation) -> Result<Box<dyn Region>, ReserveError>;

    /// The frames that the store holds and whether it still counts.
    fn standing(&self) -> Standing;
}

/// The memory of one linear memory.
///
/// # Safety
///
/// 1. [`bytes`](Self::bytes) names memory that stays where it is and is used by nobody else until the region
///    is dropped; bytes below the limit can be read and written at any time.
/// 2. Behind [`clear`](Self::clear) every byte of the span reads 0 whatever the strategy, and no byte outside
///    has changed.
pub unsafe trait Region: Debug + Send {
    /// The whole reserved range.
    fn bytes(&self) -> NonNull<[u8]>;

    /// Moves the limit of what may be touched to `bytes` from the start.
    ///
    /// # Errors
    ///
    /// [`LimitError`] if it cannot be promised; the limit is then as it was.
    fn set_limit(&mut self, bytes: u64) -> Result<(), LimitError>;

    /// Runs `fill`, which writes zeros over `span`. Where the bytes already read as zero the region keeps
    /// that from taking up frames.
    fn zero_fill(&mut self, span: Span, fill: &mut dyn FnMut());

    /// Zeroes `span` and does with the frames behind it what `strategy` says, or what comes nearest. `live` is
    /// the same range as wasmi's own pointer has it.
    fn clear(&mut self, span: Span, strategy: Strategy, live: LiveBytes<'_>) -> Cleared;

    /// Releases up to `budget_frames` of the frames that [`Strategy::Deferred`] left behind.
    fn reclaim(&mut self, budget_frames: u64) -> Cleared;

    /// What the region holds and has done.
    fn residency(&self) -> Residency;
}

/// How large a region is to be, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// What the memory has from the start.
    pub initial: u64,
    /// What it may grow to. Never below `initial`.
    pub maximum: u64,
}

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
    /// Frames set aside for the sink.
    pub set_aside_frames: u64,
    /// Frames of cleared pages that wait to be reclaimed.
    pub deferred_frames: u64,
    /// Page faults that were resolved.
    pub faults: u64,
    /// Data frames that clears have released.
    pub frames_released: u64,
}

/// How a store stands with its arena, in frames; table frames and those set aside are included.
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

/// Why no region was reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReserveError {
    /// The memory is larger than everything there is.
    #[error(
        "{requested} bytes are more than the {available} bytes of the whole window; give the backing a larger one"
    )]
    TooLarge {
        /// Bytes that were requested.
        requested: u64,
        /// Bytes of the window or of the fixed slice.
        available: u64,
    },
    /// No range of addresses of that size is free now.
    #[error("no free range of {requested} bytes; drop a store first")]
    NoAddresses {
        /// Bytes that were requested.
        requested: u64,
    },
    /// The frames that a new region needs are not there, or cannot be promised.
    #[error("no frames for a memory of {requested} bytes: {cause}; drop a store or raise `resident_frames`")]
    OutOfFrames {
        /// Bytes that were requested.
        requested: u64,
        /// Which limit was hit, with its value and what was needed.
        cause: Shortage,
    },
}

/// Which source of frames ran dry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Shortage {
    /// The store would hold more than [`Limits::resident_frames`](crate::Limits::resident_frames).
    #[error("{needed} frames more than the {held} it has are above the limit `resident_frames`, {cap}")]
    Cap {
        /// The limit.
        cap: u64,
        /// Frames charged to the store.
        held: u64,
        /// Frames needed besides.
        needed: u64,
    },
    /// The frame source has none left, or does not promise so many.
    #[error("{needed} frames are needed, and the frame source has {available} that are not promised")]
    Source {
        /// Frames that are free and promised to nobody.
        available: u64,
        /// Frames needed.
        needed: u64,
    },
    /// The commit policy is [`Commit::Reserved`], and the frame source makes no promises.
    #[error("the frame source makes no promises, as `Commit::Reserved` needs them")]
    NoPromises,
}

/// Why a limit was not moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the limit cannot be moved to {requested} bytes of {capacity}")]
pub struct LimitError {
    /// The limit that was asked for, in bytes.
    pub requested: u64,
    /// The bytes of the region.
    pub capacity: u64,
}

// SAFETY: `Fixed::open` opens `fixed::Slots`, whose contract is argued below.
unsafe impl Backing for Fixed {
    fn open(&self, cap_frames: Option<u64>, _commit: Commit) -> Box<dyn Arena> {
        Box::new(self.slots(cap_frames))
    }
}

// SAFETY: its regions are `fixed::Slot`s, each of which owns its bytes and keeps the heap they come from alive.
unsafe impl Arena for fixed::Slots {
    fn reserve(&self, size: Reservation) -> Result<Box<dyn Region>, ReserveError> {
        Ok(Box::new(self.slot(size)?))
    }

    fn standing(&self) -> Standing {
        self.account_standing()
    }
}

// SAFETY: 1. `fixed::Slot` holds a block that its heap gives to nobody else until the slot's drop.
//         2. `LiveBytes::zero` writes zeros over exactly the span.
unsafe impl Region for fixed::Slot {
    fn bytes(&self) -> NonNull<[u8]> {
        self.block()
    }

    fn set_limit(&mut self, bytes: u64) -> Result<(), LimitError> {
        self.move_limit(bytes)
    }

    fn zero_fill(&mut self, _span: Span, fill: &mut dyn FnMut()) {
        fill();
    }

    fn clear(&mut self, span: Span, _strategy: Strategy, live: LiveBytes<'_>) -> Cleared {
        live.zero();
        Self::retained(span)
    }

    fn reclaim(&mut self, _budget_frames: u64) -> Cleared {
        Cleared::default()
    }

    fn residency(&self) -> Residency {
        self.held()
    }
}

#[cfg(all(feature = "paging", target_arch = "x86_64"))]
mod paged_seam {
    use super::{
        Arena, Backing, Box, Cleared, Commit, LimitError, LiveBytes, NonNull, Region, Reservation,
        ReserveError, Residency, Span, Standing, Strategy, paged,
    };
    use palimpsest_paging::{FrameSource, Tlb};

    // SAFETY: `Paged::open` opens a `paged::Share`, whose contract is argued below.
    unsafe impl<S: FrameSource + Send + Sync, T: Tlb + Send + Sync> Backing for paged::Paged<S, T> {
        fn open(&self, cap_frames: Option<u64>, commit: Commit) -> Box<dyn Arena> {
            Box::new(self.share(cap_frames, commit))
        }
    }

    // SAFETY: its regions borrow the address space for `'static`, so they do not depend on the arena.
    unsafe impl<S: FrameSource + Send + Sync, T: Tlb + Send + Sync> Arena for paged::Share<S, T> {
        fn reserve(&self, size: Reservation) -> Result<Box<dyn Region>, ReserveError> {
            Ok(Box::new(self.region(size)?))
        }

        fn standing(&self) -> Standing {
            self.account_standing()
        }
    }

    // SAFETY: 1. the address space gives a region's range to nobody else until the region is dropped, and its
    //            fault handler commits every page below the limit that is touched.
    //         2. whatever the strategy, the paging crate leaves each page of the range zeroed, or absent so that
    //            it reads as zero at the next touch; the bytes at the ends that are no whole page are zeroed.
    unsafe impl<S: FrameSource + Send + Sync, T: Tlb + Send + Sync> Region for paged::PagedRegion<S, T> {
        fn bytes(&self) -> NonNull<[u8]> {
            self.range()
        }

        fn set_limit(&mut self, bytes: u64) -> Result<(), LimitError> {
            self.move_limit(bytes)
        }

        fn zero_fill(&mut self, span: Span, fill: &mut dyn FnMut()) {
            self.guarded(span, fill);
        }

        fn clear(&mut self, span: Span, strategy: Strategy, live: LiveBytes<'_>) -> Cleared {
            self.cleared(span, strategy, live)
        }

        fn reclaim(&mut self, budget_frames: u64) -> Cleared {
            self.reclaimed(budget_frames)
        }

        fn residency(&self) -> Residency {
            self.held()
        }
    }
}
