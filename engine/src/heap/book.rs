//! The heap's books: which bytes of a linear memory belong to whom. Pure: no byte of it is touched here.
//!
//! Owns the address space that it was given with [`Book::extend`]. Every page of it is in a free range, in a
//! large block, or in a slab. What is released is told through [`Book::next_release`], which its caller asks
//! after each operation until there is nothing more, and zeroes: the pages are taken to read zero from then on.
//! Nothing is found by its content, so that no guest can lie to it; nothing takes longer for more blocks than a
//! search in a B-tree does.

mod resize;
mod words;

use alloc::{boxed::Box, collections::BTreeMap, vec::Vec};
use core::array;

use self::words::Found;
pub(super) use self::{
    resize::Resized,
    words::{Block, NoRoom, Retention, Wanted},
};
use super::{
    class::Class,
    error::NotABlock,
    idle::Idle,
    options::{HeapOptions, HeapReport},
    pages::{PAGE_BYTES, Pages},
    ranges::FreeRanges,
    shelf::{Place, Shelf},
    slab::Slab,
};

/// What one guest's heap has handed out.
#[derive(Debug)]
pub(super) struct Book {
    options: HeapOptions,
    /// The most blocks of whole pages, slabs and free ranges together.
    most_entries: usize,
    free: FreeRanges,
    /// By first page.
    holdings: BTreeMap<u64, Holding>,
    /// For each class the slabs with a vacant slot.
    shelves: [Shelf; Class::COUNT],
    idle: Idle,
    /// Pages of freed blocks that the caller was not told of yet.
    released: Vec<Pages>,
}

/// What pages are used for.
#[derive(Debug)]
enum Holding {
    /// A block of as many whole pages.
    Large(u64),
    /// Small blocks.
    Slab(Box<Slab>),
}

impl Holding {
    fn pages(&self, first: u64) -> Pages {
        match self {
            Self::Large(count) => Pages::new(first, *count),
            Self::Slab(slab) => slab.pages(),
        }
    }
}

impl Book {
    /// A heap without addresses. `most_entries` bounds what it takes of the kernel's.
    pub(super) fn new(options: HeapOptions, most_entries: usize) -> Self {
        Self {
            options,
            most_entries,
            free: FreeRanges::default(),
            holdings: BTreeMap::new(),
            shelves: array::from_fn(|_| Shelf::default()),
            idle: Idle::default(),
            released: Vec::new(),
        }
    }

    pub(super) fn options(&self) -> &HeapOptions {
        &self.options
    }

    /// Gives the heap pages that it does not have and that read zero.
    pub(super) fn extend(&mut self, pages: Pages) {
        self.free.insert(pages);
    }

    /// Counts an operation, for the delay after which idle pages are released.
    pub(super) fn tick(&mut self) {
        self.idle.tick();
    }

    /// Hands out a block.
    ///
    /// # Errors
    ///
    /// [`NoRoom`]; nothing has changed then.
    pub(super) fn allocate(&mut self, wanted: Wanted) -> Result<Block, NoRoom> {
        match wanted {
            Wanted::Small(class) => self.allocate_small(class),
            Wanted::Large { pages, align_pages } => {
                let pages = self.enter(pages, align_pages)?;
                self.holdings.insert(pages.first, Holding::Large(pages.count));
                let address = pages.address();
                Ok(Block { address, bytes: pages.bytes(), stale: address..address })
            }
        }
    }

    /// Takes the block at `address` back.
    ///
    /// # Errors
    ///
    /// [`NotABlock`]; nothing has changed then.
    pub(super) fn free(&mut self, address: u64) -> Result<(), NotABlock> {
        match self.find(address)? {
            Found::Large(pages) => {
                self.holdings.remove(&pages.first);
                self.give_up(pages);
            }
            Found::Small { slab: first, slot, class } => {
                let slab = slab_at(&mut self.holdings, first);
                let (was_full, before) = (slab.is_full(), Place::new(slab.live(), first));
                slab.give_back(slot, &mut self.idle);
                let after = Place::new(slab.live(), first);
                let shelf = &mut self.shelves[class.index()];
                if was_full { shelf.add(after) } else { shelf.change(before, after) }
            }
        }
        Ok(())
    }

    /// The bytes of the block at `address`.
    ///
    /// # Errors
    ///
    /// [`NotABlock`] if there is none.
    pub(super) fn usable_size(&self, address: u64) -> Result<u64, NotABlock> {
        Ok(match self.find(address)? {
            Found::Large(pages) => pages.bytes(),
            Found::Small { class, .. } => class.slot_bytes() as u64,
        })
    }

    /// By how many pages the memory, whose last whole page is in front of page `end`, has to grow so that the
    /// new ones are enough for `pages` pages aligned to `align_pages`. Nothing where that is more than there are.
    pub(super) fn missing(&self, pages: u64, align_pages: u64, end: u64) -> Option<u64> {
        let start = self.free.ending_at(end).map_or(end, |tail| tail.first);
        start.checked_next_multiple_of(align_pages)?.checked_add(pages)?.checked_sub(end)
    }

    /// Pages that the caller has to zero and whose frames it is to release, until there are none. They are
    /// free, or in a slab, and it must do so before the next operation.
    pub(super) fn next_release(&mut self, retention: Retention) -> Option<Pages> {
        if let Some(pages) = self.released.pop() {
            return Some(pages);
        }
        let page = match retention {
            Retention::AsConfigured => self.idle.pop_due(&self.options)?,
            Retention::Nothing => self.idle.pop()?,
        };
        let (&first, _) = self.holdings.range(..=page).next_back().expect("an idle page is in a slab");
        let slab = slab_at(&mut self.holdings, first);
        slab.clean(page);
        if slab.is_clean() {
            let (class, pages) = (slab.class(), slab.pages());
            self.shelves[class.index()].remove(Place::new(0, first));
            self.holdings.remove(&first);
            self.free.insert(pages);
        }
        Some(Pages::new(page, 1))
    }

    /// The figures. Takes time by the number of blocks.
    pub(super) fn report(&self) -> HeapReport {
        let mut report = HeapReport {
            idle_pages: self.idle.len(),
            free_pages: self.free.page_count(),
            ..HeapReport::default()
        };
        for holding in self.holdings.values() {
            let (blocks, bytes, pages) = match holding {
                Holding::Large(count) => (1, count * PAGE_BYTES, *count),
                Holding::Slab(slab) => {
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

    fn allocate_small(&mut self, class: Class) -> Result<Block, NoRoom> {
        let first = match self.shelves[class.index()].fullest() {
            Some(first) => first,
            None => self.new_slab(class)?,
        };
        let slab = slab_at(&mut self.holdings, first);
        let before = Place::new(slab.live(), first);
        let block = slab.take(&mut self.idle);
        let after = Place::new(slab.live(), first);
        let shelf = &mut self.shelves[class.index()];
        if slab.is_full() {
            shelf.remove(before);
        } else {
            shelf.change(before, after);
        }
        Ok(block)
    }

    fn new_slab(&mut self, class: Class) -> Result<u64, NoRoom> {
        let first = self.enter(class.pages() as u64, 1)?.first;
        self.holdings.insert(first, Holding::Slab(Box::new(Slab::new(class, first))));
        self.shelves[class.index()].add(Place::new(0, first));
        Ok(first)
    }

    /// Takes the pages of a new holding out of the free ranges.
    fn enter(&mut self, pages: u64, align_pages: u64) -> Result<Pages, NoRoom> {
        if self.holdings.len() + self.free.len() >= self.most_entries {
            return Err(NoRoom::Entries);
        }
        self.free.take(pages, align_pages).ok_or(NoRoom::Addresses { pages, align_pages })
    }

    /// Makes pages of a block free and has them released.
    fn give_up(&mut self, pages: Pages) {
        self.free.insert(pages);
        self.released.push(pages);
    }

    /// The live block at `address`.
    fn find(&self, address: u64) -> Result<Found, NotABlock> {
        let page = address / PAGE_BYTES;
        let at_or_before = self.holdings.range(..=page).next_back();
        let holding = at_or_before.filter(|(first, holding)| holding.pages(**first).contains(page));
        match holding {
            Some((&first, Holding::Slab(slab))) => {
                Ok(Found::Small { slab: first, slot: slab.find(address)?, class: slab.class() })
            }
            Some((&first, Holding::Large(count))) if address == first * PAGE_BYTES => {
                Ok(Found::Large(Pages::new(first, *count)))
            }
            Some((_, Holding::Large(_))) => Err(NotABlock::Foreign),
            None if address.is_multiple_of(PAGE_BYTES) && self.free.containing(page).is_some() => {
                Err(NotABlock::Freed)
            }
            None => Err(NotABlock::Foreign),
        }
    }
}

/// The slab that starts at page `first`, where the caller knows that there is one.
fn slab_at(holdings: &mut BTreeMap<u64, Holding>, first: u64) -> &mut Slab {
    match holdings.get_mut(&first) {
        Some(Holding::Slab(slab)) => slab,
        Some(Holding::Large(_)) | None => unreachable!("slabs are listed as long as they live"),
    }
}
