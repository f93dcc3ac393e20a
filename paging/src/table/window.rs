//! The level-3 tables of the window of addresses in which regions live.
//!
//! There is one for each level-4 entry that the window touches, from the start of the space to its
//! end. So the root's entries do not change, and a kernel may copy them into other roots.

use alloc::sync::Arc;
use alloc::vec::Vec;

use x86_64::structures::paging::page::PageRange;
use x86_64::structures::paging::page_table::{PageTableEntry, PageTableLevel};
use x86_64::structures::paging::{Page, PageTableFlags, PageTableIndex, PhysFrame};

use crate::frame::{Frame, FrameSource, PhysicalMemory};
use crate::pages::pieces;
use crate::platform::Platform;
use crate::supply::Supply;
use crate::tlb::{Cpus, FlushBatch, Flushed};

/// The flags of the root's entries. The entries below restrict the access further.
const ROOT_ENTRY: PageTableFlags = PageTableFlags::PRESENT
    .union(PageTableFlags::WRITABLE)
    .union(PageTableFlags::NO_EXECUTE)
    .union(PageTableFlags::ACCESSED);

/// The level-3 tables of the window, in the order of their addresses.
#[derive(Debug)]
pub(crate) struct Window {
    memory: PhysicalMemory,
    pages: PageRange,
    level3: Vec<Frame>,
    cpus: Arc<Cpus>,
}

impl Window {
    /// A window without tables, with capacity for the level-3 tables.
    pub(crate) fn new(pages: PageRange, memory: PhysicalMemory, cpus: Arc<Cpus>) -> Self {
        Self { memory, pages, level3: Vec::with_capacity(root_entries(pages).count()), cpus }
    }

    /// The CPUs that translate by the tables.
    pub(crate) const fn cpus(&self) -> &Arc<Cpus> {
        &self.cpus
    }

    /// The number of level-3 tables that the window needs.
    pub(crate) fn needed_frames(&self) -> u64 {
        root_entries(self.pages).count() as u64
    }

    /// Takes the level-3 tables. No root refers to them yet. After an error there are none, and it
    /// is the number that the source had frames for.
    pub(crate) fn take_level3<S: FrameSource>(
        &mut self,
        supply: &Supply<'_, S>,
        platform: &impl Platform,
    ) -> Result<(), u64> {
        for _ in root_entries(self.pages) {
            let zeroed = supply.take().map_err(|_| {
                let given = self.level3_frames();
                // No table was attached, so there is nothing to flush.
                self.release_level3(supply, &FlushBatch::new().flush(platform));
                given
            })?;
            self.level3.push(zeroed.into_frame());
        }
        Ok(())
    }

    /// The first entry of the window in this root that is in use, if any.
    ///
    /// As in all methods that access a root, no reference to it is made, because the kernel may
    /// keep one.
    ///
    /// # Safety
    ///
    /// The caller guarantees that the frame contains a level-4 table.
    pub(crate) unsafe fn used_entry(&self, root: PhysFrame) -> Option<PageTableIndex> {
        root_entries(self.pages).find(|index| {
            // SAFETY: forwarded from this function's contract.
            let entry = unsafe { self.memory.entry(root, *index) };
            !entry.is_unused()
        })
    }

    /// Makes the root refer to the level-3 tables.
    ///
    /// # Safety
    ///
    /// The caller guarantees that the frame contains a level-4 table, that the window's entries are
    /// the caller's to use, and that nothing else accesses the table meanwhile.
    pub(crate) unsafe fn attach(&self, root: PhysFrame) {
        for (index, table) in root_entries(self.pages).zip(&self.level3) {
            let mut entry = PageTableEntry::new();
            entry.set_frame(table.phys(), ROOT_ENTRY);
            // SAFETY: forwarded from this function's contract.
            unsafe { self.memory.set_entry(root, index, entry) };
        }
    }

    /// Clears the entries that [`attach`](Self::attach) made.
    ///
    /// # Safety
    ///
    /// As for [`attach`](Self::attach).
    pub(crate) unsafe fn detach(&self, root: PhysFrame, batch: &mut FlushBatch) {
        for index in root_entries(self.pages) {
            // SAFETY: forwarded from this function's contract.
            unsafe { self.memory.set_entry(root, index, PageTableEntry::new()) };
        }
        batch.add_everything();
    }

    /// The value of the root's entry for this page.
    pub(crate) fn root_entry(&self, page: Page) -> u64 {
        self.level3(page).start_address().as_u64() | ROOT_ENTRY.bits()
    }

    /// Whether this root leads to the level-3 table of the page, as the space's own root does.
    ///
    /// # Safety
    ///
    /// The caller guarantees that the frame contains a level-4 table.
    pub(crate) unsafe fn is_attached_to(&self, root: PhysFrame, page: Page) -> bool {
        // SAFETY: forwarded from this function's contract.
        let entry = unsafe { self.memory.entry(root, page.p4_index()) };
        let needed = PageTableFlags::PRESENT | PageTableFlags::WRITABLE;
        entry.flags().contains(needed) && entry.addr() == self.level3(page).start_address()
    }

    /// Releases the level-3 tables, which were detached or never attached.
    pub(crate) fn release_level3<S: FrameSource>(&mut self, supply: &Supply<'_, S>, _: &Flushed) {
        self.level3.drain(..).for_each(|frame| supply.release(frame));
    }

    /// The pages of the window.
    pub(crate) const fn pages(&self) -> PageRange {
        self.pages
    }

    pub(crate) const fn memory(&self) -> PhysicalMemory {
        self.memory
    }

    /// The number of level-3 tables.
    pub(crate) fn level3_frames(&self) -> u64 {
        self.level3.len() as u64
    }

    /// The level-3 table over this page of the window.
    pub(super) fn level3(&self, page: Page) -> PhysFrame {
        let number = u16::from(page.p4_index()) - u16::from(self.pages.start.p4_index());
        self.level3[usize::from(number)].phys()
    }
}

/// The indices of the root's entries that the window touches.
fn root_entries(window: PageRange) -> impl Iterator<Item = PageTableIndex> {
    pieces(window, PageTableLevel::Four).map(|piece| piece.start.p4_index())
}
