//! How long the address space keeps a CPU from everything else: the longest interval with its lock
//! held and interrupts off, in instructions, while a guest does what makes it longest.
//!
//! The tests have an address space of their own, whose platform measures each interval. They report
//! page faults to it without causing them: that saves the exception and adds nothing.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::Cell;

use kernel_demo::memory::PHYSICAL_OFFSET;
use kernel_demo::{Machine, clock, println};
use palimpsest_paging::{
    Account, AddressSpace, CachedPool, Fault, FaultAround, Layout, Outcome, Platform, Policies, Region,
    SingleCpu, StringRegisters,
};
use x86_64::VirtAddr;
use x86_64::registers::control::Cr3;
use x86_64::structures::idt::PageFaultErrorCode;
use x86_64::structures::paging::Page;

use crate::fixture::{GIB, MIB, PAGE_BYTES};
use crate::harness::{Checks, VmTest};

pub(crate) const TESTS: &[VmTest] = &[
    VmTest::counting("a-fault-after-scattered-runs-is-short", 2, scattered_runs),
    VmTest::counting("a-fault-among-scattered-deferred-pages-is-short", 4, scattered_deferred_pages),
    VmTest::counting("a-fault-that-takes-the-sink-from-another-guest-is-short", 3, scattered_sink),
    VmTest::counting("a-fill-of-zeros-over-many-tables-is-divided", 3, fill_over_many_tables),
    VmTest::counting("a-fault-among-many-regions-is-short", 2, many_regions),
    VmTest::counting("a-fault-that-commits-ahead-is-short", 1, commit_ahead),
    VmTest::counting("a-clear-of-many-frames-is-divided", 6, dense_clears),
    VmTest::counting("a-clear-of-many-tables-is-divided", 6, sparse_clears),
];

/// The longest fault, in instructions: it commits 64 pages, and zeroes their frames.
const LONGEST_FAULT: u64 = 80_000;

/// The longest part of a clear, in instructions: it zeroes or exchanges the frames of a table, or
/// releases about 8,192 frames.
const LONGEST_CLEAR: u64 = 450_000;

/// Level-1 tables of the guests. A walk over the entries of all of them takes two million
/// instructions or more.
const TABLES: u64 = 2_000;

/// Pages of a level-1 table.
const TABLE_PAGES: u64 = 512;

/// The platform of one CPU, which records the longest interval with interrupts off.
struct Measured {
    cpu: SingleCpu<&'static CachedPool>,
    longest: Cell<u64>,
}

impl Measured {
    fn new(machine: &Machine) -> Self {
        let cpu = SingleCpu::new(machine.frames()).expect("the machine's own space has checked the CPU");
        Self { cpu, longest: Cell::new(0) }
    }

    /// Prints and returns the longest interval since the last call.
    fn longest(&self, what: &str) -> u64 {
        let longest = self.longest.replace(0);
        println!("{what}: {longest} instructions");
        longest
    }
}

// SAFETY: the methods are those of [`SingleCpu`], which gives the guarantees.
unsafe impl Platform for Measured {
    type Frames = &'static CachedPool;

    fn frames(&self) -> &Self::Frames {
        self.cpu.frames()
    }

    fn flush(&self, page: Page) {
        self.cpu.flush(page);
    }

    fn flush_all(&self) {
        self.cpu.flush_all();
    }

    fn without_interrupts<R>(&self, work: impl FnOnce() -> R) -> R {
        self.cpu.without_interrupts(|| {
            let before = clock::ticks();
            let result = work();
            self.longest.set(self.longest.get().max(clock::ticks() - before));
            result
        })
    }
}

type Space<'m> = AddressSpace<&'m Measured>;

/// An address space over the 2 TiB after the window of the machine's own one.
fn space(platform: &Measured) -> Space<'_> {
    const START: u64 = 0x0000_2000_0000_0000;
    let window = VirtAddr::new(START)..VirtAddr::new(START + (2 << 40));
    let layout = Layout { window, physical_offset: PHYSICAL_OFFSET, root: Cr3::read().0 };
    // SAFETY: 1. The kernel maps nothing there. 2. The kernel maps all RAM at the offset, always.
    // 3. There is one CPU. 4. There is one root. 5. The tests pass faults to the space themselves
    // and touch no memory of a region.
    let space = unsafe { AddressSpace::new(layout, platform) };
    let space = space.expect("the machine has frames for the tables");
    space.set_policies(Policies::default());
    space
}

/// A region within its limit, and how a guest uses it.
struct Guest<'s, 'm> {
    space: &'s Space<'m>,
    region: Region<'s, &'m Measured>,
    account: Arc<Account>,
}

impl<'s, 'm> Guest<'s, 'm> {
    fn new(space: &'s Space<'m>, bytes: u64, account: Account) -> Self {
        Self::sharing(space, bytes, Arc::new(account))
    }

    fn sharing(space: &'s Space<'m>, bytes: u64, account: Arc<Account>) -> Self {
        let mut region = space.reserve(bytes, &account).expect("the window has room");
        region.set_limit(bytes).expect("the limit is the region's size");
        Self { space, region, account }
    }

    fn address(&self, page: u64) -> VirtAddr {
        self.region.base() + page * PAGE_BYTES
    }

    fn fault(&self, page: u64, code: PageFaultErrorCode) {
        let outcome = self.space.handle_fault(Fault { address: self.address(page), code });
        assert_eq!(outcome, Outcome::Handled, "the page is the guest's");
    }

    /// Reports a write to a page. The page is not dirty afterwards if it was committed ahead.
    fn write(&self, page: u64) {
        self.fault(page, PageFaultErrorCode::CAUSED_BY_WRITE);
    }

    /// Makes a level-1 table for each of the first `tables` times 2 MiB, without a data frame.
    fn make_tables(&self, tables: u64) {
        (0..tables).for_each(|table| self.fault(table * TABLE_PAGES, PageFaultErrorCode::empty()));
    }

    /// Writes every `step`th page, up to `count` of them.
    fn write_each(&self, step: u64, count: u64) {
        (0..count).for_each(|number| self.write(number * step));
    }

    /// Starts a run of writes, which commits 13 pages ahead.
    fn run(&self, page: u64) {
        (page..page + 3).for_each(|page| self.write(page));
    }
}

/// Runs in tables far apart leave pages ahead in all of them, until no frame is left.
fn scattered_runs(checks: &mut Checks, machine: &Machine) {
    let platform = Measured::new(machine);
    let space = space(&platform);
    let guest = Guest::new(&space, 256 * GIB, Account::new(Some(TABLES + 500)));
    guest.make_tables(TABLES);
    platform.longest("making tables");
    for round in 0..40 {
        guest.run(round % 7 * 40 * TABLE_PAGES + round * 16);
        guest.run((TABLES - 1 - round * 3) * TABLE_PAGES + 16);
        guest.write(TABLE_PAGES / 2 + round);
    }
    checks.equal("the account is lost", guest.account.is_lost(), false);
    (0..TABLES).step_by(3).for_each(|table| guest.write(table * TABLE_PAGES + 400));
    checks.at_most("the longest fault", platform.longest("runs and writes"), LONGEST_FAULT);
}

/// Pages deferred in many tables are taken back, but for the first and the last.
fn scattered_deferred_pages(checks: &mut Checks, machine: &Machine) {
    let platform = Measured::new(machine);
    let space = space(&platform);
    let mut guest = Guest::new(&space, 256 * GIB, Account::new(Some(2 * TABLES + 20)));
    guest.make_tables(TABLES);
    (0..TABLES).for_each(|table| guest.write(table * TABLE_PAGES + 7));
    let pages = guest.region.pages();
    let deferred_frames = guest.region.defer(pages).expect("the pages are the region's");
    checks.equal("deferred frames", deferred_frames, TABLES);
    platform.longest("deferring");
    (1..TABLES - 1).for_each(|table| guest.write(table * TABLE_PAGES + 7));
    (0..20).for_each(|page| guest.write(TABLE_PAGES + 100 + page * 9));
    checks.equal("deferred frames after the shortage", guest.region.residency().deferred_frames, 0);
    checks.equal("the account is lost", guest.account.is_lost(), true);
    checks.at_most("the longest fault", platform.longest("taking back, and reclaiming"), LONGEST_FAULT);
}

/// A lost guest writes into many tables, all of which lead to the sink, which another guest needs.
fn scattered_sink(checks: &mut Checks, machine: &Machine) {
    let platform = Measured::new(machine);
    let space = space(&platform);
    let hostile = Guest::new(&space, 256 * GIB, Account::new(Some(TABLES + 10)));
    let neighbour = Guest::new(&space, GIB, Account::new(Some(2)));
    hostile.make_tables(TABLES);
    platform.longest("making tables");
    (0..TABLES).for_each(|table| hostile.write(table * TABLE_PAGES + 7));
    checks.equal("the hostile guest is lost", hostile.account.is_lost(), true);
    neighbour.write(0);
    checks.equal("the neighbour is lost", neighbour.account.is_lost(), true);
    checks.at_most("the longest fault", platform.longest("writing to the sink"), LONGEST_FAULT);
}

/// A store of zeros starts in front of many tables whose pages show zeros.
fn fill_over_many_tables(checks: &mut Checks, machine: &Machine) {
    static REP_STOSB: [u8; 2] = [0xf3, 0xaa];
    let platform = Measured::new(machine);
    let space = space(&platform);
    let guest = Guest::new(&space, 256 * GIB, Account::new(None));
    guest.make_tables(TABLES);
    platform.longest("making tables");
    let (rip, start) = (REP_STOSB.as_ptr().expose_provenance() as u64, guest.address(1));
    let count = TABLES * TABLE_PAGES * PAGE_BYTES;
    let mut registers = StringRegisters { rip, rax: 0, rcx: count, rdi: start.as_u64(), rflags: 0 };
    let mut faults = 0;
    while registers.rcx > 0 {
        faults += 1;
        let address = VirtAddr::new(registers.rdi);
        // The first page of each table was read.
        let is_shown = address.is_aligned(TABLE_PAGES * PAGE_BYTES);
        let present =
            if is_shown { PageFaultErrorCode::PROTECTION_VIOLATION } else { PageFaultErrorCode::empty() };
        let fault = Fault { address, code: PageFaultErrorCode::CAUSED_BY_WRITE | present };
        // SAFETY: the registers are those of a store at the address of its instruction.
        let outcome = unsafe { space.handle_fault_with(fault, &mut registers) };
        assert_eq!(outcome, Outcome::Handled, "the pages are the guest's");
    }
    checks.at_most("faults", faults, TABLES / 4);
    checks.equal("resident frames", guest.region.residency().resident_frames, 0);
    checks.at_most("the longest fault", platform.longest("filling"), LONGEST_FAULT);
}

/// Many regions of an account have pages ahead, in as many tables as are recorded.
fn many_regions(checks: &mut Checks, machine: &Machine) {
    const REGIONS: u64 = 32;
    let platform = Measured::new(machine);
    let space = space(&platform);
    let account = Arc::new(Account::new(Some(REGIONS * (2 + 4 + 4 * 16) + 10)));
    let region = |_| Guest::sharing(&space, GIB, Arc::clone(&account));
    let guests: Vec<_> = (0..REGIONS).map(region).collect();
    for guest in &guests {
        (0..4).for_each(|table| guest.run(table * TABLE_PAGES));
    }
    let first = guests.first().expect("there are some");
    let filled = account.cap_frames().map_or(0, |cap| cap - account.held_frames());
    platform.longest("making regions");
    (0..filled + 500)
        .for_each(|page| first.write(TABLE_PAGES / 4 + page * 2 % 380 + page / 190 * TABLE_PAGES));
    checks.equal("the account is lost", account.is_lost(), false);
    checks.at_most("the longest fault", platform.longest("writing"), LONGEST_FAULT);
}

/// The largest number of pages that one fault can commit, and none of the frames is zeroed.
fn commit_ahead(checks: &mut Checks, machine: &Machine) {
    let platform = Measured::new(machine);
    let space = space(&platform);
    space.set_policies(Policies {
        fault_around: FaultAround::Adaptive { limit_pages: 64 },
        ..Policies::default()
    });
    let guest = Guest::new(&space, 64 * MIB, Account::new(None));
    platform.longest("reserving");
    (0..16 * TABLE_PAGES).for_each(|page| guest.write(page));
    checks.at_most("the longest fault", platform.longest("committing ahead"), LONGEST_FAULT);
}

fn dense_clears(checks: &mut Checks, machine: &Machine) {
    clears(checks, machine, 1, 32 * TABLE_PAGES);
}

fn sparse_clears(checks: &mut Checks, machine: &Machine) {
    clears(checks, machine, TABLE_PAGES + 3, TABLES);
}

/// Clears `pages` pages that are `step` pages apart, in every way, and drops their region.
fn clears(checks: &mut Checks, machine: &Machine, step: u64, pages: u64) {
    let platform = Measured::new(machine);
    let space = space(&platform);
    space.set_policies(Policies::OFF);
    let mut guest = Guest::new(&space, 256 * GIB, Account::new(None));
    let all = guest.region.pages();
    let mut check = |what: &str| checks.at_most(what, platform.longest(what), LONGEST_CLEAR);
    guest.write_each(step, pages);
    platform.longest("writing");
    assert_eq!(guest.region.zero_in_place(all), Ok(pages), "every page has a frame");
    check("zeroing in place");
    let exchanged = guest.region.recommit(all).map(|done| done.frames_committed);
    assert_eq!(exchanged, Ok(pages), "every page has a frame");
    check("exchanging");
    let released = guest.region.decommit(all).map(|done| done.frames_released);
    assert_eq!(released, Ok(pages), "every page has a frame");
    check("releasing");
    guest.write_each(step, pages);
    platform.longest("writing");
    assert_eq!(guest.region.defer(all), Ok(pages), "every page has a frame");
    check("deferring");
    assert_eq!(space.reclaim(u64::MAX).frames_released, pages, "every page is deferred");
    check("reclaiming");
    guest.write_each(step, pages);
    platform.longest("writing");
    drop(guest);
    check("dropping the region");
}
