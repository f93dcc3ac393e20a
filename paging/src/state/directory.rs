//! The shards of a space, and which of them an address is in.
//!
//! A shard is a part of the window that has its own lock: the block of a region of 1 GiB or more,
//! or 1 GiB that smaller regions have in common. A fault finds the shard of its address without a
//! lock, by two loads: one for the 512 GiB that the address is in, and one for the 1 GiB.
//!
//! A shard lives as long as the directory. One without regions is *closed*: it has no pages, and is
//! opened again for others. So a lookup may return a shard that has been closed since, or opened
//! for other pages. That is harmless, because the records of its regions are looked up under its
//! lock.
//!
//! Invariants: a link leads to a shard of the directory's list, or nowhere. No shard leaves the
//! list. One CPU at a time opens or closes shards, because it holds the lock of the placement.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use core::{iter, mem, ptr};

use spin::{Mutex, Once};
use x86_64::structures::paging::Page;
use x86_64::structures::paging::page::PageRange;
use x86_64::structures::paging::page_table::PageTableLevel;

use super::State;
use crate::pages::{ENTRIES, count, pages_per_table, pieces};
use crate::record::Records;
use crate::table::{Roots, ShardTables, Window};

/// The shards that are made with the directory, so that a small kernel makes no other one.
const FIRST_SHARDS: usize = 16;

/// A part of the window, with a lock.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(super) state: Mutex<State>,
    /// Whether a link leads to it.
    is_open: AtomicBool,
    /// The shard that was made after this one.
    next: Once<Box<Self>>,
    /// The shard that was closed before this one, while both are closed.
    next_closed: Link,
}

/// All shards of a space.
#[derive(Debug)]
pub(crate) struct Directory {
    /// The level-4 index of the first piece.
    first_index: u16,
    /// The 512 GiB of each level-4 entry that the window touches.
    pieces: Box<[Piece]>,
    /// The list of all shards, open or closed, in the order in which they were made.
    first: Once<Box<Shard>>,
    last: Link,
    /// The shard that was closed last, among those that are closed.
    closed: Link,
}

/// The shards in 512 GiB of addresses.
#[derive(Debug, Default)]
struct Piece {
    /// The shard of each 1 GiB. It is made for the first shard that does not have all of the piece.
    gibs: Once<Box<[Link; ENTRIES]>>,
    /// The shard that has all of the piece.
    whole: Link,
}

/// A pointer to a shard of the list, or to none.
#[derive(Debug, Default)]
struct Link(AtomicPtr<Shard>);

impl Link {
    /// The shard that the link leads to.
    #[inline]
    fn get(&self) -> Option<&Shard> {
        let shard = self.0.load(Ordering::Acquire);
        // SAFETY: `set` has stored null, or a shard of the directory's list. A shard of the list
        // lives as long as the directory, which outlives its links, and only shared references to
        // it are made meanwhile.
        unsafe { shard.as_ref() }
    }

    /// Makes the link lead to this shard, which is in the list, or nowhere.
    fn set(&self, shard: Option<&Shard>) {
        let shard = shard.map_or(ptr::null_mut(), |shard| ptr::from_ref(shard).cast_mut());
        self.0.store(shard, Ordering::Release);
    }
}

impl Directory {
    /// The directory of the window, with enough closed shards for the regions of a small kernel.
    pub(crate) fn new(window: &Window) -> Self {
        let pages = window.pages();
        let directory = Self {
            first_index: pages.start.p4_index().into(),
            pieces: pieces(pages, PageTableLevel::Four).map(|_| Piece::default()).collect(),
            first: Once::new(),
            last: Link::default(),
            closed: Link::default(),
        };
        for _ in 0..FIRST_SHARDS {
            let nowhere = Page::range(pages.start, pages.start + 1);
            let tables = ShardTables::new(Roots::new(nowhere, window), window);
            directory.put_aside(directory.add(tables));
        }
        directory
    }

    /// The shard that has this page, or had it a moment ago. `None` for a page outside of the
    /// window.
    #[inline]
    pub(crate) fn find(&self, page: Page) -> Option<&Shard> {
        let piece = self.piece(page)?;
        let gib = piece.gibs.get().and_then(|gibs| gibs[usize::from(page.p3_index())].get());
        gib.or_else(|| piece.whole.get())
    }

    /// The open shards, in the order of their addresses.
    pub(crate) fn shards(&self) -> impl Iterator<Item = &Shard> {
        let links = self.pieces.iter().flat_map(|piece| {
            let gibs = piece.gibs.get().into_iter().flat_map(|gibs| gibs.iter());
            iter::once(&piece.whole).chain(gibs)
        });
        // Several links in a row lead to a shard of several GiB.
        let mut last = ptr::null();
        links.filter_map(Link::get).filter(move |shard| !ptr::eq(mem::replace(&mut last, *shard), *shard))
    }

    /// The open shards, in the order in which they were made.
    ///
    /// It takes time for the most shards that were ever open at once, and not for the window. So a
    /// fault may walk it.
    pub(crate) fn open_shards(&self) -> impl Iterator<Item = &Shard> {
        let first = self.first.get().map(Box::as_ref);
        iter::successors(first, |shard: &&Shard| shard.next.get().map(Box::as_ref))
            .filter(|shard| shard.is_open.load(Ordering::Acquire))
    }

    /// Takes a closed shard out, to be opened for other pages.
    pub(crate) fn take_closed(&self) -> Option<&Shard> {
        let shard = self.closed.get()?;
        self.closed.set(shard.next_closed.get());
        Some(shard)
    }

    /// Makes a shard with these tables, which is not open yet.
    pub(crate) fn add(&self, tables: ShardTables) -> &Shard {
        let new = || {
            let state = State { tables, records: Records::with_capacity(1) };
            Box::new(Shard {
                state: Mutex::new(state),
                is_open: AtomicBool::new(false),
                next: Once::new(),
                next_closed: Link::default(),
            })
        };
        let end = self.last.get().map_or(&self.first, |last| &last.next);
        let shard = end.call_once(new);
        self.last.set(Some(shard));
        shard
    }

    /// Opens the shard for these pages, which have none and are those of its tables.
    pub(crate) fn open(&self, pages: PageRange, shard: &Shard) {
        self.lead(pages, Some(shard));
        shard.is_open.store(true, Ordering::Release);
    }

    /// Closes the shard of these pages, which has no region any more.
    pub(crate) fn close(&self, pages: PageRange, shard: &Shard) {
        shard.is_open.store(false, Ordering::Release);
        self.lead(pages, None);
        self.put_aside(shard);
    }

    fn put_aside(&self, shard: &Shard) {
        shard.next_closed.set(self.closed.get());
        self.closed.set(Some(shard));
    }

    /// Makes the links of these pages lead to this shard, or nowhere.
    fn lead(&self, pages: PageRange, shard: Option<&Shard>) {
        for part in pieces(pages, PageTableLevel::Four) {
            let Some(piece) = self.piece(part.start) else { continue };
            if count(part) == pages_per_table(PageTableLevel::Three) {
                piece.whole.set(shard);
                continue;
            }
            let gibs =
                piece.gibs.call_once(|| Box::new([const { Link(AtomicPtr::new(ptr::null_mut())) }; ENTRIES]));
            for gib in pieces(part, PageTableLevel::Three) {
                gibs[usize::from(gib.start.p3_index())].set(shard);
            }
        }
    }

    #[inline]
    fn piece(&self, page: Page) -> Option<&Piece> {
        let number = u16::from(page.p4_index()).wrapping_sub(self.first_index);
        self.pieces.get(usize::from(number))
    }
}

impl Drop for Directory {
    /// Frees the shards one by one, because a shard that frees the next one with itself would need
    /// a stack as deep as the list is long.
    fn drop(&mut self) {
        let mut rest = mem::take(&mut self.first);
        while let Some(mut shard) = rest.try_into_inner() {
            rest = mem::take(&mut shard.next);
        }
    }
}
