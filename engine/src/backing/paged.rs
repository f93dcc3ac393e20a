//! Linear memory on our own page tables: the ring-0 backing.
//!
//! Translates between the engine's bytes and the paging crate's pages, and adds nothing else. The address
//! space is the kernel's: its #PF handler passes faults to the same [`AddressSpace`] that is named here.

use alloc::sync::Arc;
use core::{fmt, ptr::NonNull};
use palimpsest_paging::{
    Account, AddressSpace, FrameSource, ReserveError as PagingError, Tlb,
    x86_64::structures::paging::{Page, page::PageRange},
};

use super::{Cleared, LimitError, Reservation, ReserveError, Residency, Standing};
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

    pub(super) fn share(&self, cap_frames: Option<u64>) -> Share<S, T> {
        Share { space: self.space, account: Arc::new(Account::new(cap_frames)) }
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
        let mut region = PagedRegion { region: reserved.map_err(|error| named(error, size))? };
        region.move_limit(size.initial).expect("the limit of a new region moves up to its capacity");
        Ok(region)
    }

    pub(super) fn account_standing(&self) -> Standing {
        let held_frames = self.account.held_frames();
        if self.account.is_lost() { Standing::Lost { held_frames } } else { Standing::Sound { held_frames } }
    }
}

fn named(error: PagingError, size: Reservation) -> ReserveError {
    match error {
        PagingError::TooLarge { largest_bytes, .. } => {
            ReserveError::TooLarge { requested: size.initial, available: largest_bytes }
        }
        PagingError::NoAddresses { requested_bytes } => {
            ReserveError::NoAddresses { requested: requested_bytes }
        }
        PagingError::OutOfFrames(_) => ReserveError::OutOfFrames { requested: size.initial },
        error @ (PagingError::Empty | _) => {
            unreachable!("a region of at least one byte is requested: {error}")
        }
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

    /// Decommits the pages that lie wholly inside `span` and zeroes the bytes at its ends, where a memory with
    /// pages of one byte may have some.
    pub(super) fn release(&mut self, span: Span, live: LiveBytes<'_>) -> Cleared {
        let pages = self.pages_within(span);
        let whole_start = pages.start.start_address() - self.region.base();
        let (head, rest) = live.split_at(whole_start.saturating_sub(span.start()));
        let (_, tail) = rest.split_at(pages.size());
        head.scrub();
        tail.scrub();
        let released = self.region.decommit(pages).expect("a span is within the region");
        Cleared {
            frames_released: released.frames_released,
            tables_released: released.tables_released,
            frames_retained: 0,
        }
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
            set_aside_frames: held.set_aside_frames,
            faults: held.faults,
            frames_released: held.frames_released,
        }
    }
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

impl<S: FrameSource, T: Tlb> fmt::Debug for PagedRegion<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PagedRegion").field("region", &self.region).finish()
    }
}
