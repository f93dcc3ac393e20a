//! The policies of the address space with a real CPU and TLB, and the cost of touches and clears.
//!
//! Other tests of memory run with all policies off and with all on. These tests set the policies.

use core::ptr;

use kernel_demo::{Machine, clock};
use palimpsest_paging::{Account, Policies};

use crate::fixture::{GIB, Guest, MIB, PAGE_BYTES};
use crate::harness::{Checks, VmTest, commit_nothing_ahead};

pub(crate) const TESTS: &[VmTest] = &[
    VmTest::new("dense-writes-take-few-faults", 4, dense_writes_take_few_faults),
    VmTest::new("scattered-writes-take-a-frame-each", 2, scattered_writes_take_a_frame_each),
    VmTest::new("pages-committed-ahead-are-given-up-at-the-cap", 7, committed_ahead_at_the_cap),
    VmTest::new("a-fill-of-zeros-commits-nothing", 4, fill_of_zeros_commits_nothing),
    VmTest::new("scrubbed-frames-serve-the-next-touches", 4, scrubbed_frames_serve_the_next_touches),
    VmTest::counting("touching-and-clearing-cost-few-instructions", 6, costs),
];

/// Writes one byte into every `step`th of the first `pages` pages.
fn write(guest: &mut Guest, pages: u64, step: usize) {
    (0..pages).step_by(step).for_each(|page| guest.store(page * PAGE_BYTES + 1, 0x5a));
}

fn dense_writes_take_few_faults(checks: &mut Checks, machine: &Machine) {
    machine.space().set_policies(Policies::default());
    let mut guest = Guest::new(machine, MIB);
    write(&mut guest, MIB / PAGE_BYTES, 1);
    let held = guest.residency();
    checks.equal("resident frames", held.resident_frames, MIB / PAGE_BYTES);
    checks.at_most("faults", held.faults, 8);
    let sum: u64 = (0..MIB).map(|offset| u64::from(guest.load(offset))).sum();
    checks.equal("the sum of all bytes", sum, MIB / PAGE_BYTES * 0x5a);
    machine.space().set_policies(Policies::OFF);
    let mut guest = Guest::new(machine, MIB);
    write(&mut guest, MIB / PAGE_BYTES, 1);
    checks.equal("faults with the policy off", guest.residency().faults, MIB / PAGE_BYTES);
}

fn scattered_writes_take_a_frame_each(checks: &mut Checks, machine: &Machine) {
    machine.space().set_policies(Policies::default());
    let mut guest = Guest::new(machine, 64 * MIB);
    write(&mut guest, 64 * MIB / PAGE_BYTES, 64);
    checks.equal("resident frames", guest.residency().resident_frames, 256);
    checks.equal("at any time", guest.residency().peak_resident_frames, 256);
}

fn committed_ahead_at_the_cap(checks: &mut Checks, machine: &Machine) {
    const CAP_FRAMES: u64 = 40;
    machine.space().set_policies(Policies::default());
    let mut guest = Guest::with_account(machine, MIB, Account::new(Some(CAP_FRAMES)));
    write(&mut guest, 3, 1);
    checks.equal("resident frames", guest.residency().resident_frames, 3);
    checks.equal("frames ahead", guest.residency().ahead_frames, 13);
    checks.equal("a byte of a page ahead", guest.load(9 * PAGE_BYTES), 0);
    guest.store(9 * PAGE_BYTES, 7);
    checks.equal("frames ahead after a write", guest.residency().ahead_frames, 12);
    (0..CAP_FRAMES - 4).for_each(|page| guest.store((20 + page * 6) * PAGE_BYTES, 1));
    checks.equal("the account is lost", guest.account.is_lost(), false);
    checks.equal("what was written ahead of its fault", guest.load(9 * PAGE_BYTES), 7);
    checks.equal("resident frames", guest.residency().resident_frames, CAP_FRAMES);
}

fn fill_of_zeros_commits_nothing(checks: &mut Checks, machine: &Machine) {
    machine.space().set_policies(Policies::default());
    let mut guest = Guest::new(machine, GIB);
    guest.store(5 * PAGE_BYTES, 7);
    guest.store(GIB - 1, 7);
    let start = guest.region.base().as_mut_ptr::<u8>();
    let count = usize::try_from(GIB - 1).expect("addresses have 64 bits");
    // SAFETY: the bytes are the region's, which `guest` owns.
    unsafe { ptr::write_bytes(start, 0, count) };
    checks.equal("resident frames", guest.residency().resident_frames, 2);
    checks.at_most("faults", guest.residency().faults, 8);
    checks.equal("a byte that was filled", guest.load(5 * PAGE_BYTES), 0);
    checks.equal("the byte at the end", guest.load(GIB - 1), 7);
}

fn scrubbed_frames_serve_the_next_touches(checks: &mut Checks, machine: &Machine) {
    // Pages that are committed ahead take scrubbed frames too.
    commit_nothing_ahead(machine);
    let pool = machine.frames();
    let mut guest = Guest::new(machine, MIB);
    (0..32 * PAGE_BYTES).for_each(|offset| guest.store(offset, 0xff));
    let pages = guest.pages(0, MIB);
    guest.region.decommit(pages).expect("the pages are the region's");
    checks.equal("frames scrubbed", pool.scrub(32), 32);
    write(&mut guest, 20, 1);
    checks.equal("scrubbed frames that are left", pool.scrubbed_frames(), 12);
    let sum: u64 = (0..32 * PAGE_BYTES).map(|offset| u64::from(guest.load(offset))).sum();
    checks.equal("the sum of all bytes", sum, 20 * 0x5a);
    drop(guest);
    pool.set_scrub_depth(0);
    checks.equal("frames scrubbed with a depth of 0", pool.scrub(32), 0);
}

/// The instructions per page of `work` on a new region of `bytes` bytes whose pages are written.
fn instructions_to_clear(machine: &Machine, bytes: u64) -> u64 {
    let mut guest = Guest::new(machine, bytes);
    let costs = (0..4).map(|_| {
        write(&mut guest, bytes / PAGE_BYTES, 1);
        let pages = guest.region.pages();
        let before = clock::ticks();
        guest.region.decommit(pages).expect("the pages are the region's");
        clock::ticks() - before
    });
    costs.min().unwrap_or(u64::MAX) / (bytes / PAGE_BYTES)
}

/// The instructions per written page of first writes to every `step`th page of a new region.
fn instructions_to_touch(machine: &Machine, bytes: u64, step: usize) -> u64 {
    let mut guest = Guest::new(machine, bytes);
    let before = clock::ticks();
    write(&mut guest, bytes / PAGE_BYTES, step);
    (clock::ticks() - before) / guest.residency().resident_frames
}

/// The limits are 10 % above the larger of the two targets' counts.
fn costs(checks: &mut Checks, machine: &Machine) {
    machine.space().set_policies(Policies::default());
    let mut limit = |what, actual, limit| {
        kernel_demo::println!("{what}: {actual} instructions");
        checks.at_most(what, actual, limit);
    };
    limit("touching 1 MiB, a page", instructions_to_touch(machine, MIB, 1), 750);
    limit("touching one page in 64 of 64 MiB", instructions_to_touch(machine, 64 * MIB, 64), 1_250);
    limit("clearing 64 KiB, a page", instructions_to_clear(machine, 16 * PAGE_BYTES), 100);
    limit("clearing 1 MiB, a page", instructions_to_clear(machine, MIB), 45);
    limit("clearing 64 MiB, a page", instructions_to_clear(machine, 64 * MIB), 28);
    let mut guest = Guest::new(machine, 1 << 40);
    let pages = guest.region.pages();
    let before = clock::ticks();
    guest.region.decommit(pages).expect("the pages are the region's");
    limit("clearing 1 TiB of nothing", clock::ticks() - before, 360);
}
