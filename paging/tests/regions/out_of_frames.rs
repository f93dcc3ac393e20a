//! A fault that finds no frame: the code goes on, and the account is lost.

use std::sync::Arc;

use palimpsest_paging::Account;

use crate::world::{GIB, MIB, PAGE, World, account, address};

#[test]
fn out_of_frames_maps_the_sink_and_marks_the_account_lost() {
    // A first write takes three frames: two tables and the data. Each of them is missing once.
    for frames in 0..3 {
        let world = World::new();
        let account = account();
        let mut region = world.region_of(4 * GIB, &account);
        let allocated = world.source.allocated();
        world.source.allow(Some(frames));
        world.write(address(&region, 5), 1);
        assert!(account.is_lost());
        let residency = region.residency();
        assert_eq!((residency.resident_frames, residency.table_frames), (0, frames));
        // More writes to the same pages take no frame either.
        world.write(address(&region, 5) + 9, 2);
        world.source.allow(None);
        let all = region.pages();
        let released = region.decommit(all).expect("the range is the region");
        assert_eq!((released.frames_released, released.tables_released), (0, frames));
        assert_eq!(world.source.allocated(), allocated, "the sink is not released as a frame");
        assert_eq!(world.read(address(&region, 5)), 0);
    }
}

#[test]
fn a_read_that_finds_no_table_goes_into_the_sink() {
    let world = World::new();
    let account = account();
    let region = world.region_of(4 * GIB, &account);
    world.source.allow(Some(0));
    assert_eq!(world.read(address(&region, 5)), 0);
    assert!(account.is_lost());
    world.source.allow(None);
}

#[test]
fn a_read_under_an_existing_table_needs_no_frame() {
    let world = World::new();
    let account = account();
    let region = world.region_of(4 * GIB, &account);
    world.write(address(&region, 0), 1);
    world.source.allow(Some(0));
    assert_eq!(world.read(address(&region, 5)), 0);
    assert!(!account.is_lost());
    world.source.allow(None);
}

#[test]
fn an_upgrade_that_finds_no_frame_goes_into_the_sink() {
    let world = World::new();
    let account = account();
    let region = world.region_of(4 * GIB, &account);
    assert_eq!((world.read(address(&region, 5)), world.read(address(&region, 6))), (0, 0));
    world.source.allow(Some(0));
    world.write(address(&region, 5), 1);
    assert!(account.is_lost());
    assert_eq!(world.read(address(&region, 6)), 0, "the zero frame was not written");
    world.source.allow(None);
}

#[test]
fn the_cap_is_checked_before_a_frame_is_taken() {
    let world = World::new();
    let account = Arc::new(Account::new(Some(2 + 10)));
    let region = world.region_of(4 * GIB, &account);
    (0..10).for_each(|page| world.write(address(&region, page), 1));
    assert!(!account.is_lost());
    let allocations = world.source.allocations();
    world.write(address(&region, 10), 1);
    assert!(account.is_lost());
    assert_eq!(world.source.allocations(), allocations);
    assert_eq!((account.held_frames(), account.peak_frames()), (12, 12));
}

#[test]
fn a_lost_account_does_not_affect_others() {
    let world = World::new();
    let (poor, rich) = (Arc::new(Account::new(Some(0))), account());
    let (first, second) = (world.region_of(PAGE, &poor), world.region_of(PAGE, &rich));
    world.write(first.base(), 0x66);
    world.write(second.base(), 0x77);
    assert_eq!((poor.is_lost(), rich.is_lost()), (true, false));
    assert_eq!(world.read(second.base()), 0x77);
}

#[test]
fn what_went_into_a_sink_is_gone_before_the_sink_serves_a_guard() {
    let world = World::new();
    let account = account();
    let mut region = world.region_of(4 * MIB, &account);
    world.source.allow(Some(0));
    world.write(address(&region, 5), 0xee);
    world.source.allow(None);
    let all = region.pages();
    region.decommit(all).expect("the range is the region");
    let place = address(&region, 600);
    let guard = region.zero_fill(all).expect("the range is the region");
    world.write(place + 8, 0);
    assert_eq!(world.cpu.peek(place), Some(0));
    drop(guard);
}
