//! Large pages: 2 MiB of data frames behind one entry of a level-2 table.
//!
//! A large page is mapped as a whole, when it is committed, and cleared as a whole; for anything that is done to a
//! part of it, it gives way to a table of small pages. For that a frame was set aside, so it cannot fail. On the way
//! from one to the other the entry is not present, and the TLB is flushed: two translations of different sizes for
//! the same address leave open which one the CPU uses (Intel SDM Vol 3A, 4.10.2.3). One flush drops all of a large
//! page (same volume, 4.10.4.1).
//!
//! Invariant: a large page counts as one thing that keeps its level-2 table alive. Called by: the fault path, and
//! whatever clears pages.

use x86_64::structures::paging::page::PageRange;
use x86_64::structures::paging::page_table::{PageTableEntry, PageTableLevel};
use x86_64::structures::paging::{Page, PhysFrame};

use super::entry::{
    OWNED, OWNED_AHEAD, count_down, count_up, defer, detach, is_ahead, reattach_large, set_large_ahead,
};
use super::{Held, Spares, Table, count, pages_per_table};
use crate::frame::{Frame, FrameRun};
use crate::memory::LargeBlank;
use crate::tlb::{FlushBatch, Tlb};

/// The data frames of a large page, and the pages that it covers.
pub(crate) const LARGE_PAGE_FRAMES: u64 = pages_per_table(PageTableLevel::One);

impl Table<'_> {
    /// Makes an absent entry of a level-2 table the owner of frames for all of its pages, which nobody has asked for
    /// yet but for one; `spare` is set aside for the table that it may have to give way to.
    pub(crate) fn put_large(&mut self, page: Page, frames: LargeBlank, spare: Frame, spares: &mut Spares) {
        debug_assert_eq!((self.level, self.held(page)), (PageTableLevel::Two, Held::Absent));
        let frames = frames.into_run().into_phys();
        debug_assert_eq!((frames.len(), frames.start.pfn() % LARGE_PAGE_FRAMES), (LARGE_PAGE_FRAMES, 0));
        spares.push(spare, self.memory);
        set_large_ahead(self.entry(page), frames.start);
        count_up(self.owner, 1);
    }

    /// Takes a large page out of the CPU's reach. Its frames come out by [`take_large`](Self::take_large), once the
    /// TLB is flushed for a page of it.
    pub(crate) fn detach_large(&mut self, page: Page) {
        debug_assert!(matches!(self.held(page), Held::Large(_)), "there is no large page");
        detach(self.entry(page));
        count_down(self.owner, 1);
    }

    /// Takes the frames of a large page out of the entry, which is absent then. A frame that was set aside for it is
    /// left over.
    ///
    /// # Safety
    ///
    /// The caller guarantees that the TLB was flushed for a page of it after it was taken out of the CPU's reach: by
    /// [`detach_large`](Self::detach_large), or by the [`detach`](Self::detach) of a table above.
    ///
    /// # Panics
    ///
    /// If the entry has no large page.
    pub(crate) unsafe fn take_large(&mut self, page: Page) -> FrameRun {
        let (Held::Large(first) | Held::DetachedLarge(first)) = self.held(page) else {
            unreachable!("the walk has just seen the large page");
        };
        self.entry(page).set_unused();
        // SAFETY: the entry owned the frames and is cleared; by this function's contract no CPU translates by it any
        // more.
        unsafe { FrameRun::from_phys(PhysFrame::range(first, first + LARGE_PAGE_FRAMES)) }
    }

    /// Puts a table of small pages with the same frames in the place of a large page.
    pub(crate) fn split(&mut self, page: Page, spares: &mut Spares, tlb: &impl Tlb) {
        let Held::Large(first) = self.held(page) else { return };
        let flags = if is_ahead(self.entry(page)) { OWNED_AHEAD } else { OWNED };
        detach(self.entry(page));
        tlb.flush(page);
        let spare = spares.pop(self.memory);
        self.put_table(page, first, spare, |entry, frame| entry.set_frame(frame, flags));
    }

    /// Fills the part of a large page with zeros that these pages are, and tells how many they are.
    pub(crate) fn zero_large(&mut self, pages: PageRange) -> u64 {
        let Held::Large(first) = self.held(pages.start) else { return 0 };
        let start = first + u64::from(pages.start.p1_index());
        for frame in PhysFrame::range(start, start + count(pages)) {
            // SAFETY: the entry owns the frame and is borrowed exclusively; it holds data, and regions hand out
            // addresses but no reference to their data.
            unsafe { self.memory.zero_at(frame) };
        }
        count(pages)
    }

    /// Whether the page has a data frame that holds something else than zeros.
    pub(crate) fn is_written(&mut self, page: Page) -> bool {
        let memory = self.memory;
        // SAFETY: an entry owns the frame, and the tables are borrowed exclusively; it holds data, and regions hand
        // out addresses but no reference to their data.
        self.data_frame(page).is_some_and(|frame| !unsafe { memory.is_zero_at(frame) })
    }

    fn data_frame(&mut self, page: Page) -> Option<PhysFrame> {
        match self.held(page) {
            Held::Large(first) => Some(first + u64::from(page.p1_index())),
            Held::Owned(frame) if self.level == PageTableLevel::One => Some(frame),
            Held::Owned(_) => self.below(page)?.data_frame(page),
            Held::Absent
            | Held::Shared
            | Held::Sink
            | Held::Deferred(_)
            | Held::Detached(_)
            | Held::DetachedLarge(_) => None,
        }
    }

    /// Takes a large page that was committed ahead out of the CPU's reach, until it is settled.
    pub(crate) fn suspend_large(&mut self, page: Page, batch: &mut FlushBatch) {
        let is_large = matches!(self.held(page), Held::Large(_));
        if is_large && is_ahead(self.entry(page)) {
            detach(self.entry(page));
            batch.add(page);
        }
    }

    /// Makes a suspended large page a table of small ones, of which those that hold zeros are deferred, and tells how
    /// many they are; one without any is mapped again for good.
    ///
    /// # Safety
    ///
    /// The caller guarantees that the TLB was flushed for a page of it after it was suspended.
    pub(crate) unsafe fn settle_large(&mut self, page: Page, spares: &mut Spares) -> u64 {
        let Held::DetachedLarge(first) = self.held(page) else { return 0 };
        let memory = self.memory;
        // SAFETY: the entry owns the frame, is borrowed exclusively, and no CPU translates by it, by this function's
        // contract; the frame holds data, so no reference to it exists.
        let is_zero = |frame| unsafe { memory.is_zero_at(frame) };
        if !PhysFrame::range(first, first + LARGE_PAGE_FRAMES).any(is_zero) {
            reattach_large(self.entry(page));
            return 0;
        }
        let (spare, mut deferred_frames) = (spares.pop(memory), 0);
        self.put_table(page, first, spare, |entry, frame| {
            entry.set_frame(frame, OWNED);
            if is_zero(frame) {
                defer(entry);
                deferred_frames += 1;
            }
        });
        deferred_frames
    }

    /// Puts a table in the place of a large page that no CPU knows any more; `write` makes the owner of each of its
    /// frames out of an entry.
    fn put_table(
        &mut self,
        page: Page,
        first: PhysFrame,
        spare: Frame,
        mut write: impl FnMut(&mut PageTableEntry, PhysFrame),
    ) {
        // SAFETY: the frame is owned, so nobody else has a reference to it, and all of its entries are written, so it
        // is a table whatever it held. The reference ends here.
        let entries = unsafe { self.memory.table(spare.phys()) };
        for (entry, frame) in entries.iter_mut().zip(PhysFrame::range(first, first + LARGE_PAGE_FRAMES)) {
            write(entry, frame);
        }
        let owner = self.entry(page);
        owner.set_frame(spare.into_phys(), OWNED);
        count_up(owner, LARGE_PAGE_FRAMES);
    }
}
