//! Where an address space lies, and why it cannot lie there.

use core::ops::Range;

use thiserror::Error;
use x86_64::structures::paging::page::PageRange;
use x86_64::structures::paging::{Page, PageTableIndex, PhysFrame};
use x86_64::{PhysAddr, VirtAddr};

use crate::frame::PhysicalMemory;
use crate::platform::Platform;

const GIB: u64 = 1 << 30;

/// Where an address space lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The addresses for regions, from one multiple of 1 GiB to another, in one half of the
    /// canonical addresses, without address zero. Nothing else may use the level-4 entries that
    /// cover it.
    pub window: Range<VirtAddr>,
    /// The address at which physical address zero is mapped: a frame at `p` is mapped at
    /// `physical_offset + p`. Zero if physical memory is mapped at its own addresses.
    pub physical_offset: VirtAddr,
    /// The level-4 table.
    pub root: PhysFrame,
}

impl Layout {
    /// A layout of these addresses, for a kernel on another version of the `x86_64` crate.
    ///
    /// `root` is the physical address of the level-4 table, without the flags of CR3.
    ///
    /// # Errors
    ///
    /// - [`SpaceError::NotCanonical`]: a border of the window, or the offset, is not canonical.
    /// - [`SpaceError::Root`]: the root is not the address of a frame.
    ///
    /// [`AddressSpace::new`](crate::AddressSpace::new) checks the window.
    pub fn new(window: Range<u64>, physical_offset: u64, root: u64) -> Result<Self, SpaceError> {
        Ok(Self {
            window: canonical(window.start)?..canonical(window.end)?,
            physical_offset: canonical(physical_offset)?,
            root: frame(root).ok_or(SpaceError::Root { root })?,
        })
    }

    /// The pages of the window, if it is one that a space can have.
    pub(super) fn pages(&self) -> Result<PageRange, SpaceError> {
        let Range { start, end } = self.window;
        if start >= end {
            return Err(SpaceError::Empty { start, end });
        }
        if let Some(address) = [start, end].into_iter().find(|address| !address.is_aligned(GIB)) {
            return Err(SpaceError::Unaligned { address });
        }
        if start.is_null() {
            return Err(SpaceError::Null);
        }
        if half(start) != half(end) {
            return Err(SpaceError::BothHalves { start, end });
        }
        Ok(Page::range(Page::containing_address(start), Page::containing_address(end)))
    }

    /// Checks that a frame is mapped at the offset.
    pub(super) fn refuse_unmapped(
        &self,
        frame: PhysFrame,
        memory: PhysicalMemory,
        platform: &impl Platform,
    ) -> Result<(), SpaceError> {
        if memory.reaches(frame, |address| platform.is_mapped(address)) {
            return Ok(());
        }
        Err(SpaceError::Unmapped { frame: frame.start_address(), physical_offset: self.physical_offset })
    }
}

fn canonical(address: u64) -> Result<VirtAddr, SpaceError> {
    VirtAddr::try_new(address).map_err(|_| SpaceError::NotCanonical { address })
}

fn frame(address: u64) -> Option<PhysFrame> {
    PhysFrame::from_start_address(PhysAddr::try_new(address).ok()?).ok()
}

/// The upper or the lower half of the canonical addresses.
#[derive(PartialEq, Eq)]
enum Half {
    Lower,
    Upper,
}

/// The half that an address is in. Level-4 entries 256 to 511 are the upper half.
fn half(address: VirtAddr) -> Half {
    if u16::from(address.p4_index()) < 256 { Half::Lower } else { Half::Upper }
}

/// Why an address space cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SpaceError {
    /// A number is not a virtual address.
    #[error("the address {address:#x} is not canonical: copy bit 47 to bits 48 to 63")]
    NotCanonical {
        /// The number.
        address: u64,
    },
    /// A number is not the address of a table.
    #[error(
        "the root {root:#x} is not the address of a frame: pass the physical address of the level-4 table, \
         without the flags of CR3"
    )]
    Root {
        /// The number.
        root: u64,
    },
    /// The window has no address.
    #[error("the window from {start:#x} to {end:#x} is empty: let it end after its start")]
    Empty {
        /// The window's first address.
        start: VirtAddr,
        /// The address after its last one.
        end: VirtAddr,
    },
    /// The window does not start and end at multiples of 1 GiB.
    #[error("the window's border {address:#x} is not a multiple of 1 GiB: align it")]
    Unaligned {
        /// The border in question.
        address: VirtAddr,
    },
    /// The window starts at address zero, so a region could be taken for a null pointer.
    #[error("the window contains address zero: let it start at 1 GiB or above")]
    Null,
    /// The window reaches over the addresses that are not canonical.
    #[error("the window from {start:#x} to {end:#x} is in both halves of the address space: keep it in one")]
    BothHalves {
        /// The window's first address.
        start: VirtAddr,
        /// The address after its last one.
        end: VirtAddr,
    },
    /// The root has an entry there.
    #[error("entry {} of the root table is in use, and the window needs it: move the window", u16::from(*index))]
    InUse {
        /// The entry's index in the level-4 table.
        index: PageTableIndex,
    },
    /// Physical memory is not mapped at the offset.
    #[error(
        "the frame at {frame:#x} is not mapped at {frame:#x} plus the physical offset {physical_offset:#x}: \
         correct the offset, or map all RAM of the frame source there"
    )]
    Unmapped {
        /// The physical address of the root, or of the first frame that the source gave.
        frame: PhysAddr,
        /// The layout's offset.
        physical_offset: VirtAddr,
    },
    /// The frame source has too few frames for the tables of the window.
    #[error(
        "the window of {} GiB needs {needed_frames} frames, and the frame source gave {given_frames}: give it \
         more, or make the window smaller",
        window_bytes / GIB
    )]
    OutOfFrames {
        /// The size of the window, in bytes.
        window_bytes: u64,
        /// The frames that the space needs.
        needed_frames: u64,
        /// The frames that the source had.
        given_frames: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(start: u64, end: u64) -> Result<u64, SpaceError> {
        Layout::new(start..end, 0, 0)?.pages().map(|pages| pages.len())
    }

    #[test]
    fn a_number_that_is_not_an_address_is_named() {
        let high = 0x8000_0000_0000;
        let not_canonical = Err(SpaceError::NotCanonical { address: high });
        assert_eq!(Layout::new(high..2 * high, 0, 0), not_canonical);
        assert_eq!(Layout::new(GIB..high, 0, 0), not_canonical);
        assert_eq!(Layout::new(GIB..2 * GIB, high, 0), not_canonical);
        for root in [0x1018, 1 << 52] {
            assert_eq!(Layout::new(GIB..2 * GIB, 0, root), Err(SpaceError::Root { root }));
        }
    }

    #[test]
    fn a_window_in_either_half_is_accepted() {
        assert_eq!(pages(GIB, 3 * GIB), Ok(2 << 18));
        assert_eq!(pages(0xffff_8000_0000_0000, 0xffff_8000_0000_0000 + GIB), Ok(1 << 18));
    }

    #[test]
    fn each_bad_window_has_its_error() {
        let address = VirtAddr::new;
        assert_eq!(pages(GIB, GIB), Err(SpaceError::Empty { start: address(GIB), end: address(GIB) }));
        assert_eq!(pages(GIB + 1, 2 * GIB), Err(SpaceError::Unaligned { address: address(GIB + 1) }));
        assert_eq!(
            pages(GIB, 2 * GIB + 4096),
            Err(SpaceError::Unaligned { address: address(2 * GIB + 4096) })
        );
        assert_eq!(pages(0, GIB), Err(SpaceError::Null));
        let start = address(GIB);
        let end = address(0xffff_8000_0000_0000);
        assert_eq!(pages(start.as_u64(), end.as_u64()), Err(SpaceError::BothHalves { start, end }));
    }
}
