//! Large pages never stand in the way of whoever needs a frame, and are not made where one is missing.

use std::sync::Arc;

use palimpsest_paging::Account;

use super::{BLOCK, LARGE, is_marked, mark, marked_region, world};
use crate::world::{GIB, TIB, World, account, address, pages};

#[test]
fn an_empty_source_gets_back_what_was_not_written_of_a_large_page() {
    let world = world();
    let (first, second) = (world.region(GIB), world.region(GIB));
    mark(&world, &first, 0, BLOCK + 10);
    world.write(address(&first, BLOCK + 77) + 4095, 9);
    world.write(second.base(), 1);
    assert_eq!(world.cpu.peek(address(&first, BLOCK + 78)), Some(0));
    world.source.hoard(0);
    (1..=BLOCK - 11).for_each(|page| world.write(address(&second, page), 1));
    let held = first.residency();
    assert_eq!((held.resident_frames, held.deferred_frames, held.large_pages), (BLOCK + 11, 0, 0));
    assert!((0..BLOCK + 10).all(|page| is_marked(&world, &first, page)));
    assert_eq!(world.read(address(&first, BLOCK + 77) + 4095), 9);
    assert_eq!(world.cpu.peek(address(&first, BLOCK + 78)), None);
    assert_eq!(second.residency().resident_frames, BLOCK - 10);
    world.source.unhoard(3);
    assert_eq!(world.read(address(&first, BLOCK + 78)), 0);
}

#[test]
fn at_the_cap_whoever_writes_gets_every_frame_of_a_large_page_that_is_not_written() {
    let world = world();
    // The pages that are written, two level-1 tables, and one above.
    let account = Arc::new(Account::new(Some(2 * BLOCK + 3)));
    let region = world.region_of(GIB, &account);
    mark(&world, &region, 0, BLOCK + 1);
    assert_eq!((region.residency().large_pages, account.held_frames()), (1, 2 * BLOCK + 3));
    mark(&world, &region, 2 * BLOCK, BLOCK - 2);
    assert_eq!((account.is_lost(), account.held_frames()), (false, 2 * BLOCK + 3));
    assert!((0..=BLOCK).chain(2 * BLOCK..3 * BLOCK - 2).all(|page| is_marked(&world, &region, page)));
    world.write(address(&region, 3 * BLOCK - 2), 1);
    assert!(account.is_lost(), "the cap is the cap");
}

#[test]
fn a_large_page_that_is_written_all_over_stays_one_in_a_shortage() {
    let world = world();
    let (region, account) = (marked_region(&world), account());
    let other = world.region_of(GIB, &account);
    world.source.hoard(0);
    world.write(other.base(), 1);
    assert!(account.is_lost(), "there was nothing to be had");
    assert_eq!((region.residency().large_pages, region.residency().deferred_frames), (1, 0));
    assert!((0..2 * BLOCK).all(|page| is_marked(&world, &region, page)));
}

#[test]
fn a_part_of_a_large_page_that_stays_is_given_back_in_a_shortage_after_a_split() {
    let world = world();
    let mut region = world.region(GIB);
    mark(&world, &region, 0, BLOCK + 1);
    let range = pages(&region, 2 * BLOCK - 1, 1);
    region.decommit(range).expect("the range is inside");
    world.source.hoard(0);
    let other = world.region(GIB);
    mark(&world, &other, 0, 100);
    assert_eq!(other.residency().resident_frames, 100);
    assert!((0..=BLOCK).all(|page| is_marked(&world, &region, page)));
}

#[test]
fn a_cap_that_is_one_frame_short_leaves_it_at_small_pages() {
    for (room, large_pages) in [(BLOCK, 0), (BLOCK + 1, 1)] {
        let world = world();
        let account = Arc::new(Account::new(Some(2 + BLOCK + room)));
        let region = world.region_of(GIB, &account);
        mark(&world, &region, 0, BLOCK + 1);
        assert_eq!((region.residency().large_pages, account.is_lost()), (large_pages, false));
        assert_eq!(
            account.held_frames(),
            region.residency().resident_frames + region.residency().table_frames
        );
    }
}

#[test]
fn a_source_without_an_aligned_run_leaves_it_at_small_pages() {
    // Frames 512 to 1023 are the one run, and small pages take of them before a run is asked for.
    let world = World::with(2 * TIB, 1400).with_policies(LARGE);
    let region = world.region(GIB);
    mark(&world, &region, 0, BLOCK + 200);
    assert!(world.source.unpromised() > BLOCK);
    assert_eq!((region.residency().large_pages, region.residency().resident_frames), (0, BLOCK + 200));
    assert!((0..BLOCK + 200).all(|page| is_marked(&world, &region, page)));
}

#[test]
fn what_fails_halfway_gives_back_what_it_took() {
    for (allowed, large_pages) in [(0, 0), (1, 0), (2, 1)] {
        let world = world();
        let account = account();
        let region = world.region_of(GIB, &account);
        mark(&world, &region, 0, BLOCK);
        let (held, allocated) = (account.held_frames(), world.source.allocated());
        world.source.allow(Some(allowed));
        world.write(address(&region, BLOCK), 1);
        let taken = large_pages * (BLOCK + 1);
        assert_eq!((region.residency().large_pages, account.is_lost()), (large_pages, large_pages == 0));
        assert_eq!((account.held_frames(), world.source.allocated()), (held + taken, allocated + taken));
        world.source.allow(None);
    }
}
