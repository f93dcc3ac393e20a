//! Committing pages ahead of their first touch: when it begins, how far it goes, and that it never
//! makes an allocation fail.

use std::sync::Arc;

use palimpsest_paging::{Account, FaultAround, Policies};

use crate::world::{GIB, KIB, MIB, PAGE, TestRegion, World, account, address, pages, reserved_account};

const AHEAD: Policies = Policies { fault_around: FaultAround::Adaptive { limit_pages: 64 }, ..Policies::OFF };

fn world() -> World {
    World::new().with_policies(AHEAD)
}

/// The frames that are mapped in the region, written or not.
fn mapped(region: &TestRegion<'_>) -> u64 {
    region.residency().resident_frames + region.residency().ahead_frames
}

/// Writes the first `count` pages in order, and returns how many pages were mapped after each.
fn mapped_while_writing(world: &World, region: &TestRegion<'_>, count: u64) -> Vec<u64> {
    let write = |page| {
        world.write(address(region, page), 1);
        mapped(region)
    };
    (0..count).map(write).collect()
}

#[test]
fn the_third_page_in_a_row_brings_the_rest_of_its_64_kib_and_the_next_ones_more() {
    let world = world();
    let region = world.region(GIB);
    let mapped = mapped_while_writing(&world, &region, 17);
    assert_eq!(mapped[..4], [1, 2, 16, 16]);
    assert_eq!(mapped[15..], [16, 16 + 32]);
    assert_eq!(region.residency().faults, 4);
    for page in 17..48 {
        assert_eq!(world.cpu.peek(address(&region, page)), Some(0), "page {page} is there, and zero");
    }
    assert_eq!(world.cpu.peek(address(&region, 48)), None);
}

#[test]
fn pages_committed_ahead_are_counted_apart_until_they_are_written() {
    let world = world();
    let region = world.region(GIB);
    let counts = || (region.residency().resident_frames, region.residency().ahead_frames);
    world.write_pages(&region, 3, 7);
    assert_eq!(counts(), (3, 13));
    assert_eq!(world.read(address(&region, 10)), 0);
    assert_eq!(counts(), (3, 13), "a read leaves the page as it is");
    world.write(address(&region, 10), 7);
    assert_eq!(counts(), (4, 12), "the write went through the translation that the read has cached");
    world.write(address(&region, 15), 0);
    assert_eq!(counts(), (5, 11), "zeros are as good as other bytes");
    assert_eq!(region.residency().faults, 3);
    let usage = world.space().usage();
    assert_eq!((usage.resident_frames, usage.ahead_frames), counts());
}

#[test]
fn what_is_left_of_a_long_run_that_was_cleared_is_not_resident() {
    const RUN_PAGES: u64 = 25 * MIB / 2 / PAGE;
    let world = world();
    let mut region = world.region(GIB);
    (0..17).for_each(|number| world.write(address(&region, 100_000 + number * 64), 1));
    (0..RUN_PAGES + 1).for_each(|page| world.write(address(&region, page), 1));
    let (run, held) = (pages(&region, 0, RUN_PAGES + 1), region.residency());
    assert_eq!(held.resident_frames, 17 + RUN_PAGES + 1);
    assert!((1..64).contains(&held.ahead_frames), "{held:?}");
    assert!(region.decommit(run).is_ok_and(|released| released.frames_released == RUN_PAGES + 1));
    assert_eq!(
        (region.residency().resident_frames, region.residency().ahead_frames),
        (17, held.ahead_frames)
    );
}

#[test]
fn no_more_than_64_pages_are_ahead_of_a_run_by_default() {
    let world = World::new().with_policies(Policies::default());
    let region = world.region(GIB);
    for page in 0..2000 {
        world.write(address(&region, page), 1);
        assert!(region.residency().ahead_frames < 64, "after {page} pages");
    }
}

#[test]
fn a_page_that_was_written_with_zeros_keeps_its_frame_in_a_shortage() {
    let world = world();
    let region = world.region(GIB);
    world.write_pages(&region, 3, 7);
    world.write(address(&region, 10), 0);
    world.source.hoard(0);
    world.write(address(&region, 100), 1);
    assert_eq!((region.residency().resident_frames, region.residency().ahead_frames), (3 + 1 + 1, 0));
}

#[test]
fn scattered_pages_cost_a_frame_each() {
    let world = world();
    let region = world.region(GIB);
    for page in 0..1000 {
        world.write(address(&region, page * 64), 1);
    }
    let residency = region.residency();
    assert_eq!((residency.resident_frames, residency.peak_resident_frames), (1000, 1000));
}

#[test]
fn reads_commit_nothing_and_a_page_in_the_way_ends_the_window() {
    let world = world();
    let region = world.region(GIB);
    (0..40).for_each(|page| assert_eq!(world.read(address(&region, page)), 0));
    assert_eq!(region.residency().resident_frames, 0);
    let other = world.region(GIB);
    world.write(address(&other, 9), 7);
    world.write_pages(&other, 3, 1);
    assert_eq!(mapped(&other), 1 + 9, "pages 0 to 9");
    assert_eq!(world.read(address(&other, 9)), 7);
}

#[test]
fn nothing_is_committed_past_the_limit() {
    let world = world();
    let mut region = world.space().reserve(GIB, &account()).expect("the world has room");
    region.set_limit(5 * PAGE + 1).expect("it is below the capacity");
    world.write_pages(&region, 4, 1);
    assert_eq!(mapped(&region), 6);
    region.set_limit(4 * PAGE).expect("pages that were never written are no obstacle");
    assert_eq!(mapped(&region), 4);
}

#[test]
fn a_window_ends_with_its_table() {
    let world = world();
    let region = world.region(GIB);
    for page in 500..503 {
        world.write(address(&region, page), 1);
    }
    assert_eq!(mapped(&region), 12, "pages 500 to 511");
    assert_eq!(region.residency().table_frames, 2);
    world.write(address(&region, 512), 1);
    assert_eq!(region.residency().table_frames, 3);
}

#[test]
fn at_the_cap_a_write_gets_every_frame_that_was_committed_ahead() {
    // One frame for each page that is written, and two tables: not one more than without the
    // policy.
    let writes: Vec<u64> = (0..3).chain((0..60).map(|page| 100 + page * 5)).collect();
    let cap = writes.len() as u64 + 2;
    let world = world();
    let account = Arc::new(Account::new(Some(cap)));
    let region = world.region_of(GIB, &account);
    for page in &writes {
        world.write(address(&region, *page), page.to_le_bytes()[0] | 1);
    }
    assert_eq!((account.is_lost(), account.held_frames()), (false, cap));
    for page in &writes {
        assert_eq!(world.read(address(&region, *page)), page.to_le_bytes()[0] | 1, "page {page}");
    }
    world.write(address(&region, 1000), 1);
    assert!(account.is_lost(), "the cap is the cap");
}

#[test]
fn an_empty_source_gets_back_what_was_committed_ahead_in_any_region() {
    let world = world();
    let (first, second) = (world.region(GIB), world.region(GIB));
    world.write_pages(&first, 3, 7);
    assert_eq!(mapped(&first), 16);
    world.write(second.base(), 1);
    world.source.hoard(0);
    for page in 1..=13 {
        world.write(address(&second, page * 20), 1);
    }
    assert_eq!((mapped(&first), mapped(&second)), (3, 14));
    assert!((0..3).all(|page| world.read(address(&first, page)) == 7));
    assert_eq!(world.read(address(&first, 8)), 0);
}

#[test]
fn a_page_that_was_committed_ahead_and_written_keeps_its_bytes_in_a_shortage() {
    let world = world();
    let region = world.region(GIB);
    world.write_pages(&region, 3, 7);
    world.write(address(&region, 10) + 4095, 9);
    world.source.hoard(0);
    world.write(address(&region, 100), 1);
    assert_eq!(mapped(&region) + region.residency().deferred_frames, 3 + 1 + 1);
    assert_eq!((world.read(address(&region, 10) + 4095), world.read(address(&region, 11))), (9, 0));
}

/// The CPU has cached that the page is writable.
#[test]
fn a_demoted_page_is_not_translated_any_more() {
    let world = world();
    let region = world.region(GIB);
    world.write_pages(&region, 3, 7);
    assert_eq!(world.cpu.peek(address(&region, 8)), Some(0));
    world.source.hoard(0);
    world.write(address(&region, 100), 1);
    assert_eq!(world.cpu.peek(address(&region, 8)), None);
}

#[test]
fn a_shortage_ends_committing_ahead_until_the_region_has_released_a_frame() {
    let world = world();
    let account = Arc::new(Account::new(Some(2 + 20)));
    let mut region = world.region_of(GIB, &account);
    (0..20).for_each(|page| world.write(address(&region, 1000 + page * 3), 1));
    let range = pages(&region, 1000, 1);
    region.decommit(range).expect("the range is inside");
    (0..2).for_each(|page| world.write(address(&region, page), 1));
    assert!(account.is_lost(), "there was one frame for two pages");
    let all = region.pages();
    region.decommit(all).expect("the range is the region");
    assert_eq!(mapped_while_writing(&world, &region, 3), [1, 2, 16]);
}

#[test]
fn a_reserved_account_commits_ahead_out_of_its_reservation() {
    let world = world();
    let account = reserved_account();
    let region = world.region_of(64 * KIB, &account);
    world.write_pages(&region, 16, 1);
    assert_eq!((region.residency().faults, account.held_frames()), (3, 16));
    assert_eq!((account.charged_frames(), world.source.reserved()), (16, 0));
}

#[test]
fn every_way_to_clear_leaves_zeros_in_pages_committed_ahead() {
    let world = world();
    for _ in 0..3 {
        let mut region = world.region(4 * MIB);
        world.write_pages(&region, 3, 7);
        let all = region.pages();
        assert_eq!(region.zero_in_place(all), Ok(3), "the others hold zeros");
        assert_eq!(region.recommit(all).map(|done| done.frames_committed), Ok(3), "so do they still");
        assert_eq!(region.defer(all), Ok(16));
        assert_eq!(region.reclaim(10).frames_released, 10);
        assert_eq!(region.decommit(all).map(|done| done.frames_released), Ok(6));
    }
}

#[test]
fn a_fifth_table_with_pages_ahead_gives_up_those_of_the_first() {
    let world = world();
    let region = world.region(GIB);
    for table in 0..4 {
        (0..3).for_each(|page| world.write(address(&region, table * 512 + page), 7));
    }
    world.write(address(&region, 10), 9);
    let frames = || (region.residency().resident_frames, region.residency().ahead_frames);
    assert_eq!(frames(), (4 * 3 + 1, 4 * 13 - 1));
    (0..3).for_each(|page| world.write(address(&region, 4 * 512 + page), 7));
    assert_eq!(frames(), (5 * 3 + 1, 4 * 13));
    assert_eq!(region.residency().deferred_frames, 12, "the others of the first table");
    assert_eq!(world.cpu.peek(address(&region, 11)), None, "the CPU has no translation any more");
    assert_eq!((world.read(address(&region, 10)), world.read(address(&region, 11))), (9, 0));
}

#[test]
fn runs_in_many_tables_leave_a_frame_for_every_page_that_is_written() {
    let world = world();
    let writes: Vec<u64> = (0..20).flat_map(|table| (0..3).map(move |page| table * 512 + page)).collect();
    let account = Arc::new(Account::new(Some(writes.len() as u64 + 1 + 20 + 4)));
    let region = world.region_of(GIB, &account);
    for page in &writes {
        world.write(address(&region, *page), page.to_le_bytes()[0] | 1);
    }
    (0..4).for_each(|page| world.write(address(&region, page * 512 + 300), 1));
    assert!(!account.is_lost());
    for page in &writes {
        assert_eq!(world.read(address(&region, *page)), page.to_le_bytes()[0] | 1, "page {page}");
    }
}
