//! Physical memory, reached through the embedder's physical-memory offset.
//!
//! The one place where the address of a frame becomes a pointer. Invariant, from the contract of
//! [`AddressSpace::new`](crate::AddressSpace::new): every frame of the frame source, and the root table, is
//! mapped readable and writable at `offset + address`, outside of the window of regions.
//!
//! Called by: `table`, which turns frames into tables and zeroes those that stay in their entries, and
//! `supply`, which zeroes the new ones.

use core::ptr;
use core::sync::atomic::{Ordering, fence};

use x86_64::VirtAddr;
use x86_64::structures::paging::{PageTable, PhysFrame};

use super::Frame;
use crate::pages::PAGE_LEN;

/// Words of eight bytes in a frame.
const FRAME_WORDS: usize = PAGE_LEN / size_of::<u64>();

/// Words that are zeroed in a row, so that the loop around them costs little.
const GROUP_WORDS: usize = 32;

/// The embedder's mapping of all physical memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PhysicalMemory {
    offset: VirtAddr,
}

impl PhysicalMemory {
    /// # Safety
    ///
    /// The caller guarantees that every frame that is ever passed to the methods is mapped at `offset` plus
    /// its physical address, readable and writable, for as long as a copy of this value exists.
    pub(crate) const unsafe fn new(offset: VirtAddr) -> Self {
        Self { offset }
    }

    /// Makes a frame blank. Not for inlining: what is around it is small, and takes many forms.
    #[inline(never)]
    pub(crate) fn blank(self, mut frame: Frame) -> Blank {
        self.zero(&mut frame);
        // SAFETY: it was filled with zeros just now, and its owner has not changed it since.
        unsafe { Blank::new_unchecked(frame) }
    }

    /// Fills a frame with zeros, before anything that is stored later can be seen by another CPU or by a page
    /// walk.
    #[inline]
    pub(crate) fn zero(self, frame: &mut Frame) {
        // SAFETY: the frame is owned and borrowed exclusively, and references are made to tables only.
        unsafe { self.zero_at(frame.phys()) };
    }

    /// As [`zero`](Self::zero), for a frame whose owner is a page-table entry.
    ///
    /// The stores are volatile so that they stay a loop of quadwords: a call to `memset` may be `rep stosb`,
    /// which takes ten times as long where the CPU is emulated.
    ///
    /// # Safety
    ///
    /// The caller guarantees that the frame's owner is the caller's to change, and that no Rust reference to
    /// the frame's bytes exists.
    #[inline]
    pub(crate) unsafe fn zero_at(self, frame: PhysFrame) {
        let groups: *mut [u64; GROUP_WORDS] = self.pointer(frame);
        for index in 0..FRAME_WORDS / GROUP_WORDS {
            // SAFETY: the index is inside of the frame, which is mapped by the contract of `new`.
            let group = unsafe { groups.add(index) };
            // SAFETY: the words are mapped writable and aligned by the contract of `new`; that nothing else
            // refers to them is this function's contract.
            unsafe { zero_group(group) };
        }
        fence(Ordering::Release);
    }

    /// Writes bytes into a frame, from the byte `at` on.
    ///
    /// # Panics
    ///
    /// If they do not fit.
    pub(crate) fn write(self, frame: &mut Frame, at: usize, bytes: &[u8]) {
        let content: *mut [u8; PAGE_LEN] = self.pointer(frame.phys());
        // SAFETY: the frame is mapped by the contract of `new`, owned and borrowed exclusively; every byte is a
        // `u8`. The reference ends here.
        let content = unsafe { &mut *content };
        content[at..][..bytes.len()].copy_from_slice(bytes);
    }

    /// Copies a frame's content over that of another, before anything that is stored later can be seen by another
    /// CPU or by a page walk.
    ///
    /// # Safety
    ///
    /// The caller guarantees that nothing writes `original` meanwhile.
    pub(crate) unsafe fn copy(self, original: PhysFrame, copy: &mut Frame) {
        let (from, to): (*mut [u64; FRAME_WORDS], *mut [u64; FRAME_WORDS]) =
            (self.pointer(original), self.pointer(copy.phys()));
        // SAFETY: 1. both frames are mapped and aligned by the contract of `new`.
        // 2. `copy` is owned and borrowed exclusively, so it is another frame; nothing writes `original`, by this
        //    function's contract.
        unsafe { to.copy_from_nonoverlapping(from, 1) };
        fence(Ordering::Release);
    }

    /// Whether a frame holds nothing but zeros.
    ///
    /// # Safety
    ///
    /// As for [`zero_at`](Self::zero_at).
    pub(crate) unsafe fn is_zero_at(self, frame: PhysFrame) -> bool {
        let words: *mut [u64; FRAME_WORDS] = self.pointer(frame);
        // SAFETY: the frame is mapped and aligned by the contract of `new`; that nothing writes it is this
        // function's contract. The reference ends here.
        unsafe { &*words }.iter().all(|word| *word == 0)
    }

    /// The table that a frame holds.
    ///
    /// # Safety
    ///
    /// The caller guarantees that the frame holds a page table, that it lives for `'t`, and that no other
    /// reference to it exists meanwhile. (The CPU's page walks read it, and write nothing, because all
    /// entries have their accessed and dirty bits set: Intel SDM Vol 3A, 4.8.)
    #[inline]
    pub(crate) unsafe fn table<'t>(self, frame: PhysFrame) -> &'t mut PageTable {
        let table: *mut PageTable = self.pointer(frame);
        // SAFETY: the frame is mapped and aligned, by the contract of `new`; every bit pattern is a table;
        // the lifetime and the exclusiveness are this function's contract.
        unsafe { &mut *table }
    }

    /// The sum is canonical by the contract of `new`; adding to a [`VirtAddr`] would check it at each step of a walk.
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
/// The caller guarantees that the words are aligned and writable, and that nothing else refers to them.
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

/// A frame that holds zeros: the only kind that is ever mapped, or becomes a table.
#[must_use = "a dropped frame is leaked"]
#[derive(Debug)]
pub(crate) struct Blank(Frame);

impl Blank {
    /// Takes a frame for what it is.
    ///
    /// # Safety
    ///
    /// The caller guarantees that every byte of the frame is zero, for every CPU.
    pub(crate) const unsafe fn new_unchecked(frame: Frame) -> Self {
        Self(frame)
    }

    pub(crate) const fn into_frame(self) -> Frame {
        self.0
    }
}
