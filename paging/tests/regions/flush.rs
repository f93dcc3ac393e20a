//! The TLB is flushed before frames change hands.
//!
//! The machine's MMU keeps every translation until it is flushed, and its frame source refuses
//! frames that the MMU still remembers. The types of the crate require a flush before a frame
//! leaves its entry, but not that the right pages were added to it. Each of these mutations was
//! tried by hand, and makes the named tests fail:
//!
//! - `table/leaf.rs`, `detach_pages`, without `batch.add_run(..)`:
//!   `a_decommitted_page_is_not_translated_any_more`. Without `batch.add(..)`:
//!   `a_zero_page_is_not_translated_after_its_decommit`.
//! - `table.rs`, `uncover`, without `batch.add_entry(..)`:
//!   `sink::a_recalled_sink_is_not_written_any_more`.
//! - `table.rs`, `detach_empty`, without `batch.add(..)`:
//!   `a_shared_table_is_not_walked_after_its_last_region` and
//!   `a_table_that_a_reclaim_empties_is_not_walked_any_more`.
//! - `table.rs`, `cut_off`, without `batch.add_everything()`:
//!   `a_table_that_is_cut_off_is_not_translated_through_any_more`.
//! - `table/resident.rs`, `replace`, without `batch.add(..)`:
//!   `a_recommitted_page_is_translated_to_its_fresh_frame`.
//! - `table/resident.rs`, `defer`, without `batch.add(..)`, or `clear/defer.rs`, `defer`, without
//!   `batch.flush(..)`: `a_deferred_page_is_not_translated_any_more`.
//! - `table/ahead.rs`, without `batch.add_with(..)`:
//!   `ahead::a_demoted_page_is_not_translated_any_more`.
//! - `fault/commit.rs`, `replace_shared`, without the flush:
//!   `an_upgraded_page_is_not_read_from_the_zero_frame`.
//! - `fault/resolve.rs`, `cover`, without the flush:
//!   `zero_fill::a_page_that_shows_zero_is_filled_without_a_frame` and
//!   `out_of_frames::an_upgrade_that_finds_no_frame_goes_into_the_sink`.
//! - `tlb.rs`, `add_run`, forgets pages past the threshold:
//!   `deferred::deferring_unmaps_and_keeps_the_frames`.
//! - `tlb.rs`, `add_entry`, adds one page for an entry above level 1:
//!   `zero_fill::a_fill_with_other_bytes_goes_into_the_sink`.

use crate::world::{GIB, MIB, World, address, pages};

#[test]
fn a_decommitted_page_is_not_translated_any_more() {
    let world = World::new();
    let mut region = world.region(GIB);
    (0..3).for_each(|page| world.write(address(&region, page), 7));
    let range = pages(&region, 1, 1);
    region.decommit(range).expect("the page is inside");
    let seen = [0, 1, 2].map(|page| world.cpu.peek(address(&region, page)));
    assert_eq!(seen, [Some(7), None, Some(7)]);
}

#[test]
fn a_zero_page_is_not_translated_after_its_decommit() {
    let world = World::new();
    let mut region = world.region(GIB);
    world.write(address(&region, 0), 7);
    assert_eq!(world.read(address(&region, 1)), 0);
    let range = pages(&region, 1, 1);
    region.decommit(range).expect("the page is inside");
    assert_eq!(world.cpu.peek(address(&region, 1)), None);
}

#[test]
fn an_upgraded_page_is_not_read_from_the_zero_frame() {
    let world = World::new();
    let region = world.region(GIB);
    assert_eq!(world.read(region.base()), 0);
    world.write(region.base(), 7);
    assert_eq!(world.read(region.base()), 7);
}

/// The CPU has cached where the level-1 table was. A page that is touched later must be looked up
/// in the new table.
#[test]
fn a_released_table_is_not_walked_any_more() {
    let world = World::new();
    let mut region = world.region(2 * MIB);
    world.write(address(&region, 9), 7);
    let all = region.pages();
    region.decommit(all).expect("the range is the region");
    // The frame that was a table contains data of the other region now.
    let other = world.region(2 * MIB);
    (0..16).for_each(|page| world.write(address(&other, page), 0xff));
    assert_eq!(world.read(address(&region, 9)), 0);
    world.write(address(&region, 10), 8);
    assert_eq!(world.read(address(&region, 10)), 8);
    assert!((0..16).all(|page| world.read(address(&other, page)) == 0xff));
}

/// The last region under shared tables ends when none of their pages is present, so no page of it
/// is flushed. The CPU has walked the tables before, and has cached where they were.
#[test]
fn a_shared_table_is_not_walked_after_its_last_region() {
    let world = World::new();
    let other = world.region(GIB);
    let region = world.region(64 << 10);
    let place = region.base();
    assert_eq!(world.cpu.peek(place), None);
    drop(region);
    // The frame that was a table contains data of the other region now.
    (0..16).for_each(|page| world.write(address(&other, page), 0xff));
    let next = world.region(64 << 10);
    assert_eq!(next.base(), place, "the addresses are reused");
    world.write(place, 8);
    assert_eq!(world.read(place), 8);
}

#[test]
fn a_deferred_page_is_not_translated_any_more() {
    let world = World::new();
    let mut region = world.region(GIB);
    (0..3).for_each(|page| world.write(address(&region, page), 7));
    let range = pages(&region, 1, 1);
    assert_eq!(region.defer(range), Ok(1));
    let seen = [0, 1, 2].map(|page| world.cpu.peek(address(&region, page)));
    assert_eq!(seen, [Some(7), None, Some(7)]);
}

#[test]
fn a_recommitted_page_is_translated_to_its_fresh_frame() {
    let world = World::new();
    let mut region = world.region(GIB);
    (0..3).for_each(|page| world.write(address(&region, page), 7));
    let range = pages(&region, 1, 1);
    assert_eq!(region.recommit(range).map(|done| done.frames_committed), Ok(1));
    let seen = [0, 1, 2].map(|page| world.cpu.peek(address(&region, page)));
    assert_eq!(seen, [Some(7), Some(0), Some(7)]);
}

/// A deferred page is flushed when it is deferred. But the CPU has walked its table since, and has
/// cached where the table is.
#[test]
fn a_table_that_a_reclaim_empties_is_not_walked_any_more() {
    let world = World::new();
    let mut region = world.region(GIB);
    let place = address(&region, 9);
    world.write(place, 7);
    let all = region.pages();
    assert_eq!(region.defer(all), Ok(1));
    assert_eq!(world.cpu.peek(place), None);
    assert_eq!(region.reclaim(1).tables_released, 2);
    // The frame that was a table contains data of the other region now.
    let other = world.region(GIB);
    (0..16).for_each(|page| world.write(address(&other, page), 0xff));
    world.write(place, 8);
    assert_eq!(world.read(place), 8);
}

#[test]
fn few_pages_are_flushed_one_by_one() {
    let world = World::new();
    let mut region = world.region(GIB);
    (0..40).for_each(|page| world.write(address(&region, page), 7));
    let before = world.cpu.mmu().flushes();
    let range = pages(&region, 0, 20);
    region.decommit(range).expect("the range is inside");
    assert_eq!(world.cpu.mmu().flushes(), (before.0 + 20, before.1));
}

#[test]
fn many_pages_are_flushed_at_once() {
    let world = World::new();
    let mut region = world.region(GIB);
    (0..600).for_each(|page| world.write(address(&region, page), 7));
    let before = world.cpu.mmu().flushes();
    let range = pages(&region, 0, 599);
    region.decommit(range).expect("the range is inside");
    assert_eq!(world.cpu.mmu().flushes(), (before.0, before.1 + 1));
    assert!((0..599).all(|page| world.cpu.peek(address(&region, page)).is_none()));
}

#[test]
fn a_table_that_is_cut_off_is_not_translated_through_any_more() {
    let world = World::new();
    let mut region = world.region(GIB);
    (0..1100).for_each(|page| world.write(address(&region, page), 7));
    let before = world.cpu.mmu().flushes();
    let range = pages(&region, 0, 1024);
    let released = region.decommit(range).expect("the range is inside");
    assert_eq!((released.frames_released, released.tables_released), (1024, 2));
    assert_eq!(world.cpu.mmu().flushes(), (before.0, before.1 + 1));
    assert!((0..1024).all(|page| world.cpu.peek(address(&region, page)).is_none()));
    assert_eq!(world.read(address(&region, 1024)), 7, "the page after the range has not changed");
}

#[test]
fn an_absent_range_is_not_flushed() {
    let world = World::new();
    let mut region = world.region(4 * GIB);
    world.write(region.base(), 1);
    let before = world.cpu.mmu().flushes();
    let range = pages(&region, 1, 500_000);
    region.decommit(range).expect("the range is inside");
    assert_eq!(world.cpu.mmu().flushes(), before);
}

#[test]
fn stale_data_is_never_seen_by_the_next_owner() {
    let world = World::with(4 * GIB, 512);
    for round in 1..=20_u8 {
        let region = world.region(16 * MIB);
        for page in 0..400 {
            let place = address(&region, page * 7 % 4096);
            assert_eq!(world.read(place + u64::from(round)), 0, "round {round}, page {page}");
            world.write(place + u64::from(round), round);
        }
    }
}
