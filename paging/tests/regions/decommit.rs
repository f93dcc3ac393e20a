//! What a decommit releases, and what it leaves.

use std::time::{Duration, Instant};

use palimpsest_paging::x86_64::structures::paging::Page;
use palimpsest_paging::{Decommitted, RangeError};

use crate::world::{GIB, MIB, PAGE, TIB, World, account, address, pages};

#[test]
fn decommit_returns_frames_and_tables() {
    let world = World::new();
    let mut region = world.region(4 * GIB);
    let (new, allocated) = (region.residency(), world.source.allocated());
    for page in 0..1000 {
        world.write(address(&region, page * 1048), 1);
    }
    let full = region.residency();
    assert_eq!(full.resident_frames, 1000);

    let all = region.pages();
    let released = region.decommit(all).expect("the range is the region");
    let expected =
        Decommitted { frames_released: 1000, tables_released: full.table_frames, tables_waiting: 0 };
    assert_eq!(released, expected);
    assert_eq!(world.source.allocated(), allocated, "every frame is back when the call returns");
    let after = region.residency();
    assert_eq!((after.resident_frames, after.table_frames), (new.resident_frames, new.table_frames));
    assert_eq!((after.frames_released, after.peak_resident_frames), (1000, 1000));
}

#[test]
fn decommitted_pages_read_zero_and_can_be_written_again() {
    let world = World::new();
    let mut region = world.region(4 * MIB);
    let place = address(&region, 700) + 5;
    world.write(place, 42);
    let all = region.pages();
    region.decommit(all).expect("the range is the region");
    assert_eq!(world.read(place), 0);
    world.write(place, 43);
    assert_eq!((world.read(place), world.read(place + 1)), (43, 0));
}

#[test]
fn decommit_takes_the_pages_of_its_range_only() {
    let world = World::new();
    let mut region = world.region(8 * MIB);
    (500..530).for_each(|page| world.write(address(&region, page), 1));
    let range = pages(&region, 505, 15);
    let released = region.decommit(range).expect("the range is inside");
    assert_eq!(released, Decommitted { frames_released: 15, tables_released: 0, tables_waiting: 0 });
    for page in 500..530 {
        assert_eq!(world.read(address(&region, page)), u8::from(!(505..520).contains(&page)), "page {page}");
    }
}

#[test]
fn pages_that_show_the_zero_frame_are_unmapped_and_release_tables_but_no_frame() {
    let world = World::new();
    let mut region = world.region(4 * GIB);
    (0..10).for_each(|page| assert_eq!(world.read(address(&region, page * 512)), 0));
    let tables = region.residency().table_frames;
    let all = region.pages();
    let released = region.decommit(all).expect("the range is the region");
    assert_eq!(released, Decommitted { frames_released: 0, tables_released: tables, tables_waiting: 0 });
    assert_eq!(region.residency().table_frames, 0);
}

/// A walk over the pages of 1 TiB takes 2^28 steps, which no machine does in 20 ms; over the
/// entries that cover it, it takes 1024.
#[test]
fn absent_1_tib_decommit_walks_tables_not_pages() {
    let world = World::new();
    let mut region = world.region(TIB);
    let all = region.pages();
    let decommit = || {
        let start = Instant::now();
        assert_eq!(region.decommit(all), Ok(Decommitted::default()));
        start.elapsed()
    };
    let fastest = std::iter::repeat_with(decommit).take(5).min().expect("five were taken");
    assert!(fastest < Duration::from_millis(20), "{fastest:?}");
}

#[test]
fn a_decommit_allocates_nothing() {
    let world = World::new();
    let mut region = world.region(4 * GIB);
    (0..600).for_each(|page| world.write(address(&region, page), 1));
    world.source.allow(Some(0));
    let range = pages(&region, 100, 450);
    assert_eq!(region.decommit(range).map(|released| released.frames_released), Ok(450));
    world.source.allow(None);
}

#[test]
fn an_empty_range_is_fine_and_a_bad_one_changes_nothing() {
    let world = World::new();
    let mut region = world.region(MIB);
    world.write(address(&region, 0), 1);
    let (first, end) = (region.pages().start, region.pages().end);
    assert_eq!(region.decommit(Page::range(end, end)), Ok(Decommitted::default()));
    let bad = [Page::range(first - 1, end), Page::range(first, end + 1), Page::range(first + 2, first + 1)];
    let errors = bad.map(|range| region.decommit(range).expect_err("the range is bad"));
    assert!(matches!(errors[0], RangeError::Outside { start, .. } if start == first - 1));
    assert!(matches!(errors[1], RangeError::Outside { end: bad_end, .. } if bad_end == end + 1));
    assert_eq!(errors[2], RangeError::Backwards { start: first + 2, end: first + 1 });
    assert_eq!(world.read(address(&region, 0)), 1);
}

/// The first page after the window has no tables.
#[test]
fn an_empty_range_at_the_end_of_the_window_is_fine() {
    let world = World::with(512 * GIB, 16_384);
    let mut region = world.region(512 * GIB);
    let end = region.pages().end;
    assert_eq!(region.decommit(Page::range(end, end)), Ok(Decommitted::default()));
}

#[test]
fn ten_thousand_rounds_lose_no_frame() {
    let world = World::new();
    let account = account();
    let start = (world.source.allocated(), world.space().usage());
    for round in 0..10_000_u64 {
        let sizes = [PAGE, 64 << 10, 3 * MIB, 700 * MIB, 4 * GIB];
        let bytes = sizes[usize::try_from(round % 5).expect("below 5")];
        let mut region = world.region_of(bytes, &account);
        let last = bytes / PAGE - 1;
        [0, last / 3, last].into_iter().for_each(|page| world.write(address(&region, page), 1));
        let half = pages(&region, 0, last / 2);
        region.decommit(half).expect("the range is inside");
        drop(region);
        assert_eq!((world.source.allocated(), world.space().usage()), start, "round {round}");
        assert_eq!(account.held_frames(), 0);
    }
}

#[test]
fn a_clear_of_many_frames_releases_the_lock_between_batches() {
    const PAGES: u64 = 9000;
    let world = World::new();
    let mut region = world.region(512 * GIB);
    let far = address(&region, 100 * GIB / PAGE);
    let intervals = |clear: &mut dyn FnMut()| {
        let before = world.cpu.mmu().intervals();
        clear();
        world.cpu.mmu().intervals() - before
    };
    let all = region.pages();
    assert_eq!(intervals(&mut || assert!(region.decommit(all).is_ok())), 1, "nothing is there");
    world.write_pages(&region, PAGES, 7);
    world.write(far, 7);
    let zeroing = intervals(&mut || assert_eq!(region.zero_in_place(all), Ok(PAGES + 1)));
    assert!((10..25).contains(&zeroing), "{zeroing} intervals");
    let clearing = intervals(&mut || {
        assert_eq!(region.decommit(all).map(|done| done.frames_released), Ok(PAGES + 1));
    });
    assert!((2..4).contains(&clearing), "{clearing} intervals");
    world.write_pages(&region, PAGES, 7);
    let deferring = intervals(&mut || assert_eq!(region.defer(all), Ok(PAGES)));
    assert!((3..5).contains(&deferring), "{deferring} intervals");
    let before = world.cpu.mmu().intervals();
    drop(region);
    let dropping = world.cpu.mmu().intervals() - before;
    assert!((3..5).contains(&dropping), "{dropping} intervals");
}
