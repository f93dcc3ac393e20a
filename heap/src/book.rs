//! The books of a memory's heap: which addresses are allocated. No byte of the memory is touched
//! here.
//!
//! The books own the pages passed to [`Book::extend`]. Each of them is in a run of free pages, in a
//! large block, or in a slab. After every operation the caller must drain [`Book::next_release`]
//! and release the pages that it returns, because the books take them to read zero from then on.

mod bytes;
#[cfg(test)]
mod model;
mod request;
mod resize;

use alloc::{boxed::Box, collections::BTreeMap, vec::Vec};
use core::array;

use self::request::Found;
pub(crate) use self::{
    bytes::number,
    request::{Drain, NoRoom, Request},
    resize::{Moving, Resized},
};
use crate::{
    block::Block,
    class::Class,
    error::NotABlock,
    idle::Idle,
    options::{HeapOptions, HeapReport},
    pages::{PAGE_BYTES, Pages},
    partial::{PartialSlabs, Rank},
    runs::FreeRuns,
    slab::Slab,
};

/// The books of one memory.
#[derive(Clone, Debug)]
pub(crate) struct Book {
    options: HeapOptions,
    free: FreeRuns,
    /// The large blocks and slabs, by first page.
    extents: BTreeMap<u64, Extent>,
    /// The slabs of each class that have a vacant slot.
    partial: [PartialSlabs; Class::COUNT],
    idle: Idle,
    /// Pages of freed large blocks that [`Book::next_release`] has not returned yet.
    released: Vec<Pages>,
    /// The block whose move was not completed by the last call.
    moving: Option<Moving>,
}

/// Consecutive pages that are in use.
#[derive(Clone, Debug)]
enum Extent {
    /// A large block of this number of pages.
    Large(u64),
    /// A slab of small blocks.
    Slab(Box<Slab>),
}

impl Extent {
    fn pages(&self, first: u64) -> Pages {
        match self {
            Self::Large(count) => Pages::new(first, *count),
            Self::Slab(slab) => slab.pages(),
        }
    }
}

impl Book {
    /// Returns books without pages.
    pub(crate) fn new(options: HeapOptions) -> Self {
        Self {
            options,
            free: FreeRuns::default(),
            extents: BTreeMap::new(),
            partial: array::from_fn(|_| PartialSlabs::default()),
            idle: Idle::default(),
            released: Vec::new(),
            moving: None,
        }
    }

    pub(crate) fn options(&self) -> &HeapOptions {
        &self.options
    }

    /// Returns the same books with other options.
    pub(crate) fn with_options(self, options: HeapOptions) -> Self {
        Self { options, ..self }
    }

    /// Returns the address after the last page.
    pub(crate) fn end_bytes(&self) -> u64 {
        let used = self.extents.last_key_value().map(|(first, extent)| extent.pages(*first));
        let ends = used.into_iter().chain(self.free.last()).map(|pages| pages.end());
        ends.max().unwrap_or(0) * PAGE_BYTES
    }

    /// Returns the number of blocks, slabs and runs of free pages that a copy has to copy.
    pub(crate) fn entries(&self) -> u64 {
        (self.extents.len() + self.free.len()) as u64
    }

    /// Adds pages to the heap. They must read zero and must not belong to the heap already.
    pub(crate) fn extend(&mut self, pages: Pages) {
        self.free.insert(pages);
    }

    /// Adds pages to the heap that the guest may have written to, and lists them for
    /// [`next_release`](Self::next_release).
    pub(crate) fn adopt(&mut self, pages: Pages) {
        if pages.count > 0 {
            self.release(pages);
        }
    }

    /// Lists pages again that [`next_release`](Self::next_release) has returned and the caller has
    /// not released.
    pub(crate) fn postpone(&mut self, pages: Pages) {
        self.released.push(pages);
    }

    /// Counts an operation for [`HeapOptions::idle_operations`].
    pub(crate) fn tick(&mut self) {
        self.idle.tick();
    }

    /// Allocates a block.
    ///
    /// # Errors
    ///
    /// [`NoRoom`]; nothing has changed then.
    pub(crate) fn allocate(&mut self, request: Request) -> Result<Block, NoRoom> {
        match request {
            Request::Small(class) => self.allocate_small(class),
            Request::Large { pages, align_pages } => {
                let pages = self.take_pages(pages, align_pages)?;
                self.extents.insert(pages.first, Extent::Large(pages.count));
                let address = pages.address();
                Ok(Block { address, bytes: pages.bytes(), stale: address..address })
            }
        }
    }

    /// Frees the block at `address`.
    ///
    /// # Errors
    ///
    /// [`NotABlock`]; nothing has changed then.
    pub(crate) fn free(&mut self, address: u64) -> Result<(), NotABlock> {
        match self.find(address)? {
            Found::Large(pages) => {
                self.extents.remove(&pages.first);
                self.release(pages);
            }
            Found::Small { slab: first, slot, class } => {
                let slab = slab_at(&mut self.extents, first);
                let was_full = slab.is_full();
                let before = Rank::new(slab.live(), first);
                slab.free(slot, &mut self.idle);
                let after = Rank::new(slab.live(), first);
                let partial = &mut self.partial[class.index()];
                if was_full { partial.add(after) } else { partial.change(before, after) }
            }
        }
        Ok(())
    }

    /// Returns the length in bytes of the block at `address`.
    ///
    /// # Errors
    ///
    /// [`NotABlock`] if no block is live there.
    pub(crate) fn usable_size(&self, address: u64) -> Result<u64, NotABlock> {
        Ok(match self.find(address)? {
            Found::Large(pages) => pages.bytes(),
            Found::Small { class, .. } => class.slot_bytes() as u64,
        })
    }

    /// Returns the number of pages by which the memory must grow so that `pages` pages aligned to
    /// `align_pages` fit at its end. `end` is the page after the memory's last whole page. Returns
    /// `None` if the sum overflows.
    pub(crate) fn missing(&self, pages: u64, align_pages: u64, end: u64) -> Option<u64> {
        let start = self.free.ending_at(end).map_or(end, |tail| tail.first);
        start.checked_next_multiple_of(align_pages)?.checked_add(pages)?.checked_sub(end)
    }

    /// Returns whether a large block or adopted pages wait to be released.
    pub(crate) fn has_released(&self) -> bool {
        !self.released.is_empty()
    }

    /// Returns the next pages that the caller must release before the next operation, or `None` if
    /// there are no more. They must read zero afterwards.
    ///
    /// Inlined because every heap call runs it, and it nearly always returns `None`.
    #[inline]
    pub(crate) fn next_release(&mut self, drain: Drain) -> Option<Pages> {
        if let Some(pages) = self.released.pop() {
            return Some(pages);
        }
        let page = match drain {
            Drain::Due => self.idle.pop_due(&self.options)?,
            Drain::All => self.idle.pop()?,
        };
        self.set_clean(page);
        Some(Pages::new(page, 1))
    }

    /// Returns the figures. Takes linear time in the number of large blocks and slabs.
    pub(crate) fn report(&self) -> HeapReport {
        let mut report = HeapReport {
            idle_pages: self.idle.len(),
            free_pages: self.free.page_count(),
            ..HeapReport::default()
        };
        for extent in self.extents.values() {
            let (blocks, bytes, pages) = match extent {
                Extent::Large(count) => (1, count * PAGE_BYTES, *count),
                Extent::Slab(slab) => {
                    report.slabs += 1;
                    let live = u64::from(slab.live());
                    (live, live * slab.class().slot_bytes() as u64, slab.live_pages())
                }
            };
            report.live_blocks += blocks;
            report.live_bytes += bytes;
            report.live_pages += pages;
        }
        report
    }

    /// Records that `page`, which was idle, is being released. Frees the pages of its slab if they
    /// are all clean.
    fn set_clean(&mut self, page: u64) {
        let (&first, _) = self.extents.range(..=page).next_back().expect("an idle page is in a slab");
        let slab = slab_at(&mut self.extents, first);
        slab.set_clean(page);
        if slab.is_clean() {
            let class = slab.class();
            let pages = slab.pages();
            self.partial[class.index()].remove(Rank::new(0, first));
            self.extents.remove(&first);
            self.free.insert(pages);
        }
    }

    fn allocate_small(&mut self, class: Class) -> Result<Block, NoRoom> {
        let first = match self.partial[class.index()].fullest() {
            Some(first) => first,
            None => self.new_slab(class)?,
        };
        let slab = slab_at(&mut self.extents, first);
        let before = Rank::new(slab.live(), first);
        let block = slab.allocate(&mut self.idle);
        let after = Rank::new(slab.live(), first);
        let partial = &mut self.partial[class.index()];
        if slab.is_full() {
            partial.remove(before);
        } else {
            partial.change(before, after);
        }
        Ok(block)
    }

    fn new_slab(&mut self, class: Class) -> Result<u64, NoRoom> {
        let first = self.take_pages(class.pages() as u64, 1)?.first;
        self.extents.insert(first, Extent::Slab(Box::new(Slab::new(class, first))));
        self.partial[class.index()].add(Rank::new(0, first));
        Ok(first)
    }

    /// Takes the pages of a new extent from the free runs.
    fn take_pages(&mut self, pages: u64, align_pages: u64) -> Result<Pages, NoRoom> {
        if self.extents.len() + self.free.len() >= self.options.entries {
            return Err(NoRoom::Entries);
        }
        self.free.take(pages, align_pages).ok_or(NoRoom::Addresses { pages, align_pages })
    }

    /// Makes pages of a large block free, and lists them for [`next_release`](Self::next_release).
    fn release(&mut self, pages: Pages) {
        self.free.insert(pages);
        self.released.push(pages);
    }

    /// Returns the live block at `address`.
    fn find(&self, address: u64) -> Result<Found, NotABlock> {
        let page = address / PAGE_BYTES;
        let at_or_before = self.extents.range(..=page).next_back();
        let extent = at_or_before.filter(|(first, extent)| extent.pages(**first).contains(page));
        match extent {
            Some((&first, Extent::Slab(slab))) => {
                Ok(Found::Small { slab: first, slot: slab.find(address)?, class: slab.class() })
            }
            Some((&first, Extent::Large(count))) if address == first * PAGE_BYTES => {
                Ok(Found::Large(Pages::new(first, *count)))
            }
            Some((_, Extent::Large(_))) => Err(NotABlock::Foreign),
            None if address.is_multiple_of(PAGE_BYTES) && self.free.containing(page).is_some() => {
                Err(NotABlock::Freed)
            }
            None => Err(NotABlock::Foreign),
        }
    }
}

/// Returns the slab that starts at page `first`.
///
/// # Panics
///
/// If there is none. Callers have `first` from the lists of slabs.
fn slab_at(extents: &mut BTreeMap<u64, Extent>, first: u64) -> &mut Slab {
    match extents.get_mut(&first) {
        Some(Extent::Slab(slab)) => slab,
        Some(Extent::Large(_)) | None => unreachable!("a slab leaves every list when it is removed"),
    }
}
