//! Deferred pages: cleared at once, released later, and never read with their old bytes.

use std::sync::Arc;

use palimpsest_paging::{Account, Decommitted, Recommitted};

use crate::world::{
    Entry, GIB, KIB, MIB, PAGE, REP_STOSQ, StringStore, TestRegion, World, account, address, pages,
};

/// A region whose first `count` pages were written and are deferred.
fn deferred_region<'a>(world: &'a World, bytes: u64, count: u64, account: &Arc<Account>) -> TestRegion<'a> {
    let mut region = world.region_of(bytes, account);
    for page in 0..count {
        (0..PAGE).step_by(64).for_each(|offset| world.write(address(&region, page) + offset, 0xee));
    }
    let range = pages(&region, 0, count);
    assert_eq!(region.defer(range), Ok(count));
    region
}

/// Resident and deferred frames.
fn frames(region: &TestRegion<'_>) -> (u64, u64) {
    let residency = region.residency();
    (residency.resident_frames, residency.deferred_frames)
}

#[test]
fn deferring_unmaps_and_keeps_the_frames() {
    let world = World::new();
    let account = account();
    let mut region = world.region_of(GIB, &account);
    world.write_pages(&region, 601, 7);
    let before = (world.source.allocated(), account.held_frames(), world.cpu.mmu().flushes());
    let range = pages(&region, 0, 600);
    assert_eq!(region.defer(range), Ok(600));
    let (allocated, held, (single, all)) = before;
    assert_eq!((world.source.allocated(), account.held_frames()), (allocated, held));
    assert_eq!(world.cpu.mmu().flushes(), (single, all + 1), "one flush for all");
    assert_eq!(frames(&region), (1, 600));
    let usage = world.space().usage();
    assert_eq!((usage.resident_frames, usage.deferred_frames), (1, 600));
    assert!((0..600).all(|page| world.cpu.peek(address(&region, page)).is_none()));
    assert_eq!(world.cpu.peek(address(&region, 600)), Some(7));
    assert_eq!(region.defer(range), Ok(0), "deferred pages are not deferred again");
}

#[test]
fn a_touch_takes_a_page_back_as_zero_without_another_frame() {
    let world = World::new();
    let account = account();
    let region = deferred_region(&world, GIB, 4, &account);
    world.source.allow(Some(0));
    let (allocated, before) = (world.source.allocated(), region.residency());
    assert!((0..PAGE).all(|offset| world.read(address(&region, 0) + offset) == 0));
    world.write(address(&region, 1) + 9, 5);
    assert!((0..PAGE).all(|offset| world.read(address(&region, 1) + offset) == u8::from(offset == 9) * 5));
    assert_eq!((frames(&region), region.residency().faults), ((2, 2), before.faults + 2));
    // The page that was read is the region's own, and can be written.
    world.write(address(&region, 0), 6);
    assert_eq!(region.residency().faults, before.faults + 2);
    assert_eq!((world.source.allocated(), account.is_lost()), (allocated, false));
    world.source.allow(None);
}

#[test]
fn a_reclaim_releases_as_many_frames_as_it_may_from_the_lowest_page_on() {
    let world = World::new();
    let account = account();
    let mut region = deferred_region(&world, 4 * GIB, 1200, &account);
    let released = |frames_released, tables_released| Decommitted {
        frames_released,
        tables_released,
        tables_waiting: 0,
    };
    let allocated = world.source.allocated();
    assert_eq!(region.reclaim(0), released(0, 0));
    assert_eq!(region.reclaim(100), released(100, 0));
    assert_eq!(region.reclaim(412), released(412, 1), "a table of 512 pages is empty");
    assert_eq!(world.source.allocated(), allocated - 513);
    world.write(address(&region, 512), 3);
    assert_eq!(frames(&region), (1, 687), "page 512 was the lowest that is left, and was taken back");
    assert_eq!(region.reclaim(u64::MAX), released(687, 1), "the table of page 512 stays");
    assert_eq!(frames(&region), (1, 0));
    assert_eq!(region.reclaim(u64::MAX), released(0, 0));
    assert_eq!(world.read(address(&region, 512)), 3);
    assert_eq!(account.held_frames(), 1 + region.residency().table_frames);
}

#[test]
fn pages_deferred_below_and_above_the_others_are_reclaimed_too() {
    let world = World::new();
    let mut region = world.region(4 * GIB);
    for first in [5000, 1000, 9000, 3000] {
        world.write(address(&region, first), 1);
        let range = pages(&region, first, 1);
        assert_eq!(region.defer(range), Ok(1));
    }
    assert_eq!(region.reclaim(2).frames_released, 2);
    world.write(address(&region, 0), 1);
    let range = pages(&region, 0, 1);
    assert_eq!(region.defer(range), Ok(1));
    assert_eq!(region.reclaim(u64::MAX).frames_released, 3);
    assert_eq!(region.residency().table_frames, 0);
}

#[test]
fn a_space_reclaims_from_its_regions_in_the_order_of_their_addresses() {
    let world = World::new();
    let account = account();
    let regions = [10, 0, 20].map(|count| deferred_region(&world, 64 * KIB * 4, count, &account));
    let released = |frames_released| Decommitted { frames_released, tables_released: 0, tables_waiting: 0 };
    assert_eq!(world.space().reclaim(15), released(15));
    assert_eq!(regions.each_ref().map(|region| region.residency().deferred_frames), [0, 0, 15]);
    assert_eq!(world.space().reclaim(u64::MAX), released(15));
    assert_eq!(world.space().reclaim(u64::MAX), released(0));
}

#[test]
fn a_decommit_and_a_drop_release_deferred_frames() {
    let world = World::new();
    let account = account();
    let allocated = world.source.allocated();
    let mut region = deferred_region(&world, GIB, 10, &account);
    let range = pages(&region, 0, 4);
    assert_eq!(region.decommit(range).map(|released| released.frames_released), Ok(4));
    assert_eq!(frames(&region), (0, 6));
    assert_eq!(world.read(address(&region, 0)), 0);
    drop(region);
    assert_eq!((world.source.allocated(), account.held_frames()), (allocated, 0));
}

#[test]
fn clearing_in_place_leaves_deferred_pages_deferred() {
    let world = World::new();
    let mut region = deferred_region(&world, GIB, 10, &account());
    let all = region.pages();
    assert_eq!(region.zero_in_place(all), Ok(0));
    assert_eq!(region.recommit(all), Ok(Recommitted::default()));
    assert_eq!(frames(&region), (0, 10));
    assert!((0..10).all(|page| world.read(address(&region, page)) == 0));
}

#[test]
fn lowering_the_limit_releases_deferred_frames() {
    let world = World::new();
    let mut region = deferred_region(&world, GIB, 10, &account());
    region.set_limit(4 * PAGE).expect("no page above the limit is resident");
    assert_eq!((frames(&region), region.residency().frames_released), ((0, 4), 6));
    region.set_limit(GIB).expect("it is the capacity");
    assert!((0..10).all(|page| world.read(address(&region, page)) == 0));
}

#[test]
fn a_fill_with_zeros_takes_no_deferred_page_back() {
    for entry in [Entry::Plain, Entry::WithRegisters] {
        let world = World::new();
        let mut region = deferred_region(&world, 4 * MIB, 10, &account());
        let (start, range) = (region.base(), pages(&region, 0, 100));
        let guard = region.zero_fill(range).expect("the range is inside");
        let count = 100 * PAGE / 8;
        let store = StringStore { code: &REP_STOSQ, element_bytes: 8, value: 0, start, count };
        world.cpu.string_store(world.space(), entry, store).expect("the range can be written");
        drop(guard);
        assert_eq!((frames(&region), region.residency().table_frames), ((0, 0), 0), "{entry:?}");
        assert!((0..10).all(|page| world.read(address(&region, page) + 64) == 0), "{entry:?}");
    }
}

#[test]
fn a_fault_that_finds_the_source_empty_reclaims_deferred_frames_of_any_region() {
    let world = World::new();
    let (idle, busy) = (account(), account());
    let first = deferred_region(&world, GIB, 100, &idle);
    let second = world.region_of(GIB, &busy);
    world.source.hoard(0);
    world.write_pages(&second, 100, 7);
    assert_eq!([frames(&first), frames(&second)], [(0, 0), (100, 0)]);
    assert_eq!((busy.is_lost(), world.source.unreserved()), (false, 0), "tables change hands as well");
    world.write(address(&second, 100), 7);
    assert!(busy.is_lost());
    assert!((0..100).all(|page| world.read(address(&second, page)) == 7));
    assert!((0..100).all(|page| world.read(address(&first, page)) == 0));
}

#[test]
fn a_fault_at_the_cap_reclaims_deferred_frames_of_its_account() {
    let world = World::new();
    let (poor, rich) = (Arc::new(Account::new(Some(8))), account());
    let first = deferred_region(&world, 16 * PAGE, 8, &poor);
    let second = world.region_of(16 * PAGE, &poor);
    let other = deferred_region(&world, 16 * PAGE, 8, &rich);
    world.write_pages(&second, 8, 7);
    assert!(!poor.is_lost());
    assert_eq!([frames(&first), frames(&second), frames(&other)], [(0, 0), (8, 0), (0, 8)]);
    world.write(address(&second, 8), 7);
    assert!(poor.is_lost(), "frames of others are of no use at the cap");
    assert_eq!(frames(&other), (0, 8));
}

#[test]
fn reclaimed_frames_are_zeroed_for_their_next_owner() {
    let world = World::new();
    let mut first = deferred_region(&world, MIB, 200, &account());
    world.source.hoard(0);
    first.reclaim(u64::MAX);
    let second = world.region(MIB);
    for page in 0..190 {
        world.write(address(&second, page), 0);
        assert!((0..PAGE).step_by(64).all(|offset| world.read(address(&second, page) + offset) == 0));
    }
}

#[test]
fn pages_deferred_far_apart_are_found_after_those_between_were_taken_back() {
    let world = World::new();
    let mut region = world.region(900 * GIB);
    let tables: Vec<u64> = (0..10).map(|number| number * 70 * GIB / PAGE + number).collect();
    tables.iter().for_each(|page| world.write(address(&region, *page), 0xee));
    let all = region.pages();
    assert_eq!(region.defer(all), Ok(10));
    tables[1..9].iter().for_each(|page| assert_eq!(world.read(address(&region, *page)), 0));
    assert_eq!(frames(&region), (8, 2));
    assert_eq!(region.reclaim(1).frames_released, 1);
    assert_eq!(frames(&region), (8, 1));
    let last = address(&region, tables[9]);
    assert_eq!(world.read(last), 0, "the one that is left is the last");
    assert_eq!((frames(&region), region.reclaim(u64::MAX)), ((9, 0), Decommitted::default()));
    assert_eq!(region.defer(all), Ok(9));
    assert_eq!(region.reclaim(u64::MAX).frames_released, 9);
}

#[test]
fn a_table_of_deferred_pages_is_found_again_after_each_way_to_clear_a_part_of_it() {
    let world = World::new();
    let mut region = deferred_region(&world, 4 * MIB, 600, &account());
    let (some, others) = (pages(&region, 100, 50), pages(&region, 300, 50));
    assert_eq!(region.decommit(some).map(|done| done.frames_released), Ok(50));
    assert_eq!((region.recommit(others), region.zero_in_place(others)), (Ok(Recommitted::default()), Ok(0)));
    assert_eq!(region.reclaim(512 - 50).frames_released, 512 - 50);
    assert_eq!(frames(&region), (0, 88));
    assert_eq!(region.reclaim(u64::MAX).frames_released, 88);
}
