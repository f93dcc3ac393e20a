//! Large pages: when 2 MiB are mapped by one entry, and that nobody can tell but by the figures.

#![expect(clippy::arc_with_non_send_sync, reason = "the machine of the tests has one thread")]

mod clearing;
mod shortage;

use std::sync::Arc;

use palimpsest_paging::x86_64::structures::paging::PhysFrame;
use palimpsest_paging::{Account, FaultAround, LargePages, Policies};

use crate::world::{GIB, MIB, PAGE, TestRegion, World, account, address, pages, reserved_account};

/// Without committing ahead otherwise, so that the tests can count.
const LARGE: Policies = Policies { large_pages: LargePages::OnRuns, ..Policies::OFF };

/// The pages of 2 MiB.
const BLOCK: u64 = 512;

fn world() -> World {
    World::new().with_policies(LARGE)
}

/// Writes a byte that tells pages apart into pages of a region, in order.
fn mark(world: &World, region: &TestRegion<'_>, first: u64, count: u64) {
    (first..first + count).for_each(|page| world.write(address(region, page) + page % PAGE, byte_of(page)));
}

fn byte_of(page: u64) -> u8 {
    (page % 251).to_le_bytes()[0] + 1
}

fn is_marked(world: &World, region: &TestRegion<'_>, page: u64) -> bool {
    world.cpu.peek(address(region, page) + page % PAGE) == Some(byte_of(page))
}

/// A region whose second 2 MiB are a large page, with all pages up to its end marked.
fn marked_region(world: &World) -> TestRegion<'_> {
    let region = world.region(GIB);
    mark(world, &region, 0, 2 * BLOCK);
    assert_eq!((region.residency().large_pages, region.residency().faults), (1, BLOCK + 1));
    region
}

#[test]
fn a_run_over_2_mib_maps_the_next_2_mib_by_one_entry() {
    let world = world();
    let account = account();
    let region = world.region_of(GIB, &account);
    mark(&world, &region, 0, BLOCK);
    assert_eq!((region.residency().large_pages, region.residency().resident_frames), (0, BLOCK));
    world.write(address(&region, BLOCK), 7);
    let held = region.residency();
    assert_eq!(
        (held.large_pages, held.resident_frames, held.peak_resident_frames),
        (1, 2 * BLOCK, 2 * BLOCK)
    );
    assert_eq!((held.table_frames, account.held_frames()), (3, 3 + 2 * BLOCK), "as with small pages");
    let first = world.cpu.frame_behind(address(&region, BLOCK)).expect("the page was written");
    assert_eq!(first.pfn() % BLOCK, 0);
    let frames = (0..BLOCK).map(|page| world.cpu.frame_behind(address(&region, BLOCK + page)));
    assert!(frames.eq(PhysFrame::range(first, first + BLOCK).map(Some)));
    let zeros = (1..BLOCK).map(|page| world.cpu.peek(address(&region, BLOCK + page) + page));
    assert!(zeros.eq((1..BLOCK).map(|_| Some(0))));
    mark(&world, &region, BLOCK, 3 * BLOCK);
    assert_eq!((region.residency().large_pages, region.residency().faults), (3, BLOCK + 3));
    assert!((0..4 * BLOCK).all(|page| is_marked(&world, &region, page)));
}

#[test]
fn off_and_short_runs_make_none() {
    let world = world();
    let region = world.region(GIB);
    mark(&world, &region, 1, 2 * BLOCK - 1);
    assert_eq!((region.residency().large_pages, region.residency().resident_frames), (0, 2 * BLOCK - 1));
    mark(&world, &region, 2 * BLOCK, 1);
    assert_eq!(region.residency().large_pages, 1, "the run is long enough there");
    world.space().set_policies(Policies::OFF);
    let region = world.region(GIB);
    mark(&world, &region, 0, 3 * BLOCK);
    assert_eq!((region.residency().large_pages, region.residency().faults), (0, 3 * BLOCK));
}

#[test]
fn scattered_pages_make_none_although_they_lie_where_a_run_would_come_to() {
    let world = world();
    let region = marked_region(&world);
    (2..20).for_each(|block| world.write(address(&region, block * BLOCK), 1));
    let held = region.residency();
    // The first of them continues the run, and nothing shows that the next one does.
    assert_eq!((held.large_pages, held.resident_frames), (2, 3 * BLOCK + 17));
}

#[test]
fn a_run_that_commits_ahead_page_by_page_goes_on_with_large_pages() {
    let fault_around = FaultAround::Adaptive { limit_pages: 64 };
    let world = World::new().with_policies(Policies { fault_around, ..LARGE });
    let region = world.region(GIB);
    mark(&world, &region, 0, 4 * BLOCK);
    assert_eq!((region.residency().large_pages, region.residency().resident_frames), (3, 4 * BLOCK));
    assert!((0..4 * BLOCK).all(|page| is_marked(&world, &region, page)));
}

#[test]
fn a_block_that_is_not_all_usable_is_left_to_small_pages() {
    let world = world();
    let mut region = world.space().reserve(GIB, &account()).expect("the world has room");
    region.set_limit((2 * BLOCK - 1) * PAGE).expect("it is below the capacity");
    mark(&world, &region, 0, 2 * BLOCK - 1);
    assert_eq!((region.residency().large_pages, region.residency().resident_frames), (0, 2 * BLOCK - 1));
    region.set_limit(3 * BLOCK * PAGE).expect("it is below the capacity");
    mark(&world, &region, 2 * BLOCK - 1, BLOCK + 1);
    assert_eq!(region.residency().large_pages, 1);
}

#[test]
fn a_block_with_a_page_of_an_image_is_left_to_small_pages() {
    let world = world();
    let image = world.space().image([((BLOCK + 300) * PAGE, &[7; 5][..])]).expect("there are frames");
    let image = Arc::new(image);
    let mut region = world.region(GIB);
    region.attach(&image).expect("the image fits");
    mark(&world, &region, 0, BLOCK + 300);
    assert_eq!((region.residency().large_pages, world.read(address(&region, BLOCK + 300))), (0, 7));
    mark(&world, &region, BLOCK + 301, 3 * BLOCK - 301);
    assert_eq!(region.residency().large_pages, 1, "another run comes far enough behind the image");
    let mut region = marked_region(&world);
    region.attach(&image).expect("the image fits");
    assert_eq!((region.residency().large_pages, world.read(address(&region, BLOCK + 300))), (0, 7));
    assert!((0..2 * BLOCK).all(|page| is_marked(&world, &region, page) == (page != BLOCK + 300)));
}

#[test]
fn a_reserved_account_gets_large_pages_out_of_its_promise() {
    let world = world();
    let account = reserved_account();
    let mut region = world.region_of(6 * MIB, &account);
    let charged = account.charged_frames();
    assert_eq!((charged, world.source.promised()), (3 * BLOCK + 3, 3 * BLOCK + 3));
    mark(&world, &region, 0, 2 * BLOCK);
    assert_eq!((region.residency().large_pages, account.held_frames()), (1, 2 * BLOCK + 2));
    assert_eq!((account.charged_frames(), world.source.promised()), (charged, BLOCK + 1));
    let range = pages(&region, BLOCK, BLOCK);
    region.decommit(range).expect("the range is inside");
    assert_eq!((account.held_frames(), world.source.promised()), (BLOCK + 1, 2 * BLOCK + 2));
}

#[test]
fn a_refused_access_to_a_large_page_is_not_ours_and_a_missing_one_is_retried() {
    use palimpsest_paging::x86_64::structures::idt::PageFaultErrorCode as Code;
    use palimpsest_paging::{Fault, NotOurs, Outcome};

    let world = world();
    let region = marked_region(&world);
    let address = address(&region, BLOCK + 5);
    let missing = Fault { address, code: Code::CAUSED_BY_WRITE };
    assert_eq!(world.space().handle_fault(missing), Outcome::Handled);
    let refused = Fault { address, code: Code::CAUSED_BY_WRITE | Code::PROTECTION_VIOLATION };
    assert_eq!(world.space().handle_fault(refused), Outcome::NotOurs(NotOurs::Protection));
    assert_eq!(region.residency().large_pages, 1);
}

#[test]
fn the_first_2_mib_under_a_level_2_table_are_left_to_small_pages() {
    const GIB_PAGES: u64 = 512 * BLOCK;
    let world = world();
    let region = world.region(2 * GIB);
    mark(&world, &region, 2 * GIB_PAGES - 1, 1);
    mark(&world, &region, GIB_PAGES - BLOCK, 2 * BLOCK);
    assert_eq!((region.residency().large_pages, region.residency().resident_frames), (0, 2 * BLOCK + 1));
    mark(&world, &region, GIB_PAGES + BLOCK, 1);
    assert_eq!(region.residency().large_pages, 1);
}

#[test]
fn what_goes_into_the_sink_and_comes_out_again_passes_by_a_large_page() {
    let world = world();
    // The pages that are written, two level-1 tables, and one above.
    let (capped, full) = (Arc::new(Account::new(Some(2 * BLOCK + 3))), 2 * BLOCK);
    let mut region = world.region_of(GIB, &capped);
    mark(&world, &region, 0, full);
    world.write(address(&region, full + 7), 0xee);
    assert_eq!((capped.is_lost(), region.residency().large_pages), (true, 1));
    let range = pages(&region, 5, full);
    region.zero_in_place(range).expect("the range is inside");
    assert_eq!(world.cpu.peek(address(&region, full + 7)), None);
    assert_eq!((region.residency().large_pages, region.residency().resident_frames), (1, full));
    assert!((0..full).all(|page| is_marked(&world, &region, page) == (page < 5)));
}
