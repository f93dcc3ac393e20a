//! Clearing large pages and parts of them, in each of the ways.

use palimpsest_paging::LimitError;
use palimpsest_paging::x86_64::structures::paging::PhysFrame;

use super::{BLOCK, is_marked, mark, marked_region, world};
use crate::world::{Entry, GIB, PAGE, REP_STOSQ, StringStore, address, pages};

#[test]
fn clearing_a_part_frees_exactly_its_frames_and_leaves_the_other_bytes() {
    let world = world();
    for (first, count) in [(0, 1), (255, 1), (511, 1), (0, 16), (48, 16), (496, 16), (1, 510), (0, 511)] {
        let mut region = marked_region(&world);
        let (before, allocated) = (region.residency(), world.source.allocated());
        let range = pages(&region, BLOCK + first, count);
        let allocations = world.source.allocations();
        let released = region.decommit(range).expect("the range is inside");
        assert_eq!((released.frames_released, released.tables_released), (count, 0));
        assert_eq!((allocated - world.source.allocated(), world.source.allocations()), (count, allocations));
        let after = region.residency();
        assert_eq!((after.large_pages, after.table_frames), (0, before.table_frames));
        assert_eq!(after.resident_frames, before.resident_frames - count);
        for page in 0..2 * BLOCK {
            let is_cleared = (BLOCK + first..BLOCK + first + count).contains(&page);
            assert_eq!(is_marked(&world, &region, page), !is_cleared, "page {page}, {count} from {first}");
            assert_eq!(world.cpu.peek(address(&region, page)).is_none(), is_cleared);
        }
        assert!((first..first + count).all(|page| world.read(address(&region, BLOCK + page) + page) == 0));
    }
}

#[test]
fn clearing_all_of_it_takes_one_flush_and_gives_everything_back() {
    let world = world();
    let mut region = marked_region(&world);
    mark(&world, &region, 2 * BLOCK, BLOCK);
    let (tables, flushes) = (region.residency().table_frames, world.cpu.mmu().flushes());
    let range = pages(&region, BLOCK, BLOCK);
    let released = region.decommit(range).expect("the range is inside");
    assert_eq!((released.frames_released, released.tables_released), (BLOCK, 1));
    assert_eq!(world.cpu.mmu().flushes(), (flushes.0 + 1, flushes.1));
    assert_eq!((region.residency().large_pages, region.residency().table_frames), (1, tables - 1));
    assert!((0..BLOCK).all(|page| world.cpu.peek(address(&region, BLOCK + page)).is_none()));
    assert!((0..BLOCK).chain(2 * BLOCK..3 * BLOCK).all(|page| is_marked(&world, &region, page)));
    let all = region.pages();
    let released = region.decommit(all).expect("the range is the region");
    assert_eq!((released.frames_released, released.tables_released), (2 * BLOCK, tables - 1));
    assert_eq!((region.residency().resident_frames, region.residency().table_frames), (0, 0));
}

#[test]
fn a_range_from_one_large_page_into_another_takes_the_ends_of_both() {
    let world = world();
    let mut region = marked_region(&world);
    mark(&world, &region, 2 * BLOCK, 3 * BLOCK);
    assert_eq!(region.residency().large_pages, 4);
    let range = pages(&region, 2 * BLOCK - 3, 2 * BLOCK + 6);
    let released = region.decommit(range).expect("the range is inside");
    assert_eq!((released.frames_released, released.tables_released), (2 * BLOCK + 6, 2));
    assert_eq!(region.residency().large_pages, 0);
    let is_kept = |page| !(2 * BLOCK - 3..4 * BLOCK + 3).contains(&page);
    assert!((0..5 * BLOCK).all(|page| is_marked(&world, &region, page) == is_kept(page)));
}

/// More tables than are flushed one by one are under the level-2 table.
#[test]
fn a_large_page_goes_with_a_level_2_table_that_is_cut_off() {
    let world = world();
    let mut region = marked_region(&world);
    (2..50).for_each(|block| world.write(address(&region, block * BLOCK), 1));
    let (held, flushes) = (region.residency(), world.cpu.mmu().flushes());
    let all = region.pages();
    let released = region.decommit(all).expect("the range is the region");
    assert_eq!(released.frames_released, held.resident_frames);
    assert_eq!(released.tables_released, held.table_frames);
    assert_eq!(world.cpu.mmu().flushes(), (flushes.0, flushes.1 + 1));
    assert_eq!((region.residency().resident_frames, region.residency().large_pages), (0, 0));
}

#[test]
fn zeroing_a_part_in_place_keeps_the_large_page() {
    let world = world();
    let mut region = marked_region(&world);
    let (before, flushes) = (region.residency(), world.cpu.mmu().flushes());
    let range = pages(&region, BLOCK - 2, 5);
    assert_eq!(region.zero_in_place(range), Ok(5));
    assert_eq!((region.residency(), world.cpu.mmu().flushes()), (before, flushes));
    let is_kept = |page| !(BLOCK - 2..BLOCK + 3).contains(&page);
    assert!((0..2 * BLOCK).all(|page| is_marked(&world, &region, page) == is_kept(page)));
    assert_eq!(world.read(address(&region, BLOCK + 2) + BLOCK + 2), 0);
    let range = pages(&region, 2 * BLOCK - 9, 4);
    assert_eq!(region.zero_in_place(range), Ok(4));
    let is_kept = |page| !(2 * BLOCK - 9..2 * BLOCK - 5).contains(&page);
    assert!((BLOCK + 3..2 * BLOCK).all(|page| is_marked(&world, &region, page) == is_kept(page)));
    let range = pages(&region, BLOCK, BLOCK);
    assert_eq!(region.zero_in_place(range), Ok(BLOCK));
    assert!((BLOCK..2 * BLOCK).all(|page| world.cpu.peek(address(&region, page) + page) == Some(0)));
}

#[test]
fn recommitting_a_part_exchanges_its_frames_only() {
    let world = world();
    let mut region = marked_region(&world);
    let frame = |page| world.cpu.frame_behind(address(&region, page)).expect("all pages are there");
    let before: Vec<PhysFrame> = (0..2 * BLOCK).map(frame).collect();
    let range = pages(&region, BLOCK + 5, 40);
    assert_eq!(region.recommit(range).map(|done| done.frames_committed), Ok(40));
    assert_eq!((region.residency().large_pages, region.residency().resident_frames), (0, 2 * BLOCK));
    for (page, before) in (0..).zip(before) {
        let is_exchanged = (BLOCK + 5..BLOCK + 45).contains(&page);
        assert_eq!(world.cpu.frame_behind(address(&region, page)) != Some(before), is_exchanged);
        assert_eq!(is_marked(&world, &region, page), !is_exchanged, "page {page}");
    }
}

#[test]
fn deferring_a_part_keeps_its_frames_until_they_are_reclaimed() {
    let world = world();
    let mut region = marked_region(&world);
    let range = pages(&region, BLOCK, 16);
    assert_eq!(region.defer(range), Ok(16));
    let held = region.residency();
    assert_eq!((held.deferred_frames, held.resident_frames, held.large_pages), (16, 2 * BLOCK - 16, 0));
    assert!((BLOCK + 16..2 * BLOCK).all(|page| is_marked(&world, &region, page)));
    assert_eq!(world.cpu.peek(address(&region, BLOCK + 3)), None);
    assert_eq!(world.read(address(&region, BLOCK + 3) + BLOCK + 3), 0);
    assert_eq!(region.reclaim(100).frames_released, 15);
    let range = pages(&region, BLOCK, BLOCK);
    assert_eq!(region.defer(range), Ok(BLOCK - 15));
    let released = region.reclaim(u64::MAX);
    assert_eq!((released.frames_released, released.tables_released), (BLOCK - 15, 1));
}

#[test]
fn the_limit_can_be_lowered_into_a_large_page_down_to_what_was_written() {
    let world = world();
    let mut region = world.region(GIB);
    mark(&world, &region, 0, BLOCK + 100);
    assert_eq!(region.residency().large_pages, 1);
    let page = region.pages().start + BLOCK + 99;
    assert_eq!(region.set_limit((BLOCK + 99) * PAGE), Err(LimitError::Resident { page }));
    assert_eq!(region.set_limit((BLOCK + 100) * PAGE), Ok(()));
    assert_eq!((region.residency().large_pages, region.residency().deferred_frames), (0, 0));
    assert_eq!(region.residency().resident_frames, BLOCK + 100);
    assert!((0..BLOCK + 100).all(|page| is_marked(&world, &region, page)));
    let mut region = marked_region(&world);
    let page = region.pages().start + BLOCK + 9;
    assert_eq!(region.set_limit((BLOCK + 9) * PAGE), Err(LimitError::Resident { page }), "it is written");
    assert_eq!(region.set_limit(2 * BLOCK * PAGE), Ok(()));
    assert_eq!(region.residency().large_pages, 1);
}

#[test]
fn a_fill_of_zeros_ends_in_a_large_page_as_in_small_ones() {
    let world = world();
    for entry in [Entry::WithRegisters, Entry::Plain] {
        let mut region = marked_region(&world);
        let range = pages(&region, 0, BLOCK);
        region.decommit(range).expect("the range is inside");
        let (start, count) = (region.base(), (BLOCK + 4) * PAGE / 8);
        let store = StringStore { code: &REP_STOSQ, element_bytes: 8, value: 0, start, count };
        let guard = region.zero_fill(range).expect("the range is inside");
        let faults = world.cpu.string_store(world.space(), entry, store);
        drop(guard);
        assert_eq!((faults, region.residency().resident_frames), (Ok(1), BLOCK), "{entry:?}");
        assert!((0..2 * BLOCK).all(|page| is_marked(&world, &region, page) == (page >= BLOCK + 4)));
        assert_eq!(region.residency().large_pages, 1);
    }
}
