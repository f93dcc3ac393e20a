//! The memory management units of the CPUs, in software, with caches that are as stale as the
//! architecture allows.
//!
//! Each CPU caches translations and references to level-1 and level-2 tables, and drops them only
//! when they are flushed on this CPU. A page fault drops nothing, and the flush of a page drops
//! only the references on the way to that page. So a missing flush shows as an access to a frame
//! that has another owner. A flush that is too late shows as well, because the frame source checks
//! with [`Mmu::remembers`] each frame that is released.
//!
//! One CPU runs at a time. [`Mmu::run_on`] lets another one run.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};

use palimpsest_paging::x86_64::VirtAddr;
use palimpsest_paging::x86_64::structures::idt::PageFaultErrorCode;
use palimpsest_paging::x86_64::structures::paging::page::PageRange;
use palimpsest_paging::x86_64::structures::paging::page_table::PageTableLevel;
use palimpsest_paging::x86_64::structures::paging::{
    Page, PageTable, PageTableFlags, PageTableIndex, PhysFrame,
};

use super::{ENTRIES, Memory};

/// The access of a CPU to a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

#[derive(Debug, Clone, Copy)]
struct Translation {
    frame: PhysFrame,
    writable: bool,
    /// Whether the CPU need not set the dirty bit of the entry any more.
    dirty: bool,
}

/// The MMUs: a root table, and the caches of each CPU.
#[derive(Debug)]
pub(crate) struct Mmu {
    memory: Memory,
    root: Cell<PhysFrame>,
    cpus: Vec<Caches>,
    /// The CPU that runs.
    cpu: Cell<usize>,
    flushes: Cell<(u64, u64)>,
    intervals: Cell<u64>,
    /// The number of intervals with interrupts off that contain this moment.
    depth: Cell<u32>,
    /// After how many more intervals the thread moves, and to which CPU.
    moves: Cell<Option<(u64, usize)>>,
}

/// What one CPU caches.
#[derive(Debug, Default)]
struct Caches {
    translations: RefCell<BTreeMap<Page, Translation>>,
    /// Tables, by level and by the number of the block of addresses that they translate.
    tables: RefCell<HashMap<(PageTableLevel, u64), PhysFrame>>,
    /// Some of the pages that code has accessed since everything was flushed.
    accessed: RefCell<Vec<Page>>,
}

/// The most pages that a CPU guesses from.
const GUESSES: usize = 64;

impl Mmu {
    /// The MMU of one CPU.
    pub(crate) fn new(memory: Memory, root: PhysFrame) -> Self {
        Self::with_cpus(memory, root, 1)
    }

    /// The MMUs of several CPUs, the first of which runs.
    pub(crate) fn with_cpus(memory: Memory, root: PhysFrame, cpus: usize) -> Self {
        Self {
            memory,
            root: Cell::new(root),
            cpus: (0..cpus).map(|_| Caches::default()).collect(),
            cpu: Cell::new(0),
            flushes: Cell::new((0, 0)),
            intervals: Cell::new(0),
            depth: Cell::new(0),
            moves: Cell::new(None),
        }
    }

    /// The number of CPUs.
    pub(crate) fn cpus(&self) -> usize {
        self.cpus.len()
    }

    /// The number of the CPU that runs.
    pub(crate) fn cpu(&self) -> usize {
        self.cpu.get()
    }

    /// Lets another CPU run.
    pub(crate) fn run_on(&self, cpu: usize) {
        assert!(cpu < self.cpus(), "the machine has no CPU {cpu}");
        self.cpu.set(cpu);
    }

    fn caches(&self) -> &Caches {
        &self.cpus[self.cpu()]
    }

    /// The numbers of single-page flushes and of flushes of everything so far.
    pub(crate) fn flushes(&self) -> (u64, u64) {
        self.flushes.get()
    }

    /// The number of intervals with interrupts off so far.
    pub(crate) fn intervals(&self) -> u64 {
        self.intervals.get()
    }

    /// Runs `work` with interrupts off. The thread may move when they are on again.
    pub(crate) fn without_interrupts<R>(&self, work: impl FnOnce() -> R) -> R {
        self.intervals.set(self.intervals.get() + 1);
        self.depth.set(self.depth.get() + 1);
        let done = work();
        self.depth.set(self.depth.get() - 1);
        if self.depth.get() == 0
            && let Some((intervals, cpu)) = self.moves.take()
        {
            match intervals.checked_sub(1) {
                None => self.run_on(cpu),
                Some(intervals) => self.moves.set(Some((intervals, cpu))),
            }
        }
        done
    }

    /// Takes back what [`move_after`](Self::move_after) has not done yet.
    pub(crate) fn stay(&self) {
        self.moves.set(None);
    }

    /// Moves the thread to another CPU after its next interval with interrupts off, and `intervals`
    /// more.
    pub(crate) fn move_after(&self, intervals: u64, cpu: usize) {
        self.moves.set(Some((intervals, cpu)));
    }

    pub(crate) fn memory(&self) -> Memory {
        self.memory
    }

    pub(crate) fn root(&self) -> PhysFrame {
        self.root.get()
    }

    /// Fills a frame with the entries of a level-4 table, each with its index, and zeros.
    pub(crate) fn write_root(&self, root: PhysFrame, entries: impl IntoIterator<Item = (usize, u64)>) {
        let table: *mut [u64; ENTRIES] = self.memory.bytes(root).cast();
        // SAFETY: the frame is in the machine's memory and aligned, and the crate under test is not
        // running.
        let table = unsafe { &mut *table };
        table.fill(0);
        entries.into_iter().for_each(|(index, entry)| table[index] = entry);
    }

    /// Loads a root, which drops what is cached.
    pub(crate) fn load_root(&self, root: PhysFrame) {
        self.root.set(root);
        self.flush_all();
    }

    pub(crate) fn root_is_empty(&self) -> bool {
        (0..ENTRIES).all(|index| self.entry(self.root(), index).0 == PageTableFlags::empty())
    }

    /// What a CPU has cached of a frame that is about to be released, and must have forgotten.
    ///
    /// That is a table in the frame. A translation to it must be forgotten if there is one CPU. Of
    /// several, each may have translations of regions that it does not use.
    pub(crate) fn remembers(&self, frame: PhysFrame) -> Option<String> {
        let translations = self.caches().translations.borrow();
        let page = translations.iter().find(|(_, translation)| translation.frame == frame);
        let translated = page.map(|(page, _)| format!("the CPU translates {page:?} to it"));
        translated.filter(|_| self.cpus() == 1).or_else(|| {
            self.cpus.iter().enumerate().find_map(|(cpu, caches)| {
                let tables = caches.tables.borrow();
                let ((level, block), _) = tables.iter().find(|(_, table)| **table == frame)?;
                Some(format!("CPU {cpu} may walk it as the table of level {level:?} of block {block:#x}"))
            })
        })
    }

    /// Walks to a page as the CPU that runs may do at any time, because it guesses what code will
    /// access. It caches what it finds, and would set Accessed bits, which is not allowed.
    pub(crate) fn speculate(&self, page: Page) {
        if let Some(translation) = self.walk(page, Access::Read) {
            self.caches().translations.borrow_mut().insert(page, translation);
        }
    }

    /// A page that code on the CPU that runs has accessed since everything was flushed.
    pub(crate) fn accessed(&self, number: usize) -> Option<Page> {
        let accessed = self.caches().accessed.borrow();
        accessed.get(number % accessed.len().max(1)).copied()
    }

    fn record_access(&self, page: Page) {
        let mut accessed = self.caches().accessed.borrow_mut();
        if accessed.len() == GUESSES {
            accessed.swap_remove(usize::try_from(block(page, PageTableLevel::One)).unwrap_or(0) % GUESSES);
        }
        accessed.push(page);
    }

    /// Checks that the CPU that runs caches nothing of these pages that the tables do not say.
    pub(crate) fn check_caches(&self, pages: PageRange) {
        let caches = self.caches();
        let cpu = self.cpu();
        for (page, cached) in caches.translations.borrow().range(pages.start..pages.end) {
            let now = self.tables_to(*page).last().filter(|(level, ..)| *level == PageTableLevel::One);
            let is_true = now.is_some_and(|(_, flags, frame)| {
                let is_writable = flags.contains(PageTableFlags::WRITABLE);
                frame == cached.frame && (is_writable || !cached.writable)
            });
            assert!(is_true, "CPU {cpu} caches that {page:?} is {cached:?}, and it is {now:?}");
        }
        for ((level, block), cached) in caches.tables.borrow().iter() {
            let start = Page::containing_address(VirtAddr::new(block << table_bits(*level)));
            let page = start.max(pages.start);
            if page >= pages.end || self::block(page, *level) != *block {
                continue;
            }
            let above = level.next_higher_level();
            let frame =
                self.tables_to(page).find(|(level, ..)| Some(*level) == above).map(|(.., frame)| frame);
            assert!(
                frame == Some(*cached),
                "CPU {cpu} caches {cached:?} as the table of {page:?} at level {level:?}, and it is {frame:?}"
            );
        }
    }

    /// The entries on the way to a page that are present, from the root on, with their levels.
    fn tables_to(&self, page: Page) -> impl Iterator<Item = (PageTableLevel, PageTableFlags, PhysFrame)> {
        let mut next = Some((self.root(), PageTableLevel::Four));
        std::iter::from_fn(move || {
            let (table, level) = next?;
            let (flags, frame) = self.entry(table, page.page_table_index(level).into());
            next = level.next_lower_level().map(|below| (frame, below));
            flags.contains(PageTableFlags::PRESENT).then_some((level, flags, frame))
        })
    }

    /// Writes an entry of the root, as another part of a kernel would.
    pub(crate) fn set_root_entry(&self, index: PageTableIndex, flags: PageTableFlags) {
        self.set_flags(self.root(), index, flags);
    }

    fn set_flags(&self, table: PhysFrame, index: PageTableIndex, flags: PageTableFlags) {
        let table: *mut PageTable = self.memory.bytes(table).cast();
        // SAFETY: the frame is in the machine's memory and aligned, and the crate under test is not
        // running.
        let table = unsafe { &mut *table };
        table[index].set_flags(flags);
    }

    /// Translates a page, or returns the error code with which the CPU faults.
    pub(crate) fn translate(&self, page: Page, access: Access) -> Result<PhysFrame, PageFaultErrorCode> {
        let write = match access {
            Access::Read => PageFaultErrorCode::empty(),
            Access::Write => PageFaultErrorCode::CAUSED_BY_WRITE,
        };
        let cached = self.caches().translations.borrow().get(&page).copied();
        // A write through a translation that is not dirty walks again, to set the bit.
        let usable = cached.filter(|cached| access == Access::Read || cached.dirty || !cached.writable);
        let translation = match usable.or_else(|| self.walk(page, access)) {
            Some(translation) => translation,
            None => return Err(write),
        };
        self.caches().translations.borrow_mut().insert(page, translation);
        self.record_access(page);
        if access == Access::Write && !translation.writable {
            return Err(write | PageFaultErrorCode::PROTECTION_VIOLATION);
        }
        Ok(translation.frame)
    }

    fn walk(&self, page: Page, access: Access) -> Option<Translation> {
        let (mut table, mut level) = self.lowest_cached_table(page);
        let mut writable = true;
        loop {
            let index = page.page_table_index(level);
            let (flags, frame) = self.entry(table, index.into());
            if !flags.contains(PageTableFlags::PRESENT) {
                return None;
            }
            assert!(!flags.intersects(PageTableFlags::USER_ACCESSIBLE | PageTableFlags::HUGE_PAGE));
            assert!(flags.contains(PageTableFlags::NO_EXECUTE), "{page:?} could be executed");
            if level > PageTableLevel::One {
                assert!(flags.contains(PageTableFlags::ACCESSED), "the CPU would write a table of {page:?}");
            }
            writable &= flags.contains(PageTableFlags::WRITABLE);
            let Some(below) = level.next_lower_level() else {
                let mut used = flags | PageTableFlags::ACCESSED;
                if access == Access::Write && writable {
                    used |= PageTableFlags::DIRTY;
                }
                if used != flags {
                    self.set_flags(table, index, used);
                }
                return Some(Translation { frame, writable, dirty: used.contains(PageTableFlags::DIRTY) });
            };
            self.caches().tables.borrow_mut().insert((below, block(page, below)), frame);
            (table, level) = (frame, below);
        }
    }

    fn lowest_cached_table(&self, page: Page) -> (PhysFrame, PageTableLevel) {
        let tables = self.caches().tables.borrow();
        let cached = |level| tables.get(&(level, block(page, level))).map(|table| (*table, level));
        cached(PageTableLevel::One)
            .or_else(|| cached(PageTableLevel::Two))
            .unwrap_or((self.root(), PageTableLevel::Four))
    }

    /// An entry as a number.
    pub(crate) fn raw_entry(&self, table: PhysFrame, index: usize) -> u64 {
        let (flags, frame) = self.entry(table, index);
        flags.bits() | frame.start_address().as_u64()
    }

    fn entry(&self, table: PhysFrame, index: usize) -> (PageTableFlags, PhysFrame) {
        let table: *const PageTable = self.memory.bytes(table).cast();
        // SAFETY: the frame is in the machine's memory and aligned, and the crate under test is not
        // running.
        let entry = unsafe { &(&*table)[index] };
        (entry.flags(), PhysFrame::containing_address(entry.addr()))
    }

    /// Drops the translation of a page and the tables on the way to it, as `INVLPG` does.
    pub(crate) fn flush(&self, page: Page) {
        self.caches().translations.borrow_mut().remove(&page);
        let mut tables = self.caches().tables.borrow_mut();
        for level in [PageTableLevel::One, PageTableLevel::Two, PageTableLevel::Three] {
            tables.remove(&(level, block(page, level)));
        }
        let (single, all) = self.flushes.get();
        self.flushes.set((single + 1, all));
    }

    /// Drops the references to tables of the CPU that runs, as it may do at any time.
    pub(crate) fn evict_tables(&self) {
        self.caches().tables.borrow_mut().clear();
    }

    /// Frees the caches of CPUs that are used no more.
    pub(crate) fn end(&self) {
        for cpu in &self.cpus {
            drop(cpu.translations.take());
            drop(cpu.tables.take());
        }
    }

    /// Drops everything, as a load of CR3 does.
    pub(crate) fn flush_all(&self) {
        let caches = self.caches();
        caches.translations.borrow_mut().clear();
        caches.tables.borrow_mut().clear();
        caches.accessed.borrow_mut().clear();
        let (single, all) = self.flushes.get();
        self.flushes.set((single, all + 1));
    }
}

/// The number of the block of addresses that a table of this level translates for this page.
fn block(page: Page, level: PageTableLevel) -> u64 {
    page.start_address().as_u64() >> table_bits(level)
}

/// The base-2 logarithm of the number of bytes that a table of this level translates.
fn table_bits(level: PageTableLevel) -> u32 {
    match level {
        PageTableLevel::One => 21,
        PageTableLevel::Two => 30,
        PageTableLevel::Three => 39,
        PageTableLevel::Four => 48,
    }
}
