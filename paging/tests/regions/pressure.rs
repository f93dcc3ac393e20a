//! The embedder's callback for a fault that finds no frame.

use std::sync::Arc;

use palimpsest_paging::Account;

use crate::world::{GIB, PAGE, Space, World, account, address, pages};

/// Releases eight frames. It also calls the space, which would deadlock if its lock were held.
fn give_up_frames(space: &Space) {
    space.frames().press();
    let usage = space.usage();
    assert_eq!(usage.deferred_frames, 0, "deferred frames are reclaimed first");
    assert_eq!(space.reclaim(u64::MAX).frames_released, 0);
    space.frames().unhoard(8);
}

fn do_nothing(space: &Space) {
    space.frames().press();
}

#[test]
fn frames_that_the_callback_releases_save_the_write() {
    let world = World::new().with_pressure(give_up_frames);
    let account = account();
    let region = world.region_of(GIB, &account);
    world.source.hoard(0);
    // Two tables and six pages.
    world.write_pages(&region, 6, 5);
    assert_eq!((world.source.presses(), account.is_lost()), (1, false));
    world.write_pages(&region, 8, 6);
    assert_eq!((world.source.presses(), account.is_lost()), (2, false));
    assert!((0..8).all(|page| world.read(address(&region, page)) == 6));
}

#[test]
fn a_callback_that_releases_nothing_is_called_once_per_fault() {
    let world = World::new().with_pressure(do_nothing);
    let account = account();
    let region = world.region_of(GIB, &account);
    world.source.hoard(1);
    world.write(region.base(), 5);
    assert_eq!((world.source.presses(), account.is_lost()), (1, true));
    assert_eq!(region.residency().faults, 1);
    // The table of the page leads to the sink now.
    world.write(address(&region, 1), 5);
    assert_eq!(world.source.presses(), 1);
    world.write(address(&region, 600), 5);
    assert_eq!(world.source.presses(), 2);
}

#[test]
fn deferred_frames_are_reclaimed_before_the_callback_is_called() {
    let world = World::new().with_pressure(give_up_frames);
    let account = account();
    let mut first = world.region(16 * PAGE);
    world.write_pages(&first, 16, 5);
    let all = pages(&first, 0, 16);
    first.defer(all).expect("the range is the region");
    let second = world.region_of(64 * PAGE, &account);
    world.source.hoard(0);
    world.write_pages(&second, 16, 5);
    assert_eq!((world.source.presses(), account.is_lost()), (0, false));
    world.write_pages(&second, 24, 5);
    assert_eq!((world.source.presses(), account.is_lost()), (1, false));
}

#[test]
fn a_reached_cap_does_not_call_the_callback() {
    let world = World::new().with_pressure(give_up_frames);
    let account = Arc::new(Account::new(Some(0)));
    let region = world.region_of(PAGE, &account);
    world.write(region.base(), 5);
    assert_eq!((world.source.presses(), account.is_lost()), (0, true));
}
