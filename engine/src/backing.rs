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
    fn open(&self, cap_frames: Option<u64>) -> Box<dyn Arena>;
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
/// 2. Behind [`decommit`](Self::decommit) every byte of the span reads 0, and no byte outside has changed.
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

    /// Zeroes `span` and releases what is behind it. `live` is the same range as wasmi's own pointer has it.
    fn decommit(&mut self, span: Span, live: LiveBytes<'_>) -> Cleared;

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

/// What a clear did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleared {
    /// Data frames that are back in the frame source.
    pub frames_released: u64,
    /// Table frames that are back in the frame source.
    pub tables_released: u64,
    /// Frames that were zeroed and kept.
    pub frames_retained: u64,
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
    /// Page faults that were resolved.
    pub faults: u64,
    /// Data frames that clears have released.
    pub frames_released: u64,
}

/// How a store stands with its arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// All is well.
    Sound {
        /// Frames held, table frames and those set aside included.
        held_frames: u64,
    },
    /// A write went into the sink because no frame was left.
    Lost {
        /// Frames held, table frames and those set aside included.
        held_frames: u64,
    },
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
    /// The frames that a new region needs are not there.
    #[error("no frame is left for a region of {requested} bytes; drop a store or raise `resident_frames`")]
    OutOfFrames {
        /// Bytes that were requested.
        requested: u64,
    },
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
    fn open(&self, cap_frames: Option<u64>) -> Box<dyn Arena> {
        Box::new(self.slots(cap_frames))
    }
}

// SAFETY: its regions are `fixed::Slot`s, each of which owns its bytes and keeps the heap they come from alive.
unsafe impl Arena for fixed::Slots {
    fn reserve(&self, size: Reservation) -> Result<Box<dyn Region>, ReserveError> {
        Ok(Box::new(self.slot(size)?))
    }

    fn standing(&self) -> Standing {
        Standing::Sound { held_frames: self.held_frames() }
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

    fn decommit(&mut self, span: Span, live: LiveBytes<'_>) -> Cleared {
        live.zero();
        Self::retained(span)
    }

    fn residency(&self) -> Residency {
        self.held()
    }
}

#[cfg(all(feature = "paging", target_arch = "x86_64"))]
mod paged_seam {
    use super::{
        Arena, Backing, Box, Cleared, LimitError, LiveBytes, NonNull, Region, Reservation, ReserveError,
        Residency, Span, Standing, paged,
    };
    use palimpsest_paging::{FrameSource, Tlb};

    // SAFETY: `Paged::open` opens a `paged::Share`, whose contract is argued below.
    unsafe impl<S: FrameSource + Send + Sync, T: Tlb + Send + Sync> Backing for paged::Paged<S, T> {
        fn open(&self, cap_frames: Option<u64>) -> Box<dyn Arena> {
            Box::new(self.share(cap_frames))
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
    //         2. `Region::decommit` of the paging crate leaves every page of its range absent, which reads as
    //            zero at the next touch; the bytes of the first and last page that are not whole are zeroed.
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

        fn decommit(&mut self, span: Span, live: LiveBytes<'_>) -> Cleared {
            self.release(span, live)
        }

        fn residency(&self) -> Residency {
            self.held()
        }
    }
}
