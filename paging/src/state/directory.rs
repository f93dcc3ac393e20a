//! The shards of a space, and which of them an address is in.
//!
//! A shard is a part of the window that has its own lock: the block of a region of 1 GiB or more,
//! or 1 GiB that smaller regions have in common. A fault finds the shard of its address without a
//! lock: each 1 GiB of the window has a link, which leads to its shard.
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
use crate::pages::{entry_number, pieces};
use crate::record::Records;
use crate::table::{Roots, ShardTables, Window};

/// The shards that are made with the directory, so that a small kernel makes no other one.
const FIRST_SHARDS: usize = 16;

/// A part of the window, with a lock. It shares no cache line with another shard.
#[derive(Debug)]
#[repr(align(128))]
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
    /// The number of the first 1 GiB of the window.
    first_gib: u64,
    /// The shard of each 1 GiB of the window.
    gibs: Box<[Link]>,
    /// The list of all shards, open or closed, in the order in which they were made.
    first: Once<Box<Shard>>,
    last: Link,
    /// The shard that was closed last, among those that are closed.
    closed: Link,
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
            first_gib: entry_number(pages.start, PageTableLevel::Three),
            gibs: pieces(pages, PageTableLevel::Three).map(|_| Link::default()).collect(),
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
        self.gibs.get(self.index(page))?.get()
    }

    /// The open shards, in the order of their addresses. It takes time for the window.
    pub(crate) fn shards(&self) -> impl Iterator<Item = &Shard> {
        // Several links in a row lead to a shard of several GiB.
        let mut last = ptr::null();
        let links = self.gibs.iter().filter_map(Link::get);
        links.filter(move |shard| !ptr::eq(mem::replace(&mut last, *shard), *shard))
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
        self.gibs[self.index(pages.start)..self.index(pages.end)].iter().for_each(|link| link.set(shard));
    }

    /// The index of the page's link. It is beyond the last one if the page is not in the window.
    #[inline]
    fn index(&self, page: Page) -> usize {
        let number = entry_number(page, PageTableLevel::Three).wrapping_sub(self.first_gib);
        usize::try_from(number).unwrap_or(usize::MAX)
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
