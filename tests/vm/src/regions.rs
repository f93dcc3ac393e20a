//! Regions in ring 0, with a real CPU and TLB: touches, reads, decommits, fills, and fatal
//! accesses.

use alloc::format;
use alloc::sync::Arc;
use core::ptr;

use kernel_demo::memory::{FaultEntry, set_fault_entry};
use kernel_demo::{Machine, errands};
use palimpsest_paging::{Account, CpuError, ReserveError};
use x86_64::registers::control::{Cr0, Cr0Flags};

use crate::access::{execute, load};
use crate::fixture::{GIB, Guest, MIB, PAGE_BYTES};
use crate::harness::{Checks, VmTest};
use crate::wasm::{Program, guest};

pub(crate) const TESTS: &[VmTest] = &[
    VmTest::new("touched-page-commits-that-page-only", 7, touched_page_commits_that_page_only),
    VmTest::new("untouched-pages-read-zero-without-a-frame", 4, untouched_pages_read_zero_without_a_frame),
    VmTest::new("decommit-gives-the-frames-back", 7, decommit_gives_the_frames_back),
    VmTest::new("next-owner-of-a-frame-reads-zero", 2, next_owner_of_a_frame_reads_zero),
    VmTest::new("write-beyond-the-cap-goes-into-the-sink", 3, write_beyond_the_cap_goes_into_the_sink),
    VmTest::new("zero-fill-of-4-gib-takes-one-fault", 3, zero_fill_of_4_gib_takes_one_fault),
    VmTest::new("zero-fill-of-4-gib-takes-four-plain-faults", 3, zero_fill_of_4_gib_takes_four_plain_faults),
    VmTest::new("no-region-is-made-while-ring-0-ignores-read-only-pages", 3, write_protect_cleared),
    VmTest::death("region-is-not-executable", "INSTRUCTION_FETCH)", execute_a_region),
    VmTest::death("access-beyond-the-limit-is-fatal", "the limit of its region", access_beyond_the_limit),
    VmTest::death(
        "access-to-a-dropped-region-is-fatal",
        "the address is in no region",
        access_to_a_dropped_region,
    ),
];

fn touched_page_commits_that_page_only(checks: &mut Checks, machine: &Machine) {
    let mut guest = Guest::new(machine, 4 * GIB);
    let first = 0;
    let middle = 2 * GIB + MIB;
    let last = 4 * GIB - 1;
    checks.equal("resident frames of a new region", guest.residency().resident_frames, 0);
    for (frames, offset) in (1..).zip([first, middle, last]) {
        guest.store(offset, 0xa5);
        checks.equal("resident frames after the touch", guest.residency().resident_frames, frames);
        checks.equal("the byte", guest.load(offset), 0xa5);
    }
}

fn untouched_pages_read_zero_without_a_frame(checks: &mut Checks, machine: &Machine) {
    let mut guest = Guest::new(machine, GIB);
    let sum: u64 = (0..1000).map(|page| u64::from(guest.load(page * PAGE_BYTES + 7))).sum();
    checks.equal("sum of the bytes", sum, 0);
    checks.equal("resident frames after the reads", guest.residency().resident_frames, 0);
    guest.store(3 * PAGE_BYTES, 1);
    checks.equal("resident frames after a write", guest.residency().resident_frames, 1);
    checks.equal("the neighbours", [2, 4].map(|page| guest.load(page * PAGE_BYTES)), [0, 0]);
}

fn decommit_gives_the_frames_back(checks: &mut Checks, machine: &Machine) {
    const PAGES: u64 = 100;
    let mut guest = Guest::new(machine, GIB);
    let free = machine.frames().free_frames();
    for page in 0..PAGES {
        guest.store(page * 8 * PAGE_BYTES, 0xff);
    }
    checks.equal("resident frames", guest.residency().resident_frames, PAGES);
    let pages = guest.pages(0, GIB);
    let decommitted = guest.region.decommit(pages).expect("the pages are the region's");
    checks.equal("frames released", decommitted.frames_released, PAGES);
    checks.equal("free frames", machine.frames().free_frames(), free);
    checks.equal("the byte reads zero", guest.load(8 * PAGE_BYTES), 0);
    guest.store(8 * PAGE_BYTES, 1);
    checks.equal("a write works again", guest.load(8 * PAGE_BYTES), 1);
    checks.equal("resident frames of that write", guest.residency().resident_frames, 1);
    checks.equal("frames released so far", guest.residency().frames_released, PAGES);
}

fn next_owner_of_a_frame_reads_zero(checks: &mut Checks, machine: &Machine) {
    const PAGES: u64 = 16;
    let mut guest = Guest::new(machine, PAGES * PAGE_BYTES);
    (0..PAGES * PAGE_BYTES).for_each(|offset| guest.store(offset, 0xff));
    drop(guest);
    let mut next = Guest::new(machine, PAGES * PAGE_BYTES);
    (0..PAGES).for_each(|page| next.store(page * PAGE_BYTES, 1));
    checks.equal("resident frames", next.residency().resident_frames, PAGES);
    let stale = (0..PAGES * PAGE_BYTES).filter(|offset| offset % PAGE_BYTES != 0 && next.load(*offset) != 0);
    checks.equal("bytes of the previous owner", stale.count(), 0);
}

fn write_beyond_the_cap_goes_into_the_sink(checks: &mut Checks, machine: &Machine) {
    const CAP_FRAMES: u64 = 16;
    let mut guest = Guest::with_account(machine, MIB, Account::new(Some(CAP_FRAMES)));
    (0..CAP_FRAMES * 2).for_each(|page| guest.store(page * PAGE_BYTES, 1));
    checks.equal("the account is lost", guest.account.is_lost(), true);
    checks.equal("the cap holds", guest.account.held_frames() <= CAP_FRAMES, true);
    checks.equal("what came before is there", guest.load(0), 1);
}

fn zero_fill_of_4_gib_takes_one_fault(checks: &mut Checks, machine: &Machine) {
    zero_fill_of_4_gib(checks, machine, FaultEntry::RegisterAware, 1);
}

fn zero_fill_of_4_gib_takes_four_plain_faults(checks: &mut Checks, machine: &Machine) {
    zero_fill_of_4_gib(checks, machine, FaultEntry::Plain, 4);
}

fn zero_fill_of_4_gib(checks: &mut Checks, machine: &Machine, entry: FaultEntry, faults: u64) {
    set_fault_entry(entry);
    let mut guest = Guest::new(machine, 4 * GIB);
    let start = guest.region.base().as_mut_ptr::<u8>();
    let pages = guest.pages(0, 4 * GIB);
    let guard = guest.region.zero_fill(pages).expect("the pages are the region's");
    // SAFETY: the bytes are the region's, which `guest` owns.
    unsafe { ptr::write_bytes(start, 0, 4 << 30) };
    drop(guard);
    checks.equal("faults", guest.residency().faults, faults);
    checks.equal("resident frames", guest.residency().resident_frames, 0);
    checks.equal("the last byte", guest.load(4 * GIB - 1), 0);
}

/// The kernel clears CR0.WP after the address space was made.
fn write_protect_cleared(checks: &mut Checks, machine: &Machine) {
    let cr0 = Cr0::read();
    let try_reserve = || machine.space().reserve(MIB, &Arc::new(Account::new(None))).err();
    // The flag is that of this CPU.
    let try_start = || errands::here(|| Program::try_start(machine, guest!("one-page")).err());
    // SAFETY: no guest and no other code writes to a read-only page before the flag is set again.
    unsafe { Cr0::write(cr0 - Cr0Flags::WRITE_PROTECT) };
    let (refused, not_started) = (try_reserve(), try_start());
    // SAFETY: this restores what boot has set.
    unsafe { Cr0::write(cr0) };
    checks.equal("the reserve", refused, Some(ReserveError::Cpu(CpuError::WriteProtectOff)));
    let is_named = not_started.is_some_and(|error| format!("{error:#?}").contains("WriteProtectOff"));
    checks.equal("the error of the instance names the flag", is_named, true);
    checks.equal("an error with the flag set", try_reserve().is_some() || try_start().is_some(), false);
}

fn execute_a_region(_: &mut Checks, machine: &Machine) {
    let mut guest = Guest::new(machine, MIB);
    guest.store(0, 0xc3);
    // SAFETY: the address is not executable: regions are mapped no-execute, and this test shows it.
    unsafe { execute(guest.address(0)) };
}

fn access_beyond_the_limit(_: &mut Checks, machine: &Machine) {
    let mut guest = Guest::new(machine, MIB);
    guest.region.set_limit(PAGE_BYTES).expect("nothing is resident above");
    load(guest.region.base() + PAGE_BYTES);
}

fn access_to_a_dropped_region(_: &mut Checks, machine: &Machine) {
    let guest = Guest::new(machine, MIB);
    let address = guest.address(0);
    guest.load(0);
    drop(guest);
    load(address);
}
