//! The kernel's final page tables.
//!
//! Outside the window for regions, they map the kernel's sections at their own addresses, in 4 KiB
//! pages (text r-x, rodata r--, data rw-), and all other RAM at `PHYSICAL_OFFSET`, rw-, in the
//! largest possible pages, with the registers of the local APIC. Nothing else is mapped: not page
//! 0, not the guard page of a stack, and no second, writable alias of the text.

use core::ops::Range;

use thiserror::Error;
use x86_64::registers::control::{Cr3, Cr3Flags};
use x86_64::structures::paging::mapper::MapToError;
use x86_64::structures::paging::{
    FrameAllocator, Mapper, OffsetPageTable, Page, PageSize, PageTable, PageTableFlags, PhysFrame, Size1GiB,
    Size2MiB, Size4KiB,
};
use x86_64::{PhysAddr, VirtAddr};

use crate::apic::LOCAL_APIC;
use crate::boot::image;
use crate::boot::ram::BootFrames;
use crate::cpu::LargestPage;
use crate::stack;

/// All RAM except for the kernel image is mapped at its physical address plus this offset.
pub const PHYSICAL_OFFSET: VirtAddr = VirtAddr::new_truncate(0xffff_8000_0000_0000);

const READ_ONLY: PageTableFlags = PageTableFlags::PRESENT.union(PageTableFlags::NO_EXECUTE);
const READ_EXECUTE: PageTableFlags = PageTableFlags::PRESENT;
const READ_WRITE: PageTableFlags = READ_ONLY.union(PageTableFlags::WRITABLE);

/// Why the page tables could not be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub(crate) enum MappingError {
    /// No frame is free for a page table.
    #[error("no frame left for the page table of {page:#x}: add memory")]
    OutOfFrames { page: VirtAddr },
    /// Two ranges of the memory map overlap.
    #[error("{page:#x} is already mapped: ranges of the memory map overlap")]
    MappedAlready { page: VirtAddr },
}

/// Page tables under construction, accessed through the boot page tables.
pub(super) struct KernelTables<'f> {
    root: PhysFrame,
    mapper: OffsetPageTable<'static>,
    frames: &'f mut BootFrames,
}

impl<'f> KernelTables<'f> {
    /// Creates empty tables.
    ///
    /// # Errors
    ///
    /// [`MappingError::OutOfFrames`].
    ///
    /// # Safety
    ///
    /// The caller guarantees that
    /// 1. the boot page tables are active until [`KernelTables::activate`], and
    /// 2. they map every frame of `frames` at its own address.
    pub(super) unsafe fn new(frames: &'f mut BootFrames) -> Result<Self, MappingError> {
        let out_of_frames = MappingError::OutOfFrames { page: VirtAddr::zero() };
        let root = frames.allocate_frame().ok_or(out_of_frames)?;
        let table = VirtAddr::new(root.start_address().as_u64()).as_mut_ptr::<PageTable>();
        // SAFETY: 1. By the caller's guarantees 1 and 2, the frame is mapped at its own address,
        // writable. Frames are aligned like tables. 2. The frame is from unused RAM, so no
        // reference to it exists.
        unsafe { table.write(PageTable::new()) };
        // SAFETY: 1. The table was just initialized. 2. No other reference to it exists. 3. It is
        // never freed.
        let table = unsafe { &mut *table };
        // SAFETY: every table frame is from `frames` and mapped at its own address, so the offset
        // is 0.
        let mapper = unsafe { OffsetPageTable::new(table, VirtAddr::zero()) };
        Ok(Self { root, mapper, frames })
    }

    /// Maps the kernel's sections at their own addresses, each with its rights. Omits stack guards.
    ///
    /// # Errors
    ///
    /// See [`MappingError`].
    pub(super) fn map_image(&mut self) -> Result<(), MappingError> {
        let guards = stack::guard_pages();
        let sections =
            [(image::text(), READ_EXECUTE), (image::rodata(), READ_ONLY), (image::data(), READ_WRITE)];
        for (addresses, rights) in sections {
            let [first, end] = [addresses.start, addresses.end].map(Page::<Size4KiB>::containing_address);
            for page in Page::range(first, end).filter(|page| !guards.contains(page)) {
                self.map(page, PhysAddr::new(page.start_address().as_u64()), rights)?;
            }
        }
        Ok(())
    }

    /// Maps a range of whole frames at [`PHYSICAL_OFFSET`].
    ///
    /// # Errors
    ///
    /// See [`MappingError`].
    pub(super) fn map_ram(
        &mut self,
        ram: &Range<PhysAddr>,
        largest: LargestPage,
    ) -> Result<(), MappingError> {
        let mut at = ram.start;
        while at < ram.end {
            let rest = at..ram.end;
            at += if largest == LargestPage::OneGib && begins_with::<Size1GiB>(&rest) {
                self.map_at_offset::<Size1GiB>(at)?
            } else if begins_with::<Size2MiB>(&rest) {
                self.map_at_offset::<Size2MiB>(at)?
            } else {
                self.map_at_offset::<Size4KiB>(at)?
            };
        }
        Ok(())
    }

    /// Maps the registers of the local APIC at [`PHYSICAL_OFFSET`], uncached.
    ///
    /// # Errors
    ///
    /// See [`MappingError`].
    pub(super) fn map_local_apic(&mut self) -> Result<(), MappingError> {
        let at = PhysAddr::new(LOCAL_APIC);
        let page = Page::<Size4KiB>::containing_address(PHYSICAL_OFFSET + at.as_u64());
        self.map(page, at, READ_WRITE | PageTableFlags::NO_CACHE)
    }

    /// Activates the tables and returns their root.
    ///
    /// # Safety
    ///
    /// The caller guarantees that
    /// 1. the image is mapped, and
    /// 2. outside the image, no memory is accessed at its own physical address any more.
    pub(super) unsafe fn activate(self) -> PhysFrame {
        // SAFETY: 1. Code, data and the current stack are at the same addresses in both tables, by
        // the caller's guarantee 1. 2. No other address of the old tables is used, by guarantee 2.
        // Writing CR3 flushes the TLB, because there are no global pages (SDM Vol 3A 4.10.4.1).
        unsafe { Cr3::write(self.root, Cr3Flags::empty()) };
        self.root
    }

    /// Maps one page of size `S` at [`PHYSICAL_OFFSET`] and returns its size in bytes.
    fn map_at_offset<S: PageSize>(&mut self, at: PhysAddr) -> Result<u64, MappingError>
    where
        OffsetPageTable<'static>: Mapper<S>,
    {
        self.map(Page::<S>::containing_address(PHYSICAL_OFFSET + at.as_u64()), at, READ_WRITE)?;
        Ok(S::SIZE)
    }

    fn map<S: PageSize>(
        &mut self,
        page: Page<S>,
        to: PhysAddr,
        rights: PageTableFlags,
    ) -> Result<(), MappingError>
    where
        OffsetPageTable<'static>: Mapper<S>,
    {
        let table_rights = PageTableFlags::PRESENT | PageTableFlags::WRITABLE;
        let frame = PhysFrame::containing_address(to);
        // SAFETY: the tables are not active yet, so no address changes its meaning. Once they are
        // active, each frame is writable at one address at most, because the image is not in the
        // ranges that `map_ram` maps.
        let mapped =
            unsafe { self.mapper.map_to_with_table_flags(page, frame, rights, table_rights, self.frames) };
        let page = page.start_address();
        match mapped {
            Ok(flush) => {
                // The CPU caches nothing of tables that are not active.
                flush.ignore();
                Ok(())
            }
            Err(MapToError::FrameAllocationFailed) => Err(MappingError::OutOfFrames { page }),
            Err(MapToError::ParentEntryHugePage | MapToError::PageAlreadyMapped(_)) => {
                Err(MappingError::MappedAlready { page })
            }
        }
    }
}

/// Returns whether a page of size `S` fits at the start of `range`.
fn begins_with<S: PageSize>(range: &Range<PhysAddr>) -> bool {
    range.start.is_aligned(S::SIZE) && range.end - range.start >= S::SIZE
}
