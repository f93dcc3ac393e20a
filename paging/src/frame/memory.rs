//! Physical memory, reached through the embedder's physical-memory offset.
//!
//! This is the one place where the address of a frame becomes a pointer. Invariant, from the
//! contract of [`AddressSpace::new`](crate::AddressSpace::new): every frame of the frame source,
//! and the root table, is mapped readable and writable at `offset + address`, outside of the window
//! of regions.

use core::ops::Range;
use core::ptr;
use core::sync::atomic::{Ordering, fence};

use x86_64::VirtAddr;
use x86_64::structures::paging::page_table::PageTableEntry;
use x86_64::structures::paging::{PageTable, PageTableIndex, PhysFrame};

use super::Frame;
use crate::pages::PAGE_LEN;

/// Words of eight bytes in a frame.
const FRAME_WORDS: usize = PAGE_LEN / size_of::<u64>();

/// Words that are zeroed by one step of a loop, so that the loop itself costs little.
const GROUP_WORDS: usize = 32;

/// The embedder's mapping of all physical memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PhysicalMemory {
    offset: VirtAddr,
}

impl PhysicalMemory {
    /// # Safety
    ///
    /// The caller guarantees that every frame that is passed to a method is mapped at `offset` plus
    /// its physical address, readable and writable, for as long as a copy of this value exists.
    pub(crate) const unsafe fn new(offset: VirtAddr) -> Self {
        Self { offset }
    }

    /// Returns whether the frame is mapped, as the contract of [`new`](Self::new) requires.
    pub(crate) fn reaches(self, frame: PhysFrame, is_mapped: impl FnOnce(VirtAddr) -> bool) -> bool {
        let address = self.offset.as_u64().wrapping_add(frame.start_address().as_u64());
        VirtAddr::try_new(address).is_ok_and(is_mapped)
    }

    /// Zeroes a frame. Never inlined: it has many small, monomorphised callers.
    #[inline(never)]
    pub(crate) fn zeroed(self, mut frame: Frame) -> ZeroedFrame {
        self.zero(&mut frame);
        // SAFETY: `zero` has filled the frame with zeros, and its owner has not changed it since.
        unsafe { ZeroedFrame::new_unchecked(frame) }
    }

    /// Fills a frame with zeros. Other CPUs and page walks see them before anything that is stored
    /// later.
    #[inline]
    pub(crate) fn zero(self, frame: &mut Frame) {
        // SAFETY: the frame is owned and borrowed exclusively, and references are made to tables
        // only, which entries own.
        unsafe { self.zero_at(frame.phys()) };
    }

    /// As [`zero`](Self::zero), for a frame that a page-table entry or a set of free frames owns.
    ///
    /// The stores are volatile so that they stay a loop of quadwords. The compiler would make them
    /// a call of `memset`, which may be `rep stosb`: that takes ten times as long on an emulated
    /// CPU.
    ///
    /// # Safety
    ///
    /// The caller guarantees that it has exclusive access to the frame's owner, and that no Rust
    /// reference to the frame's bytes exists.
    #[inline]
    pub(crate) unsafe fn zero_at(self, frame: PhysFrame) {
        let groups: *mut [u64; GROUP_WORDS] = self.pointer(frame);
        for index in 0..FRAME_WORDS / GROUP_WORDS {
            // SAFETY: the index is inside of the frame, which is mapped by the contract of `new`.
            let group = unsafe { groups.add(index) };
            // SAFETY: the words are mapped writable and aligned by the contract of `new`. Nothing
            // else refers to them, by this function's contract.
            unsafe { zero_group(group) };
        }
        fence(Ordering::Release);
    }

    /// Writes bytes into a frame, from the byte `at` on.
    ///
    /// # Panics
    ///
    /// If the bytes do not fit.
    pub(crate) fn write(self, frame: &mut Frame, at: usize, bytes: &[u8]) {
        let content: *mut [u8; PAGE_LEN] = self.pointer(frame.phys());
        // SAFETY: the frame is mapped by the contract of `new`, owned and borrowed exclusively.
        // Every byte is a `u8`. The reference ends here.
        let content = unsafe { &mut *content };
        content[at..][..bytes.len()].copy_from_slice(bytes);
    }

    /// Reads a word of a frame.
    ///
    /// # Panics
    ///
    /// If the frame has no word of this index.
    pub(crate) fn word(self, frame: &Frame, index: usize) -> u64 {
        let words: *mut [u64; FRAME_WORDS] = self.pointer(frame.phys());
        // SAFETY: the frame is mapped and aligned by the contract of `new`, owned and borrowed. The
        // reference ends here.
        let words = unsafe { &*words };
        words[index]
    }

    /// Writes a word of a frame that a page walk may read meanwhile.
    ///
    /// # Panics
    ///
    /// If the frame has no word of this index.
    pub(crate) fn set_word(self, frame: &mut Frame, index: usize, value: u64) {
        assert!(index < FRAME_WORDS, "a frame has no word {index}");
        let words: *mut u64 = self.pointer(frame.phys());
        // SAFETY: the index is inside of the frame.
        let word = unsafe { words.add(index) };
        // SAFETY: the frame is mapped and aligned by the contract of `new`, owned and borrowed
        // exclusively.
        unsafe { word.write_volatile(value) };
    }

    /// Fills a part of a frame with zeros, and returns whether it had other bytes. The frame is one
    /// that a page-table entry owns.
    ///
    /// # Panics
    ///
    /// If the part ends beyond the frame.
    ///
    /// # Safety
    ///
    /// As for [`zero_at`](Self::zero_at).
    pub(crate) unsafe fn zero_part_at(self, frame: PhysFrame, part: Range<usize>) -> bool {
        let content: *mut [u8; PAGE_LEN] = self.pointer(frame);
        // SAFETY: the frame is mapped by the contract of `new`. Nothing else refers to it, by this
        // function's contract. Every byte is a `u8`. The reference ends here.
        let content = unsafe { &mut *content };
        let mut is_changed = false;
        for byte in content[part].iter_mut().filter(|byte| **byte != 0) {
            *byte = 0;
            is_changed = true;
        }
        is_changed
    }

    /// Copies the content of `original` to `copy`. Other CPUs and page walks see it before anything
    /// that is stored later.
    ///
    /// # Safety
    ///
    /// The caller guarantees that nothing writes `original` meanwhile.
    pub(crate) unsafe fn copy(self, original: PhysFrame, copy: &mut Frame) {
        let from: *mut [u64; FRAME_WORDS] = self.pointer(original);
        let to: *mut [u64; FRAME_WORDS] = self.pointer(copy.phys());
        // SAFETY: 1. Both frames are mapped and aligned by the contract of `new`. 2. `copy` is
        // owned and borrowed exclusively, so it is another frame. 3. Nothing writes `original`, by
        // this function's contract.
        unsafe { to.copy_from_nonoverlapping(from, 1) };
        fence(Ordering::Release);
    }

    /// The bytes of a frame.
    ///
    /// # Safety
    ///
    /// The caller guarantees that nothing writes the frame for `'b`.
    pub(crate) unsafe fn bytes<'b>(self, frame: PhysFrame) -> &'b [u8; PAGE_LEN] {
        let content: *const [u8; PAGE_LEN] = self.pointer(frame);
        // SAFETY: the frame is mapped by the contract of `new`, and every byte is a `u8`. Nothing
        // writes it, by this function's contract.
        unsafe { &*content }
    }

    /// The table in a frame.
    ///
    /// Page walks of the CPU read it at the same time. They write nothing but accessed and dirty
    /// bits that are clear (Intel SDM Vol 3A, 4.8): the dirty bits of pages that were committed
    /// ahead, and both bits of pages whose use is recorded.
    ///
    /// # Safety
    ///
    /// The caller guarantees that the frame contains a page table for `'t`, and that no other
    /// reference to it exists meanwhile.
    #[inline]
    pub(crate) unsafe fn table<'t>(self, frame: PhysFrame) -> &'t mut PageTable {
        let table: *mut PageTable = self.pointer(frame);
        // SAFETY: the frame is mapped and aligned by the contract of `new`, and every bit pattern
        // is a table. The caller guarantees the lifetime and the exclusive access.
        unsafe { &mut *table }
    }

    /// The first of the 512 entries of the table in a frame, as a pointer. The page walks of
    /// [`table`](Self::table) apply to it too.
    #[inline]
    pub(crate) fn entries(self, frame: PhysFrame) -> *mut PageTableEntry {
        self.pointer(frame)
    }

    /// Reads one entry of a table, which other code may write at the same time, or have a reference
    /// to.
    ///
    /// # Safety
    ///
    /// The caller guarantees that the frame contains a page table.
    pub(crate) unsafe fn entry(self, table: PhysFrame, index: PageTableIndex) -> PageTableEntry {
        let entries: *mut PageTableEntry = self.pointer(table);
        // SAFETY: the index is below 512, so the entry is inside of the table.
        let entry = unsafe { entries.add(usize::from(index)) };
        // SAFETY: the entry is mapped and aligned by the contract of `new`. A volatile read of a
        // quadword is not torn.
        unsafe { entry.read_volatile() }
    }

    /// Writes one entry of a table to which other code may have a reference.
    ///
    /// # Safety
    ///
    /// The caller guarantees that the frame contains a page table, and that nothing else accesses
    /// the table meanwhile but page walks and [`entry`](Self::entry).
    pub(crate) unsafe fn set_entry(self, table: PhysFrame, index: PageTableIndex, value: PageTableEntry) {
        let entries: *mut PageTableEntry = self.pointer(table);
        // SAFETY: the index is below 512, so the entry is inside of the table.
        let entry = unsafe { entries.add(usize::from(index)) };
        // SAFETY: the entry is mapped writable and aligned by the contract of `new`, and nothing
        // else writes it, by this function's contract.
        unsafe { entry.write_volatile(value) };
    }

    /// The address at which a frame is mapped, which is canonical by the contract of `new`. An
    /// addition to a [`VirtAddr`] would check that at each step of a walk.
    #[inline]
    fn pointer<T>(self, frame: PhysFrame) -> *mut T {
        let address = self.offset.as_u64().wrapping_add(frame.start_address().as_u64());
        ptr::with_exposed_provenance_mut(usize::try_from(address).expect("x86_64 has 64-bit addresses"))
    }
}

/// Stores zeros, a word at a time.
///
/// # Safety
///
/// The caller guarantees that the words are aligned and writable, and that nothing else refers to
/// them.
#[inline]
unsafe fn zero_group(group: *mut [u64; GROUP_WORDS]) {
    let first: *mut u64 = group.cast();
    for index in 0..GROUP_WORDS {
        // SAFETY: the index is inside of the group.
        let word = unsafe { first.add(index) };
        // SAFETY: this function's contract.
        unsafe { word.write_volatile(0) };
    }
}

/// A frame of zeros. A frame must be one before it becomes a table, or data without an image.
#[must_use = "a dropped frame is leaked: release it to its frame source"]
#[derive(Debug)]
pub(crate) struct ZeroedFrame(Frame);

impl ZeroedFrame {
    /// # Safety
    ///
    /// The caller guarantees that every byte of the frame is zero, for every CPU.
    pub(crate) const unsafe fn new_unchecked(frame: Frame) -> Self {
        Self(frame)
    }

    pub(crate) fn into_frame(self) -> Frame {
        self.0
    }
}
