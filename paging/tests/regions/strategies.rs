//! Clearing pages that stay resident: in place, or with new frames.

use std::collections::HashSet;
use std::sync::Arc;

use palimpsest_paging::x86_64::structures::paging::{Page, PhysFrame};
use palimpsest_paging::{Account, PartCleared, RangeError, Recommitted};

use crate::world::{GIB, MIB, PAGE, TestRegion, World, account, address, pages};

/// The frames that the CPU translates these pages to, without a fault.
fn frames_of(world: &World, region: &TestRegion<'_>, count: u64) -> HashSet<PhysFrame> {
    (0..count).filter_map(|page| world.cpu.frame_at(address(region, page))).collect()
}

fn exchanged(frames: u64) -> Recommitted {
    Recommitted { frames_released: frames, frames_committed: frames, frames_retained: 0 }
}

#[test]
fn pages_zeroed_in_place_keep_their_frames_and_are_not_flushed() {
    let world = World::new();
    let mut region = world.region(GIB);
    world.write_pages(&region, 600, 7);
    let before = (region.residency(), frames_of(&world, &region, 600), world.cpu.mmu().flushes());
    let allocations = world.source.allocations();
    let range = pages(&region, 0, 599);
    assert_eq!(region.zero_in_place(range), Ok(599));
    let after = (region.residency(), frames_of(&world, &region, 600), world.cpu.mmu().flushes());
    assert_eq!((after, world.source.allocations()), (before, allocations));
    assert!((0..599).all(|page| world.cpu.peek(address(&region, page)) == Some(0)));
    assert_eq!(world.read(address(&region, 599)), 7, "the page after the range has not changed");
}

#[test]
fn recommitted_pages_have_fresh_frames_of_zeros_and_do_not_fault() {
    let world = World::new();
    let account = account();
    let mut region = world.region_of(GIB, &account);
    world.write_pages(&region, 10, 7);
    let (old, held) = (frames_of(&world, &region, 10), account.held_frames());
    let (before, allocated) = (region.residency(), world.source.allocated());
    let range = pages(&region, 0, 9);
    assert_eq!(region.recommit(range), Ok(exchanged(9)));
    let fresh = frames_of(&world, &region, 9);
    assert_eq!((fresh.len(), fresh.intersection(&old).count()), (9, 0));
    assert!((0..9).all(|page| world.cpu.peek(address(&region, page)) == Some(0)));
    assert_eq!(world.read(address(&region, 9)), 7, "the page after the range has not changed");
    assert_eq!((world.source.allocated(), account.held_frames()), (allocated, held));
    let after = region.residency();
    assert_eq!((after.resident_frames, after.faults), (before.resident_frames, before.faults));
    assert_eq!(after.frames_released, before.frames_released + 9);
}

#[test]
fn recommitting_any_number_of_pages_needs_few_frames_beyond_them() {
    // Frames that are left, and frames that are zeroed in place because there was none.
    for (left, retained) in [(0, 1000), (1, 0), (5, 0), (32, 0)] {
        let world = World::with(4 * GIB, 2048);
        let mut region = world.region(GIB);
        world.write_pages(&region, 1000, 7);
        world.source.hoard(left);
        let range = pages(&region, 0, 1000);
        let expected = Recommitted { frames_retained: retained, ..exchanged(1000 - retained) };
        assert_eq!(region.recommit(range), Ok(expected), "{left} frames were left");
        assert_eq!(world.source.unreserved(), left);
        assert!((0..1000).all(|page| world.cpu.peek(address(&region, page)) == Some(0)));
    }
}

#[test]
fn a_recommit_with_frames_to_spare_flushes_in_batches() {
    let world = World::new();
    let mut region = world.region(GIB);
    world.write_pages(&region, 100, 7);
    let (single, all) = world.cpu.mmu().flushes();
    let range = pages(&region, 0, 100);
    region.recommit(range).expect("the range is inside");
    assert_eq!(world.cpu.mmu().flushes(), (single + 100, all), "each page once, and nothing else");
}

#[test]
fn a_recommit_works_at_the_accounts_cap() {
    let world = World::new();
    let account = Arc::new(Account::new(Some(16)));
    let mut region = world.region_of(16 * PAGE, &account);
    world.write_pages(&region, 16, 7);
    let all = region.pages();
    assert_eq!(region.recommit(all), Ok(exchanged(16)));
    assert_eq!((account.held_frames(), account.peak_frames(), account.is_lost()), (16, 16, false));
}

#[test]
fn pages_without_a_frame_stay_without() {
    let world = World::new();
    let mut region = world.region(4 * GIB);
    world.write(address(&region, 3), 7);
    assert_eq!((world.read(address(&region, 4)), world.read(address(&region, 900_000))), (0, 0));
    let before = (region.residency(), world.source.allocations());
    let all = region.pages();
    assert_eq!(region.zero_in_place(all), Ok(1));
    assert_eq!((region.residency(), world.source.allocations()), before);
    assert_eq!(region.recommit(all), Ok(exchanged(1)));
    assert_eq!(region.residency().resident_frames, 1);
    assert_eq!(world.cpu.peek(address(&region, 4)), Some(0), "it still shows the zero frame");
    assert_eq!(world.cpu.peek(address(&region, 5)), None);
}

#[test]
fn each_way_to_clear_drops_what_went_into_a_sink() {
    type Clear = fn(&mut TestRegion<'_>);
    let ways: [Clear; 4] = [
        |region| assert!(region.decommit(region.pages()).is_ok()),
        |region| assert!(region.recommit(region.pages()).is_ok()),
        |region| assert!(region.zero_in_place(region.pages()).is_ok()),
        |region| assert!(region.defer(region.pages()).is_ok()),
    ];
    for clear in ways {
        for frames in 0..3 {
            let world = World::new();
            let account = account();
            let mut region = world.region_of(4 * GIB, &account);
            world.source.allow(Some(frames));
            world.write(address(&region, 5), 0xee);
            world.source.allow(None);
            clear(&mut region);
            assert_eq!(world.read(address(&region, 5)), 0);
            world.write(address(&region, 5), 8);
            assert_eq!((world.read(address(&region, 5)), world.read(address(&region, 6))), (8, 0));
            assert!(account.is_lost(), "what was lost stays lost");
        }
    }
}

#[test]
fn bad_ranges_change_nothing() {
    let world = World::new();
    let mut region = world.region(MIB);
    world.write(region.base(), 1);
    let (start, end) = (region.pages().start, region.pages().end + 1);
    let bad = Page::range(start, end);
    let error = RangeError::Outside { start, end, region: region.pages() };
    assert_eq!(region.recommit(bad), Err(error));
    assert_eq!(region.zero_in_place(bad), Err(error));
    assert_eq!(region.defer(bad), Err(error));
    assert_eq!(world.cpu.peek(region.base()), Some(1));
}

#[test]
fn a_part_of_a_page_is_zeroed_in_its_frame_and_nothing_else_changes() {
    let world = World::new();
    let account = account();
    let mut region = world.region_of(4 * MIB, &account);
    (10..13).for_each(|at| world.write(address(&region, 3) + at, 0xee));
    world.write(address(&region, 4), 0xee);
    let deferred = pages(&region, 4, 1);
    assert_eq!(region.defer(deferred), Ok(1));
    assert_eq!(world.read(address(&region, 5)), 0);
    world.source.allow(Some(0));
    let before = (account.held_frames(), region.residency());
    let page = |number| region.pages().start + number;
    let [resident, of_deferred, of_shown, of_absent] = [page(3), page(4), page(5), page(1000)];
    assert_eq!(region.zero_part(resident, 11..12), Ok(PartCleared::Zeroed));
    assert_eq!(region.zero_part(resident, 11..12), Ok(PartCleared::WasZero));
    for page in [of_deferred, of_shown, of_absent] {
        assert_eq!(region.zero_part(page, 0..4096), Ok(PartCleared::WasZero), "{page:?}");
    }
    assert_eq!((account.held_frames(), region.residency(), account.is_lost()), (before.0, before.1, false));
    assert_eq!([10, 11, 12].map(|at| world.cpu.peek(address(&region, 3) + at)), [0xee, 0, 0xee].map(Some));
    assert_eq!(world.read(address(&region, 4)), 0);
    world.source.allow(None);
}

#[test]
fn a_part_of_a_page_that_leads_to_the_sink_reads_as_zero() {
    let world = World::new();
    let mut region = world.region(4 * MIB);
    world.source.allow(Some(0));
    world.write(address(&region, 3) + 9, 0xee);
    let page = region.pages().start + 3;
    assert_eq!(region.zero_part(page, 9..10), Ok(PartCleared::WasZero));
    assert_eq!(world.cpu.peek(address(&region, 3) + 9), None);
    world.source.allow(None);
}
