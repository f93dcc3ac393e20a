//! The list of usable physical memory, and the frames for the page tables.
//!
//! The list starts as all RAM of the memory map. The first MiB, the kernel image, the module and
//! the frames of the page tables are excluded before the frame pool gets it. Ranges consist of
//! whole frames, are disjoint, and keep the loader's order.

use core::ops::Range;

use arrayvec::ArrayVec;
use thiserror::Error;
use x86_64::PhysAddr;
use x86_64::structures::paging::{FrameAllocator, PageSize, PhysFrame, Size4KiB};

use crate::boot::start_info::{MAX_MEMORY_MAP_ENTRIES, MemoryKind, MemoryRange};

/// The BIOS keeps its data below this address, and QEMU the start information.
const LOW_MEMORY: Range<PhysAddr> = PhysAddr::zero()..PhysAddr::new_truncate(0x10_0000);

/// There are four exclusions, and each can split one range in two.
const MAX_USABLE_RANGES: usize = MAX_MEMORY_MAP_ENTRIES + 4;

/// Why the list of usable memory cannot be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub(crate) enum RamError {
    /// Usable memory has too many ranges.
    #[error("usable memory has more than {MAX_USABLE_RANGES} ranges: increase MAX_USABLE_RANGES")]
    TooManyRanges,
    /// No memory is free for page tables.
    #[error("no usable memory between {low:#x} and {high:#x}: add memory")]
    NoneBelow { low: PhysAddr, high: PhysAddr },
}

/// Ranges of whole frames.
#[derive(Clone, Debug)]
pub(crate) struct UsableRam(ArrayVec<Range<PhysAddr>, MAX_USABLE_RANGES>);

impl UsableRam {
    /// Returns all RAM of the memory map. Omits frames that are only partly RAM.
    pub(super) fn all(map: &[MemoryRange]) -> Self {
        let ram = map.iter().filter(|range| range.kind == MemoryKind::Ram);
        let whole_frames = ram.map(|range| {
            range.addresses.start.align_up(Size4KiB::SIZE)..range.addresses.end.align_down(Size4KiB::SIZE)
        });
        Self(whole_frames.filter(|range| range.start < range.end).collect())
    }

    /// Excludes the first MiB.
    ///
    /// # Errors
    ///
    /// [`RamError::TooManyRanges`].
    pub(super) fn exclude_low_memory(&mut self) -> Result<(), RamError> {
        self.exclude(&LOW_MEMORY)
    }

    /// Excludes every frame that overlaps `taken`.
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

    /// Returns the ranges.
    pub(crate) fn ranges(&self) -> &[Range<PhysAddr>] {
        &self.0
    }

    /// Returns whether `range` is inside one of the ranges.
    pub(crate) fn contains(&self, range: &Range<PhysAddr>) -> bool {
        self.0.iter().any(|usable| usable.start <= range.start && range.end <= usable.end)
    }

    /// Returns the largest range below `limit`. Truncates a range that continues above it.
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

/// Allocates the frames of one range in order, for page tables that are never freed.
#[derive(Debug)]
pub(super) struct BootFrames {
    range: Range<PhysAddr>,
    next: PhysAddr,
}

impl BootFrames {
    pub(super) fn new(range: Range<PhysAddr>) -> Self {
        Self { next: range.start, range }
    }

    /// Returns the frames that were allocated.
    pub(super) fn taken(&self) -> Range<PhysAddr> {
        self.range.start..self.next
    }
}

// SAFETY: 1. `next` only increases, so no frame is allocated twice. 2. The range is unused RAM: it
// is from `UsableRam`, and `boot` excludes the allocated frames before the frame pool gets the
// list.
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
