//! Linear memory on our own page tables: the ring-0 backing.
//!
//! Translates between the engine's bytes and the paging crate's pages, and adds nothing else. The address
//! space is the kernel's: its #PF handler passes faults to the same [`AddressSpace`] that is named here.

use alloc::sync::Arc;
use core::{fmt, ptr::NonNull};
use palimpsest_paging::{
    Account, AddressSpace, ChargeError, Decommitted, FrameReserveError, FrameSource,
    LimitError as PagingLimitError, ReserveError as PagingError, Tlb,
    x86_64::structures::paging::{Page, page::PageRange},
};

use super::{
    Cleared, Commit, Health, Image, ImagePart, LimitError, Reservation, ReserveError, Residency, Shortage,
    Standing, Strategy,
};
use crate::{
    live::LiveBytes,
    units::{FRAME_BYTES, Span},
};

/// A backing whose memories are demand-paged regions of an address space.
///
/// The same address space must get the page faults: `space.handle_fault(..)` in the #PF handler.
pub struct Paged<S: FrameSource + 'static, T: Tlb + 'static> {
    space: &'static AddressSpace<S, T>,
}

impl<S: FrameSource, T: Tlb> Paged<S, T> {
    /// A backing that reserves its regions in `space`.
    #[must_use]
    pub fn new(space: &'static AddressSpace<S, T>) -> Self {
        Self { space }
    }

    /// Nothing if there are too few frames.
    pub(super) fn shared_image(&self, parts: &[ImagePart<'_>]) -> Option<SharedImage<S, T>> {
        let parts = parts.iter().map(|part| (part.offset, part.bytes));
        // The one other reason is a part that ends behind 2^64 bytes, which no memory's segment does.
        self.space.image(parts).ok().map(|image| SharedImage { image: Arc::new(image) })
    }

    pub(super) fn share(&self, cap_frames: Option<u64>, commit: Commit) -> Share<S, T> {
        let account = match commit {
            Commit::OnTouch => Account::new(cap_frames),
            Commit::Reserved => Account::reserved(cap_frames),
        };
        Share { space: self.space, account: Arc::new(account) }
    }
}

/// One store's share of the address space: the regions are its own, the frames are charged to its account.
pub(super) struct Share<S: FrameSource + 'static, T: Tlb + 'static> {
    space: &'static AddressSpace<S, T>,
    account: Arc<Account>,
}

impl<S: FrameSource, T: Tlb> Share<S, T> {
    pub(super) fn region(&self, size: Reservation) -> Result<PagedRegion<S, T>, ReserveError> {
        let reserve = |bytes: u64| self.space.reserve(bytes.max(1), &self.account);
        let reserved = match reserve(size.maximum) {
            // A memory without a maximum of its own takes what the window can give.
            Err(PagingError::TooLarge { largest_bytes, .. }) if largest_bytes >= size.initial => {
                reserve(largest_bytes)
            }
            reserved => reserved,
        };
        let mut region = reserved.map_err(|error| self.named(error, size))?;
        match region.set_limit(size.initial) {
            Ok(()) => Ok(PagedRegion { region }),
            Err(PagingLimitError::Uncharged(cause)) => Err(Self::uncharged(cause, size)),
            Err(
                error @ (PagingLimitError::BeyondCapacity { .. } | PagingLimitError::Resident { .. } | _),
            ) => {
                unreachable!("the limit of a new region moves up to its capacity: {error}")
            }
        }
    }

    pub(super) fn account_health(&self) -> Health {
        if self.account.is_lost() { Health::Lost } else { Health::Sound }
    }

    pub(super) fn account_standing(&self) -> Standing {
        let held_frames = self.account.held_frames();
        Standing {
            health: self.account_health(),
            held_frames,
            peak_frames: self.account.peak_frames(),
            charged_frames: self.account.charged_frames(),
        }
    }

    fn named(&self, error: PagingError, size: Reservation) -> ReserveError {
        let requested = size.initial;
        match error {
            PagingError::TooLarge { largest_bytes, .. } => {
                ReserveError::TooLarge { requested, available: largest_bytes }
            }
            PagingError::NoAddresses { requested_bytes } => {
                ReserveError::NoAddresses { requested: requested_bytes }
            }
            PagingError::OutOfFrames(cause) => {
                ReserveError::OutOfFrames { requested, cause: self.shortage(cause) }
            }
            PagingError::Uncharged(cause) => Self::uncharged(cause, size),
            error @ (PagingError::Empty | _) => {
                unreachable!("a region of at least one byte is requested: {error}")
            }
        }
    }

    /// A reserved store's frames cannot be promised.
    fn uncharged(cause: ChargeError, size: Reservation) -> ReserveError {
        let cause = match cause {
            ChargeError::CapReached { requested_frames, charged_frames, cap_frames } => {
                Shortage::Cap { cap: cap_frames, held: charged_frames, needed: requested_frames }
            }
            ChargeError::Unreserved(FrameReserveError::TooFew { requested_frames, available_frames }) => {
                Shortage::Source { available: available_frames, needed: requested_frames }
            }
            ChargeError::Unreserved(FrameReserveError::Unsupported { .. }) => Shortage::NoPromises,
            ChargeError::Unreserved(_) | _ => Shortage::Source { available: 0, needed: 1 },
        };
        ReserveError::OutOfFrames { requested: size.initial, cause }
    }

    fn shortage(&self, cause: palimpsest_paging::Shortage) -> Shortage {
        use palimpsest_paging::Shortage as Cause;
        match cause {
            Cause::CapReached { cap_frames } => {
                Shortage::Cap { cap: cap_frames, held: self.account.held_frames(), needed: 1 }
            }
            Cause::SourceEmpty | _ => Shortage::Source { available: 0, needed: 1 },
        }
    }
}

/// Frames that memories share until they write to them.
pub(super) struct SharedImage<S: FrameSource + 'static, T: Tlb + 'static> {
    image: Arc<palimpsest_paging::Image<'static, S, T>>,
}

impl<S: FrameSource + Send + Sync, T: Tlb + Send + Sync> Image for SharedImage<S, T> {
    fn frames(&self) -> u64 {
        self.image.frames()
    }
}

/// The region of one linear memory.
pub(super) struct PagedRegion<S: FrameSource + 'static, T: Tlb + 'static> {
    region: palimpsest_paging::Region<'static, S, T>,
}

impl<S: FrameSource, T: Tlb> PagedRegion<S, T> {
    pub(super) fn range(&self) -> NonNull<[u8]> {
        let bytes = usize::try_from(self.region.capacity_bytes()).expect("addresses have 64 bits");
        let start = NonNull::new(self.region.base().as_mut_ptr()).expect("no region is at address 0");
        NonNull::slice_from_raw_parts(start, bytes)
    }

    pub(super) fn move_limit(&mut self, bytes: u64) -> Result<(), LimitError> {
        let capacity = self.region.capacity_bytes();
        self.region.set_limit(bytes).map_err(|_| LimitError { requested: bytes, capacity })
    }

    /// Runs `fill` while the paging crate's guard is up.
    ///
    /// The guard covers the pages at the ends of `span` too: it spares absent pages alone, and all of an absent
    /// page reads as zero, whether the span has the whole of it or not.
    pub(super) fn guarded(&mut self, span: Span, fill: &mut dyn FnMut()) {
        let (start, end) = (span.start() / FRAME_BYTES, span.end().div_ceil(FRAME_BYTES));
        let first = self.region.pages().start;
        let guard = self.region.zero_fill(Page::range(first + start, first + end.max(start)));
        let guard = guard.expect("a span is within the region");
        fill();
        drop(guard);
    }

    /// # Panics
    ///
    /// If `image` is of another address space, or the region has one already.
    pub(super) fn show(&mut self, image: &SharedImage<S, T>) {
        self.region.attach(&image.image).expect("an image is made for the memory, in its address space");
    }

    /// Does with the pages that lie wholly inside `span` what `strategy` says, and zeroes the bytes at its ends,
    /// where a memory with pages of one byte may have some: their frames are retained, one for each end.
    pub(super) fn cleared(&mut self, span: Span, strategy: Strategy, live: LiveBytes<'_>) -> Cleared {
        const WITHIN: &str = "a span is within the region";
        let pages = self.pages_within(span);
        let whole_start = pages.start.start_address() - self.region.base();
        let (head, rest) = live.split_at(whole_start.saturating_sub(span.start()));
        let (_, tail) = rest.split_at(pages.size());
        let ends = u64::from(head.scrub()) + u64::from(tail.scrub());
        let region = &mut self.region;
        let mut cleared = match strategy {
            Strategy::Decommit => released(region.decommit(pages).expect(WITHIN)),
            Strategy::Recommit => {
                let renewed = region.recommit(pages).expect(WITHIN);
                Cleared {
                    frames_released: renewed.frames_released,
                    frames_retained: renewed.frames_retained,
                    frames_committed: renewed.frames_committed,
                    ..Cleared::default()
                }
            }
            Strategy::ZeroNow => retained(region.zero_in_place(pages).expect(WITHIN)),
            Strategy::Deferred => retained(region.defer(pages).expect(WITHIN)),
        };
        cleared.frames_retained += ends;
        cleared
    }

    pub(super) fn reclaimed(&mut self, budget_frames: u64) -> Cleared {
        released(self.region.reclaim(budget_frames))
    }

    /// The pages that lie wholly inside `span`.
    fn pages_within(&self, span: Span) -> PageRange {
        let first = self.region.pages().start;
        let (start, end) = (span.start().div_ceil(FRAME_BYTES), span.end() / FRAME_BYTES);
        Page::range(first + start, first + end.max(start))
    }

    pub(super) fn held(&self) -> Residency {
        let held = self.region.residency();
        Residency {
            resident_frames: held.resident_frames,
            peak_resident_frames: held.peak_resident_frames,
            table_frames: held.table_frames,
            deferred_frames: held.deferred_frames,
            faults: held.faults,
            frames_released: held.frames_released,
        }
    }
}

fn released(decommitted: Decommitted) -> Cleared {
    Cleared {
        frames_released: decommitted.frames_released,
        tables_released: decommitted.tables_released,
        ..Cleared::default()
    }
}

fn retained(frames_retained: u64) -> Cleared {
    Cleared { frames_retained, ..Cleared::default() }
}

// Derived, these would ask for `Debug` of the frame source and the TLB, which nobody prints.

impl<S: FrameSource, T: Tlb> fmt::Debug for Paged<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Paged").field("space", self.space).finish()
    }
}

impl<S: FrameSource, T: Tlb> fmt::Debug for Share<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Share").field("account", &self.account).finish_non_exhaustive()
    }
}

impl<S: FrameSource, T: Tlb> fmt::Debug for SharedImage<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedImage").field("image", &self.image).finish()
    }
}

impl<S: FrameSource, T: Tlb> fmt::Debug for PagedRegion<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PagedRegion").field("region", &self.region).finish()
    }
}
