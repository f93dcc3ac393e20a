//! Which memory is free, and the first frames out of it.
//!
//! Owns the list of usable physical ranges from the memory map to the frame pool: RAM, less the first MiB,
//! the kernel image, the module and the frames that the page tables took. Ranges are whole frames, sorted as
//! the loader's were, and disjoint. Called by `boot` and `memory`, before there is a pool.

use core::ops::Range;

use arrayvec::ArrayVec;
use thiserror::Error;
use x86_64::PhysAddr;
use x86_64::structures::paging::{FrameAllocator, PageSize, PhysFrame, Size4KiB};

use crate::boot::start_info::{MAX_MEMORY_MAP_ENTRIES, MemoryKind, MemoryRange};

/// The BIOS keeps its data, and QEMU the start information, below this address.
const LOW_MEMORY: Range<PhysAddr> = PhysAddr::zero()..PhysAddr::new_truncate(0x10_0000);

/// Every exclusion can split one range in two; there are four.
const MAX_USABLE_RANGES: usize = MAX_MEMORY_MAP_ENTRIES + 4;

/// Why there is no list of usable memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub(crate) enum RamError {
    /// The map is in too many pieces.
    #[error("usable memory is in more than {MAX_USABLE_RANGES} pieces")]
    TooManyRanges,
    /// Nothing to build page tables from.
    #[error("no usable memory between {low:#x} and {high:#x}")]
    NoneBelow { low: PhysAddr, high: PhysAddr },
}

/// Ranges of whole frames.
#[derive(Clone, Debug)]
pub(crate) struct UsableRam(ArrayVec<Range<PhysAddr>, MAX_USABLE_RANGES>);

impl UsableRam {
    /// All RAM of the memory map: frames that only partly belong to it are left out.
    pub(super) fn all(map: &[MemoryRange]) -> Self {
        let ram = map.iter().filter(|range| range.kind == MemoryKind::Ram);
        let whole_frames = ram.map(|range| {
            range.addresses.start.align_up(Size4KiB::SIZE)..range.addresses.end.align_down(Size4KiB::SIZE)
        });
        Self(whole_frames.filter(|range| range.start < range.end).collect())
    }

    /// Leaves the first MiB out.
    ///
    /// # Errors
    ///
    /// [`RamError::TooManyRanges`].
    pub(super) fn exclude_low_memory(&mut self) -> Result<(), RamError> {
        self.exclude(&LOW_MEMORY)
    }

    /// Leaves every frame out that `taken` touches.
    ///
    /// # Errors
    ///
    /// [`RamError::TooManyRanges`].
    pub(super) fn exclude(&mut self, taken: &Range<PhysAddr>) -> Result<(), RamError> {
        let taken = taken.start.align_down(Size4KiB::SIZE)..taken.end.align_up(Size4KiB::SIZE);
        let mut left = ArrayVec::new();
        for range in &self.0 {
            let below = range.start..range.end.min(taken.start);
            let above = range.start.max(taken.end)..range.end;
            for piece in [below, above] {
                if piece.start < piece.end {
                    left.try_push(piece).map_err(|_| RamError::TooManyRanges)?;
                }
            }
        }
        self.0 = left;
        Ok(())
    }

    /// The ranges.
    pub(crate) fn ranges(&self) -> &[Range<PhysAddr>] {
        &self.0
    }

    /// Whether `range` lies inside of one of the ranges.
    pub(crate) fn contains(&self, range: &Range<PhysAddr>) -> bool {
        self.0.iter().any(|usable| usable.start <= range.start && range.end <= usable.end)
    }

    /// The largest piece below `limit`.
    ///
    /// # Errors
    ///
    /// [`RamError::NoneBelow`].
    pub(super) fn largest_below(&self, limit: PhysAddr) -> Result<Range<PhysAddr>, RamError> {
        let pieces = self.0.iter().map(|range| range.start..range.end.min(limit));
        let largest =
            pieces.filter(|piece| piece.start < piece.end).max_by_key(|piece| piece.end - piece.start);
        largest.ok_or(RamError::NoneBelow { low: LOW_MEMORY.end, high: limit })
    }
}

/// Hands the frames of one range out in order, for page tables that are never freed.
#[derive(Debug)]
pub(super) struct BootFrames {
    range: Range<PhysAddr>,
    next: PhysAddr,
}

impl BootFrames {
    pub(super) fn new(range: Range<PhysAddr>) -> Self {
        Self { next: range.start, range }
    }

    /// What was handed out.
    pub(super) fn taken(&self) -> Range<PhysAddr> {
        self.range.start..self.next
    }
}

// SAFETY: 1. `next` only grows, so that no frame is handed out twice. 2. The range is unused RAM: it comes
// from `UsableRam`, and `boot` excludes what was taken before anybody else is given the list.
unsafe impl FrameAllocator<Size4KiB> for BootFrames {
    fn allocate_frame(&mut self) -> Option<PhysFrame> {
        let frame = PhysFrame::from_start_address(self.next).ok()?;
        let next = self.next + Size4KiB::SIZE;
        if next > self.range.end {
            return None;
        }
        self.next = next;
        Some(frame)
    }
}
