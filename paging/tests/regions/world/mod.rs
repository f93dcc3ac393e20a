//! A machine that is simulated on the heap: physical memory, a CPU with a TLB, and an address
//! space.

mod cpu;
mod mmu;
mod source;

use std::sync::Arc;

use palimpsest_paging::x86_64::VirtAddr;
use palimpsest_paging::x86_64::structures::paging::page::PageRange;
use palimpsest_paging::x86_64::structures::paging::{Page, PageTable, PhysFrame};
use palimpsest_paging::{
    Account, AddressSpace, FaultAround, FrameSource, Layout, Platform, Policies, Pressure, Region, ZeroStores,
};

pub(crate) use self::cpu::{Cpu, Entry, REP_STOSB, REP_STOSQ, StringStore};
pub(crate) use self::mmu::Mmu;
pub(crate) use self::source::{Memory, Source};

pub(crate) const PAGE: u64 = 4096;
pub(crate) const KIB: u64 = 1 << 10;
pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const GIB: u64 = 1 << 30;
pub(crate) const TIB: u64 = 1 << 40;

/// Where the window starts in the machines of the tests.
pub(crate) const WINDOW_START: u64 = 16 * TIB;

pub(crate) type Space = AddressSpace<Machine>;
pub(crate) type TestRegion<'a> = Region<'a, Machine>;

/// The platform: a frame source, and the CPUs.
#[derive(Debug)]
pub(crate) struct Machine<S = &'static Source> {
    pub(crate) frames: S,
    pub(crate) mmu: &'static Mmu,
}

// SAFETY: each CPU translates by the caches of its MMU and by the tables only. One of them runs at
// a time. They have no interrupts. Their roots are in the machine's memory.
unsafe impl<S: FrameSource> Platform for Machine<S> {
    type Frames = S;

    fn frames(&self) -> &S {
        &self.frames
    }

    fn flush(&self, page: Page) {
        self.mmu.flush(page);
    }

    fn flush_all(&self) {
        self.mmu.flush_all();
    }

    fn cpu(&self) -> usize {
        self.mmu.cpu()
    }

    fn cpus(&self) -> usize {
        self.mmu.cpus()
    }

    fn is_mapped(&self, address: VirtAddr) -> bool {
        self.mmu.memory().contains(address)
    }

    fn active_root(&self) -> Option<PhysFrame> {
        Some(self.mmu.root())
    }

    fn without_interrupts<R>(&self, work: impl FnOnce() -> R) -> R {
        self.mmu.without_interrupts(work)
    }
}

/// A whole machine.
pub(crate) struct World {
    pub(crate) source: &'static Source,
    pub(crate) cpu: Cpu,
    space: Option<Space>,
}

impl World {
    /// A machine with a window of 2 TiB and 64 MiB of frames. A first write takes one frame and no
    /// other, so that tests can count frames.
    pub(crate) fn new() -> Self {
        // Under Miri each byte costs time.
        Self::with(2 * TIB, if cfg!(miri) { 2_048 } else { 16_384 })
    }

    /// A machine with a window of `window_bytes` and `frames` frames.
    pub(crate) fn with(window_bytes: u64, frames: usize) -> Self {
        Self::at(WINDOW_START, window_bytes, frames)
    }

    /// As [`with`](Self::with), with a window that starts elsewhere.
    pub(crate) fn at(window_start: u64, window_bytes: u64, frames: usize) -> Self {
        Self::machine(1, window_start, window_bytes, frames)
    }

    /// A machine with several CPUs and this number of frames.
    pub(crate) fn with_cpus_and_frames(cpus: usize, frames: usize) -> Self {
        Self::machine(cpus, WINDOW_START, 2 * TIB, frames)
    }

    /// As [`new`](Self::new), with several CPUs, the first of which runs.
    pub(crate) fn with_cpus(cpus: usize) -> Self {
        Self::machine(cpus, WINDOW_START, 2 * TIB, if cfg!(miri) { 2_048 } else { 16_384 })
    }

    fn machine(cpus: usize, window_start: u64, window_bytes: u64, frames: usize) -> Self {
        let memory = Memory::new(frames + 1);
        let (root, source) = Source::new(memory);
        let mmu: &'static Mmu = Box::leak(Box::new(Mmu::with_cpus(memory, root, cpus)));
        source.watch(mmu);
        let window = VirtAddr::new(window_start)..VirtAddr::new(window_start + window_bytes);
        let layout = Layout { window, physical_offset: memory.offset(), root };
        // SAFETY: the memory is leaked, mapped at its offset, and nothing but the space uses the
        // root; the CPUs are those of the MMU, and tests enter on them as they must.
        let space = unsafe { AddressSpace::new(layout, Machine { frames: source, mmu }) };
        let space = space.expect("the machine has frames for its tables");
        space.set_policies(Policies { fault_around: FaultAround::Off, zero_stores: ZeroStores::Off });
        Self { source, cpu: Cpu::new(mmu), space: Some(space) }
    }

    /// The same machine, with other policies.
    pub(crate) fn with_policies(self, policies: Policies) -> Self {
        self.space().set_policies(policies);
        self
    }

    /// The same machine, with a pressure callback.
    pub(crate) fn with_pressure(mut self, pressure: Pressure<Machine>) -> Self {
        self.space = self.space.take().map(|space| space.with_pressure(pressure));
        self
    }

    /// Lets this CPU run, which uses the account's regions from now on.
    pub(crate) fn enter_on(&self, cpu: usize, account: &Account) {
        self.run_on(cpu);
        self.space().enter(account);
    }

    /// Lets this CPU run.
    pub(crate) fn run_on(&self, cpu: usize) {
        self.cpu.mmu().run_on(cpu);
    }

    pub(crate) fn space(&self) -> &Space {
        self.space.as_ref().expect("the space lives until the world ends")
    }

    /// A region with its own account, whose limit is its capacity.
    pub(crate) fn region(&self, bytes: u64) -> TestRegion<'_> {
        self.region_of(bytes, &account())
    }

    /// A region whose limit is its capacity.
    pub(crate) fn region_of(&self, bytes: u64, account: &Arc<Account>) -> TestRegion<'_> {
        let mut region = self.space().reserve(bytes, account).expect("the world has room for the region");
        region.set_limit(region.capacity_bytes()).expect("the capacity is a limit");
        region
    }

    /// Writes a byte as a guest would. Panics if it cannot be written.
    pub(crate) fn write(&self, address: VirtAddr, value: u8) {
        self.cpu.write(self.space(), address, value).expect("the page can be written");
    }

    /// Writes the same byte into the first `count` pages of a region.
    pub(crate) fn write_pages(&self, region: &TestRegion<'_>, count: u64, value: u8) {
        (0..count).for_each(|page| self.write(address(region, page), value));
    }

    /// Reads a byte as a guest would. Panics if it cannot be read.
    pub(crate) fn read(&self, address: VirtAddr) -> u8 {
        self.cpu.read(self.space(), address).expect("the page can be read")
    }
}

impl Drop for World {
    /// Every test ends with a check that no frame is missing.
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        assert_eq!(self.space().turnover(), self.source.turnover(), "the space counts as its source does");
        for cpu in 0..self.cpu.mmu().cpus() {
            self.run_on(cpu);
            self.space().flush_before_idle();
        }
        assert_eq!(self.space().usage().waiting_table_frames, 0, "tables wait for CPUs that have flushed");
        assert_eq!(self.space().turnover(), self.source.turnover(), "the space counts as its source does");
        // The CPU that drops the space caches its level-3 tables.
        let mmu = self.cpu.mmu();
        let indices = self.space().root_entries().map(|(index, _)| index as u64);
        let addresses = indices.map(|index| VirtAddr::new_truncate(index << 39));
        addresses.for_each(|address| mmu.speculate(Page::containing_address(address)));
        drop(self.space.take());
        self.source.unhoard(usize::MAX);
        assert_eq!(self.source.reserved(), 0, "frames are reserved after the end of the space");
        assert_eq!(self.source.allocated(), 0, "frames are missing after the end of the space");
        assert!(mmu.root_is_empty(), "the root still refers to a table");
        mmu.end();
        // SAFETY: the space is dropped, all frames are back in the source, and no test uses the
        // source or the MMU of a world that has ended.
        unsafe { mmu.memory().free() };
    }
}

/// An account without a cap.
pub(crate) fn account() -> Arc<Account> {
    Arc::new(Account::new(None))
}

/// A reserved account without a cap.
pub(crate) fn reserved_account() -> Arc<Account> {
    Arc::new(Account::reserved(None))
}

/// The `count` pages of a region from the one with this number on.
pub(crate) fn pages(region: &TestRegion<'_>, first: u64, count: u64) -> PageRange {
    let start = region.pages().start + first;
    Page::range(start, start + count)
}

/// The address of a page of a region.
pub(crate) fn address(region: &TestRegion<'_>, page: u64) -> VirtAddr {
    region.base() + page * PAGE
}

/// The number of entries in a page table.
pub(crate) const ENTRIES: usize = size_of::<PageTable>() / 8;
