//! The one seam between the engine and memory: what linear memory is made of.
//!
//! A [`Backing`] opens one [`Arena`] for each store; the arena reserves a [`Region`] for each linear memory.
//! Two implementations exist from the first day: `Paged` (ring 0, demand-paged, frames go back) and
//! [`Fixed`] (a byte slice, for firmware without an MMU and for tests on a host). This file is one of
//! the engine's two with `unsafe` in it: the traits are unsafe to implement, because wasmi reads and writes
//! through the pointer that [`Region::bytes`] returns.

#![allow(unsafe_code)]

// The permission above is for this file alone.
#[deny(unsafe_code)]
mod error;
#[deny(unsafe_code)]
mod figures;
#[deny(unsafe_code)]
mod fixed;
#[cfg(all(feature = "paging", target_arch = "x86_64"))]
#[deny(unsafe_code)]
mod paged;

use alloc::{boxed::Box, sync::Arc};
use core::{any::Any, fmt::Debug, ptr::NonNull};

use crate::{live::LiveBytes, units::Span};
pub use error::{LimitError, ReserveError, Shortage};
pub use figures::{Cleared, Commit, Health, Residency, Standing, Strategy};
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

    /// Makes an image out of `parts`; later ones are written over earlier ones, and what is between them is zero.
    /// Nothing if there is no room for it: memories are then written when they are made.
    fn image(&self, parts: &[ImagePart<'_>]) -> Option<Arc<dyn Image>>;
}

/// Bytes that memories can start with, shared by those of all stores. Freed with the last one that uses it.
pub trait Image: Any + Debug + Send + Sync {
    /// The frames that it holds.
    fn frames(&self) -> u64;
}

/// Bytes of an image, and how far from the start of the memory they are.
#[derive(Clone, Copy, Debug)]
pub struct ImagePart<'a> {
    /// Bytes from the start.
    pub offset: u64,
    /// The bytes.
    pub bytes: &'a [u8],
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

    /// Whether the store still counts: asked for at every call between host and guest.
    fn health(&self) -> Health;

    /// The frames that the store holds and whether it still counts.
    fn standing(&self) -> Standing;
}

/// The memory of one linear memory.
///
/// # Safety
///
/// 1. [`bytes`](Self::bytes) names memory that stays where it is and is used by nobody else until the region
///    is dropped; bytes below the limit can be read and written at any time.
/// 2. Behind [`attach`](Self::attach) the bytes of the image read as they are in it, and all others as before.
/// 3. Behind [`clear`](Self::clear) every byte of the span reads 0 whatever the strategy, and no byte outside
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

    /// Gives the region the bytes of `image`, where it has nothing but zeros. `live` is all of the region below the
    /// limit, as wasmi's own pointer has it.
    ///
    /// # Panics
    ///
    /// If `image` was made by another backing, or ends behind the limit.
    fn attach(&mut self, image: &Arc<dyn Image>, live: LiveBytes<'_>);

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

// SAFETY: `Fixed::open` opens `fixed::Slots`, whose contract is argued below.
unsafe impl Backing for Fixed {
    fn open(&self, cap_frames: Option<u64>, _commit: Commit) -> Box<dyn Arena> {
        Box::new(self.slots(cap_frames))
    }

    fn image(&self, parts: &[ImagePart<'_>]) -> Option<Arc<dyn Image>> {
        Some(Arc::new(fixed::Copied::new(parts)))
    }
}

// SAFETY: its regions are `fixed::Slot`s, each of which owns its bytes and keeps the heap they come from alive.
unsafe impl Arena for fixed::Slots {
    fn reserve(&self, size: Reservation) -> Result<Box<dyn Region>, ReserveError> {
        Ok(Box::new(self.slot(size)?))
    }

    fn health(&self) -> Health {
        Health::Sound
    }

    fn standing(&self) -> Standing {
        self.account_standing()
    }
}

// SAFETY: 1. `fixed::Slot` holds a block that its heap gives to nobody else until the slot's drop.
//         2. `Copied::copy_to` writes the parts, in their order, and nothing else.
//         3. `LiveBytes::zero` writes zeros over exactly the span.
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

    fn attach(&mut self, image: &Arc<dyn Image>, live: LiveBytes<'_>) {
        let image: &dyn Any = &**image;
        image.downcast_ref::<fixed::Copied>().expect("an image of this backing").copy_to(live);
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
        Any, Arc, Arena, Backing, Box, Cleared, Commit, Health, Image, ImagePart, LimitError, LiveBytes,
        NonNull, Region, Reservation, ReserveError, Residency, Span, Standing, Strategy, paged,
    };
    use palimpsest_paging::{FrameSource, Tlb};

    // SAFETY: `Paged::open` opens a `paged::Share`, whose contract is argued below.
    unsafe impl<S: FrameSource + Send + Sync, T: Tlb + Send + Sync> Backing for paged::Paged<S, T> {
        fn open(&self, cap_frames: Option<u64>, commit: Commit) -> Box<dyn Arena> {
            Box::new(self.share(cap_frames, commit))
        }

        fn image(&self, parts: &[ImagePart<'_>]) -> Option<Arc<dyn Image>> {
            Some(Arc::new(self.shared_image(parts)?))
        }
    }

    // SAFETY: its regions borrow the address space for `'static`, so they do not depend on the arena.
    unsafe impl<S: FrameSource + Send + Sync, T: Tlb + Send + Sync> Arena for paged::Share<S, T> {
        fn reserve(&self, size: Reservation) -> Result<Box<dyn Region>, ReserveError> {
            Ok(Box::new(self.region(size)?))
        }

        fn health(&self) -> Health {
            self.account_health()
        }

        fn standing(&self) -> Standing {
            self.account_standing()
        }
    }

    // SAFETY: 1. the address space gives a region's range to nobody else until the region is dropped, and its
    //            fault handler commits every page below the limit that is touched.
    //         2. the paging crate shows each page of the image, or a copy of it, until the page is cleared.
    //         3. whatever the strategy, the paging crate leaves each page of the range zeroed, or absent so that
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

        fn attach(&mut self, image: &Arc<dyn Image>, _live: LiveBytes<'_>) {
            let image: &dyn Any = &**image;
            self.show(image.downcast_ref().expect("an image of this backing"));
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
