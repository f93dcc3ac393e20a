//! The zero-fill guard: zeros that are written to pages which read as zero take no frame and change
//! nothing.

use palimpsest_paging::x86_64::VirtAddr;
use palimpsest_paging::{LimitError, NotOurs};

use crate::world::{
    Cpu, Entry, GIB, KIB, MIB, PAGE, REP_STOSB, REP_STOSQ, Space, StringStore, TestRegion, World, account,
    address, pages,
};

/// Fills `bytes` bytes from the start of a page, by whole elements, and returns the number of
/// faults.
fn fill(cpu: &Cpu, space: &Space, entry: Entry, start: VirtAddr, bytes: u64) -> u64 {
    let store = StringStore { code: &REP_STOSQ, element_bytes: 8, value: 0, start, count: bytes / 8 };
    cpu.string_store(space, entry, store).expect("the range can be written")
}

/// Fills the pages under a guard, and returns the number of faults.
fn guarded_fill(world: &World, region: &mut TestRegion<'_>, entry: Entry, first: u64, count: u64) -> u64 {
    let (start, range) = (address(region, first), pages(region, first, count));
    let guard = region.zero_fill(range).expect("the range is inside");
    let faults = fill(&world.cpu, world.space(), entry, start, count * PAGE);
    drop(guard);
    faults
}

#[test]
fn four_gib_take_one_fault_with_registers_and_no_frame() {
    let world = World::new();
    let mut region = world.region(4 * GIB);
    let (new, allocations) = (region.residency(), world.source.allocations());
    let faults = guarded_fill(&world, &mut region, Entry::WithRegisters, 0, 4 * GIB / PAGE);
    assert_eq!((faults, world.source.allocations()), (1, allocations));
    let after = region.residency();
    assert_eq!((after.resident_frames, after.table_frames), (0, new.table_frames));
}

#[test]
fn growth_covers_the_new_pages_and_the_one_in_which_they_begin() {
    let world = World::new();
    let mut region = world.region(GIB);
    region.set_limit(2 * PAGE + 100).expect("nothing was written");
    let start = address(&region, 2);
    let guard = region.grow(MIB).expect("it is within the capacity");
    fill(&world.cpu, world.space(), Entry::Plain, start, MIB - 2 * PAGE);
    drop(guard);
    assert_eq!((region.limit_bytes(), region.residency().resident_frames), (MIB, 0));
    drop(region.grow(PAGE).expect("the limit is higher"));
    assert_eq!(region.limit_bytes(), MIB);
    let beyond = LimitError::BeyondCapacity { requested_bytes: GIB + 1, capacity_bytes: GIB };
    assert_eq!(region.grow(GIB + 1).err(), Some(beyond));
    assert_eq!(region.limit_bytes(), MIB);
}

#[test]
fn four_gib_take_four_faults_on_the_plain_entry_and_no_frame() {
    let world = World::new();
    let mut region = world.region(4 * GIB);
    let allocations = world.source.allocations();
    let faults = guarded_fill(&world, &mut region, Entry::Plain, 0, 4 * GIB / PAGE);
    assert_eq!((faults, world.source.allocations()), (4, allocations));
    let after = region.residency();
    assert_eq!((after.resident_frames, after.peak_resident_frames, after.table_frames), (0, 0, 0));
    for page in [0, 1, 262_143, 262_144, 1_048_575] {
        assert_eq!(world.cpu.peek(address(&region, page)), None, "the sink is gone from page {page}");
        assert_eq!(world.read(address(&region, page)), 0);
    }
    world.write(address(&region, 77), 5);
    assert_eq!((world.read(address(&region, 77)), world.read(address(&region, 78))), (5, 0));
}

#[test]
fn small_regions_are_filled_without_a_frame_too() {
    for bytes in [PAGE, 64 * KIB, MIB, 2 * MIB, 24 * MIB, 600 * MIB] {
        for entry in [Entry::Plain, Entry::WithRegisters] {
            let world = World::new();
            let mut region = world.region(bytes);
            let allocations = world.source.allocations();
            guarded_fill(&world, &mut region, entry, 0, bytes / PAGE);
            assert_eq!(region.residency().resident_frames, 0, "{bytes} bytes, {entry:?}");
            assert_eq!(world.source.allocations(), allocations, "{bytes} bytes, {entry:?}");
            assert_eq!(world.cpu.peek(region.base()), None);
        }
    }
}

#[test]
fn a_fill_goes_around_pages_that_hold_a_frame() {
    // With the plain entry: the rest of two tables of level 1, of two of level 2, and two entries
    // of level 3.
    for (entry, expected) in [(Entry::Plain, 510 + 511 + 511 + 511 + 2), (Entry::WithRegisters, 3)] {
        let world = World::new();
        let mut region = world.region(4 * GIB);
        let held = [100, 101, 300_000];
        held.iter().for_each(|page| world.write(address(&region, *page) + 8, 9));
        let faults = guarded_fill(&world, &mut region, entry, 0, 4 * GIB / PAGE);
        assert_eq!(faults, expected, "{entry:?}");
        assert_eq!(region.residency().resident_frames, 3, "{entry:?}");
        for page in held {
            assert_eq!(world.cpu.peek(address(&region, page) + 8), Some(0), "page {page} was filled");
        }
    }
}

#[test]
fn a_fill_that_starts_and_ends_inside_of_pages_keeps_what_is_beside_it() {
    for entry in [Entry::Plain, Entry::WithRegisters] {
        let world = World::new();
        let mut region = world.region(4 * MIB);
        world.write(address(&region, 9) + 7, 1);
        world.write(address(&region, 1000), 1);
        let (start, range) = (address(&region, 10) + 24, pages(&region, 10, 990));
        let guard = region.zero_fill(range).expect("the range is inside");
        fill(&world.cpu, world.space(), entry, start, 990 * PAGE - 48);
        drop(guard);
        assert_eq!(region.residency().resident_frames, 2);
        assert_eq!((world.read(address(&region, 9) + 7), world.read(address(&region, 1000))), (1, 1));
    }
}

#[test]
fn a_page_that_shows_zero_is_filled_without_a_frame() {
    for entry in [Entry::Plain, Entry::WithRegisters] {
        let world = World::new();
        let mut region = world.region(4 * MIB);
        (0..4).for_each(|page| assert_eq!(world.read(address(&region, page)), 0));
        guarded_fill(&world, &mut region, entry, 0, 4);
        assert_eq!(region.residency().resident_frames, 0, "{entry:?}");
        world.write(address(&region, 2), 3);
        assert_eq!((world.read(address(&region, 1)), world.read(address(&region, 2))), (0, 3));
    }
}

#[test]
fn a_quadword_across_a_border_is_stored_by_the_cpu() {
    let world = World::new();
    let mut region = world.region(4 * MIB);
    world.write(address(&region, 8), 0xff);
    let (start, range) = (address(&region, 0) + 4, pages(&region, 0, 16));
    let guard = region.zero_fill(range).expect("the range is inside");
    let faults = fill(&world.cpu, world.space(), Entry::WithRegisters, start, 10 * PAGE);
    drop(guard);
    assert!(faults <= 6, "{faults} faults");
    assert_eq!((region.residency().resident_frames, world.read(address(&region, 8))), (1, 0));
}

#[test]
fn a_fill_with_other_bytes_goes_into_the_sink() {
    let world = World::new();
    let mut region = world.region(4 * GIB);
    let store = |value, start| StringStore { code: &REP_STOSB, element_bytes: 1, value, start, count: PAGE };
    for value in [1, 0] {
        let (start, other, range) = (address(&region, 3), address(&region, 4), pages(&region, 0, 512));
        let guard = region.zero_fill(range).expect("the range is inside");
        let faults = world.cpu.string_store(world.space(), Entry::WithRegisters, store(value, start));
        assert_eq!(faults, Ok(1));
        if value == 0 {
            assert_eq!(world.cpu.peek(other), None, "a fill with zeros is stepped over");
        }
        drop(guard);
        assert_eq!(region.residency().resident_frames, 0);
        assert_eq!(world.read(address(&region, 3)), 0);
        let all = region.pages();
        region.decommit(all).expect("the range is the region");
    }
}

#[test]
fn without_the_guard_a_fill_commits() {
    let world = World::new();
    let mut region = world.region(MIB);
    drop(region.zero_fill(region.pages()).expect("the range is the region"));
    assert_eq!(fill(&world.cpu, world.space(), Entry::WithRegisters, region.base(), 10 * PAGE), 10);
    assert_eq!(region.residency().resident_frames, 10);
}

#[test]
fn outside_of_the_guarded_range_a_fill_commits() {
    let world = World::new();
    let mut region = world.region(GIB);
    let (start, range) = (address(&region, 1020), pages(&region, 0, 1024));
    let guard = region.zero_fill(range).expect("the range is inside");
    let faults = fill(&world.cpu, world.space(), Entry::WithRegisters, start, 8 * PAGE);
    drop(guard);
    assert_eq!(faults, 1 + 4);
    assert_eq!(region.residency().resident_frames, 4);
}

#[test]
fn the_guard_does_not_reach_past_the_limit() {
    let world = World::new();
    let mut region = world.space().reserve(GIB, &account()).expect("the world has room");
    region.set_limit(4 * PAGE).expect("it is below the capacity");
    let (start, range) = (region.base(), region.pages());
    let guard = region.zero_fill(range).expect("the range is the region");
    let store =
        StringStore { code: &REP_STOSB, element_bytes: 1, value: 1, start: start + 4 * PAGE, count: 1 };
    let outcome = world.cpu.string_store(world.space(), Entry::WithRegisters, store);
    drop(guard);
    assert_eq!(outcome, Err(NotOurs::BeyondLimit));
}

#[test]
fn a_leaked_guard_ends_with_the_next_one_or_with_its_region() {
    let world = World::new();
    let mut region = world.region(4 * GIB);
    for _ in 0..2 {
        let (start, range) = (region.base(), pages(&region, 0, 1024));
        std::mem::forget(region.zero_fill(range).expect("the range is inside"));
        fill(&world.cpu, world.space(), Entry::Plain, start, MIB);
    }
    let range = pages(&region, 0, 1);
    drop(region.zero_fill(range).expect("the range is inside"));
    assert_eq!(world.cpu.peek(region.base()), None);
}
