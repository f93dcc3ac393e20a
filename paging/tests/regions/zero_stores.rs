//! Fills of zeros without a zero-fill guard: they skip pages that read as zero anyway.

use palimpsest_paging::{NotOurs, Policies, ZeroStores};

use crate::world::{
    Entry, GIB, MIB, PAGE, REP_STOSB, REP_STOSQ, StringStore, TestRegion, World, account, address, pages,
};

fn world() -> World {
    World::new().with_policies(Policies { zero_stores: ZeroStores::StepOver, ..Policies::OFF })
}

/// Fills bytes of a region by `rep stosb`, and returns the number of faults.
fn fill(world: &World, entry: Entry, region: &TestRegion<'_>, offset: u64, count: u64, value: u64) -> u64 {
    let start = region.base() + offset;
    let store = StringStore { code: &REP_STOSB, element_bytes: 1, value, start, count };
    world.cpu.string_store(world.space(), entry, store).expect("the range can be written")
}

#[test]
fn zeros_over_absent_pages_take_one_fault_and_no_frame() {
    let world = world();
    let region = world.region(4 * GIB);
    let allocations = world.source.allocations();
    assert_eq!(fill(&world, Entry::WithRegisters, &region, 123, 4 * GIB - 200, 0), 1);
    assert_eq!((region.residency().resident_frames, world.source.allocations()), (0, allocations));
}

#[test]
fn zeros_over_written_pages_are_written_and_the_rest_is_stepped_over() {
    let world = world();
    let region = world.region(GIB);
    for page in [3, 4, 1000] {
        world.write(address(&region, page) + 7, 9);
    }
    assert_eq!(fill(&world, Entry::WithRegisters, &region, 0, GIB, 0), 3);
    assert_eq!(region.residency().resident_frames, 3);
    assert!([3, 4, 1000].into_iter().all(|page| world.read(address(&region, page) + 7) == 0));
}

#[test]
fn bytes_beside_the_fill_do_not_change() {
    let world = world();
    let region = world.region(GIB);
    world.write(address(&region, 1) + 10, 9);
    world.write(address(&region, 5) + 4095, 9);
    fill(&world, Entry::WithRegisters, &region, PAGE + 11, 4 * PAGE + 4095 - 11, 0);
    assert_eq!((world.read(address(&region, 1) + 10), world.read(address(&region, 5) + 4095)), (9, 9));
}

#[test]
fn pages_that_show_zero_or_are_deferred_are_stepped_over_and_read_zero() {
    let world = world();
    let mut region = world.region(GIB);
    world.write_pages(&region, 8, 7);
    let range = pages(&region, 2, 4);
    assert_eq!(region.defer(range), Ok(4));
    (8..12).for_each(|page| assert_eq!(world.read(address(&region, page)), 0));
    fill(&world, Entry::WithRegisters, &region, 0, 12 * PAGE, 0);
    assert_eq!((region.residency().resident_frames, region.residency().deferred_frames), (4, 4));
    assert!((0..12).all(|page| world.read(address(&region, page)) == 0));
}

#[test]
fn other_bytes_commit_and_so_do_zeros_on_the_plain_entry_or_with_the_policy_off() {
    let on = world();
    let off = World::new();
    for (world, entry, value) in
        [(&on, Entry::WithRegisters, 1), (&on, Entry::Plain, 0), (&off, Entry::WithRegisters, 0)]
    {
        let region = world.region(MIB);
        assert_eq!(fill(world, entry, &region, 0, 10 * PAGE, value), 10);
        assert_eq!(region.residency().resident_frames, 10);
    }
}

#[test]
fn a_fill_is_not_moved_past_the_limit() {
    let world = world();
    let mut region = world.space().reserve(GIB, &account()).expect("the world has room");
    region.set_limit(4 * PAGE).expect("it is below the capacity");
    let start = region.base();
    let store = StringStore { code: &REP_STOSQ, element_bytes: 8, value: 0, start, count: 8 * PAGE / 8 };
    let outcome = world.cpu.string_store(world.space(), Entry::WithRegisters, store);
    assert_eq!(outcome, Err(NotOurs::BeyondLimit));
    assert_eq!(region.residency().faults, 1);
}
