//! Small regions share table frames.

use crate::world::{KIB, MIB, PAGE, World, address};

#[test]
fn neighbours_share_tables_and_do_not_disturb_each_other() {
    let world = World::new();
    let mut regions: Vec<_> = (0..32).map(|_| world.region(64 * KIB)).collect();
    assert_eq!(world.space().usage().shared_table_frames, 2, "2 MiB are under one table of level 1 and 2");
    for (value, region) in (1_u8..).zip(&regions) {
        (0..16).for_each(|page| world.write(address(region, page), value));
        assert_eq!(region.residency().table_frames, 0, "shared tables belong to no region");
    }
    for region in regions.iter_mut().step_by(2) {
        let all = region.pages();
        let released = region.decommit(all).expect("the range is the region");
        assert_eq!((released.frames_released, released.tables_released), (16, 0));
    }
    for (number, region) in (0_u8..).zip(&regions) {
        let expected = if number % 2 == 0 { 0 } else { number + 1 };
        assert!((0..16).all(|page| world.read(address(region, page)) == expected), "region {number}");
    }
    while let Some(region) = regions.pop() {
        let last = regions.is_empty();
        drop(region);
        assert_eq!(world.space().usage().shared_table_frames, if last { 0 } else { 2 });
    }
}

#[test]
fn a_full_table_of_one_page_regions_is_shared_by_all_of_them() {
    let world = World::new();
    let regions: Vec<_> = (0..513).map(|_| world.region(PAGE)).collect();
    assert_eq!(world.space().usage().shared_table_frames, 3, "one table of level 2, two of level 1");
    regions.iter().for_each(|region| world.write(region.base(), 1));
    assert!(regions.iter().all(|region| world.read(region.base()) == 1));
    assert_eq!(world.space().usage().resident_frames, 513);
}

#[test]
fn medium_regions_share_the_table_above_their_own() {
    let world = World::new();
    let (first, second) = (world.region(4 * MIB), world.region(4 * MIB));
    assert_eq!(world.space().usage().shared_table_frames, 1);
    world.write(first.base(), 1);
    world.write(second.base(), 2);
    assert_eq!((first.residency().table_frames, second.residency().table_frames), (1, 1));
    drop(first);
    assert_eq!(world.space().usage().shared_table_frames, 1);
    assert_eq!(world.read(second.base()), 2);
    drop(second);
    assert_eq!(world.space().usage().shared_table_frames, 0);
}

#[test]
fn the_list_of_regions_grows_and_finds_each_of_them() {
    let world = World::with(1 << 40, 16_384);
    let mut regions: Vec<_> = (0..1000).map(|_| world.region(64 * KIB)).collect();
    for (number, region) in (0_u64..).zip(&regions) {
        world.write(region.base() + number, number.to_le_bytes()[0]);
    }
    let mut number = 0_u64;
    regions.retain(|_| {
        number += 1;
        !number.is_multiple_of(3)
    });
    for region in &regions {
        assert_eq!(region.residency().resident_frames, 1);
    }
    assert_eq!(world.space().usage().resident_frames, 667);
}
