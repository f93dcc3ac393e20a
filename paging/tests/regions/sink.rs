//! A space has one sink, which is lent to one region at a time.

use palimpsest_paging::x86_64::structures::paging::PhysFrame;

use crate::world::{GIB, KIB, TestRegion, World, account, address};

/// A region whose account is lost, because the write of this byte went into the sink.
fn lose<'a>(world: &'a World, bytes: u64, page: u64, value: u8) -> TestRegion<'a> {
    let region = world.region_of(bytes, &account());
    world.source.allow(Some(0));
    world.write(address(&region, page), value);
    world.source.allow(None);
    region
}

fn sink_at(world: &World, region: &TestRegion<'_>, page: u64) -> Option<PhysFrame> {
    world.cpu.frame_at(address(region, page))
}

#[test]
fn lost_regions_take_turns_and_do_not_read_each_other() {
    let world = World::new();
    for (one, other) in [(4 * GIB, 4 * GIB), (64 * KIB, 4 * GIB), (4 * GIB, 64 * KIB), (64 * KIB, 64 * KIB)] {
        let first = lose(&world, one, 5, 0x66);
        let second = lose(&world, other, 6, 0x77);
        assert_eq!(sink_at(&world, &first, 5), None, "the second has it now");
        world.source.allow(Some(0));
        assert_eq!(world.cpu.peek(address(&second, 6)), Some(0x77));
        world.write(address(&first, 5) + 1, 0x66);
        assert_eq!(
            world.cpu.peek(address(&first, 5)),
            Some(0),
            "it does not contain the bytes of the second"
        );
        assert_eq!(sink_at(&world, &second, 6), None);
        world.source.allow(None);
    }
}

#[test]
fn the_end_of_a_region_frees_the_sink_for_others() {
    let world = World::new();
    drop(lose(&world, 4 * GIB, 5, 0x66));
    // The addresses are reused, and nothing of what the first wrote is left in the sink.
    let second = lose(&world, 4 * GIB, 6, 0);
    world.write(address(&second, 5) + 1, 0x77);
    let seen = [address(&second, 5), address(&second, 5) + 1].map(|place| world.cpu.peek(place));
    assert_eq!(seen, [Some(0), Some(0x77)]);
    drop(second);
    let third = world.region(4 * GIB);
    assert_eq!((sink_at(&world, &third, 5), world.read(address(&third, 5))), (None, 0));
}

/// The CPU has cached that the whole 1 GiB is writable.
#[test]
fn a_recalled_sink_is_not_written_any_more() {
    let world = World::new();
    let first = lose(&world, 4 * GIB, 5, 0x66);
    world.write(address(&first, 1000), 0x66);
    let second = lose(&world, 4 * GIB, 7, 0x77);
    let stale = [5, 1000].map(|page| sink_at(&world, &first, page));
    assert_eq!(stale, [None, None]);
    drop((first, second));
}

#[test]
fn a_guard_recalls_the_sink_from_a_lost_region() {
    let world = World::new();
    let lost = lose(&world, 4 * GIB, 5, 0x66);
    let mut region = world.region(4 * GIB);
    let (place, all) = (address(&region, 9), region.pages());
    let guard = region.zero_fill(all).expect("the range is the region");
    world.write(place, 0);
    assert_eq!(world.cpu.peek(place + 100), Some(0), "the sink was filled with zeros");
    drop(guard);
    assert_eq!((world.cpu.peek(place), sink_at(&world, &lost, 5)), (None, None));
}

#[test]
fn the_oldest_of_many_pages_that_lead_to_the_sink_is_absent_again() {
    let world = World::new();
    let region = world.region_of(64 * KIB, &account());
    let lost = world.region_of(4 * GIB, &account());
    (0..40).for_each(|table| assert_eq!(world.read(address(&lost, table * 512)), 0));
    world.source.allow(Some(0));
    (0..40).for_each(|table| world.write(address(&lost, table * 512 + 7), 0x66));
    let leads = (0..40).map(|table| sink_at(&world, &lost, table * 512 + 7).is_some());
    assert_eq!(leads.filter(|leads| *leads).count(), 32);
    assert_eq!(sink_at(&world, &lost, 7), None);
    world.write(region.base(), 0x77);
    assert!((0..40).all(|table| sink_at(&world, &lost, table * 512 + 7).is_none()), "it was recalled");
    assert_eq!(world.cpu.peek(region.base()), Some(0x77));
    world.source.allow(None);
}

#[test]
fn a_page_whose_read_found_no_table_reads_as_zero_until_it_is_written() {
    let world = World::new();
    let account = account();
    let region = world.region_of(64 * GIB, &account);
    let pages: Vec<_> = (0..40).map(|number| address(&region, number * GIB / 4096)).collect();
    world.source.allow(Some(0));
    assert!(pages.iter().all(|page| world.read(*page) == 0));
    assert!(account.is_lost());
    // More entries than the loan lists are covered again, and none of them twice.
    for (value, page) in (1..).zip(&pages) {
        world.write(*page, value);
        assert_eq!(world.read(*page + 4096), value, "all pages of the sink are one");
    }
    world.source.allow(None);
}
