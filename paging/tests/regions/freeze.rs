//! Freezes: what a region contains becomes an image in place, and images share what has not
//! changed.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use palimpsest_paging::x86_64::structures::paging::page::PageRange;
use palimpsest_paging::{
    AttachError, FaultAround, FrameReserveError, FrameSource, FreezeError, Image, Policies,
};

use crate::world::{
    GIB, KIB, MIB, Machine, PAGE, TestRegion, World, account, address, pages, reserved_account,
};

type TestImage<'a> = Arc<Image<'a, Machine>>;

fn freeze<'w>(region: &mut TestRegion<'w>) -> TestImage<'w> {
    region.freeze().expect("the host has heap").image
}

/// A new region that starts with an image.
fn fork<'w>(world: &'w World, image: &TestImage<'w>) -> TestRegion<'w> {
    let mut region = world.region(GIB);
    region.attach(image).expect("the image fits");
    region
}

fn bytes<const N: usize>(world: &World, region: &TestRegion<'_>, pages: [u64; N]) -> [u8; N] {
    pages.map(|page| world.read(address(region, page)))
}

/// The first byte of each page that differs, after its number.
fn changes(image: &TestImage<'_>, base: Option<&TestImage<'_>>) -> Vec<(u64, u8)> {
    let mut changes = Vec::new();
    let visited = image.each_change(base.map(|base| &**base), |page, bytes| {
        changes.push((page, bytes[0]));
        ControlFlow::Continue(())
    });
    assert_eq!(visited, ControlFlow::Continue(()));
    changes
}

#[test]
fn a_freeze_moves_the_frames_and_the_region_reads_as_before() {
    let world = World::new();
    let account = account();
    let mut region = world.region_of(GIB, &account);
    let before = world.source.allocated();
    let written = [0, 1, 63, 64, 511, 512, 100_000];
    written.into_iter().zip(1..).for_each(|(page, byte)| world.write(address(&region, page), byte));
    assert_eq!(region.freezable_frames(), 7);
    let image = freeze(&mut region);
    assert_eq!((image.frames(), image.end_bytes()), (7, 100_001 * PAGE));
    assert_eq!((account.held_frames(), region.freezable_frames()), (0, 0));
    assert_eq!(world.source.allocated(), before + 7, "no frame was taken, and all tables are released");
    assert_eq!(world.space().usage().image_frames, 7);
    assert_eq!(bytes(&world, &region, written), [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(bytes(&world, &region, [2, 65, 513]), [0; 3]);
    world.write(address(&region, 63), 9);
    assert_eq!((bytes(&world, &region, [63]), region.freezable_frames()), ([9], 1));
}

#[test]
fn forks_and_the_source_write_to_copies_of_their_own() {
    let world = World::new();
    let mut source = world.region(GIB);
    world.write_pages(&source, 4, 7);
    let image = freeze(&mut source);
    let [first, second] = [fork(&world, &image), fork(&world, &image)];
    world.write(address(&source, 0), 1);
    world.write(address(&first, 1), 2);
    world.write(address(&second, 4), 3);
    let all = [0, 1, 2, 3, 4];
    assert_eq!(bytes(&world, &source, all), [1, 7, 7, 7, 0]);
    assert_eq!(bytes(&world, &first, all), [7, 2, 7, 7, 0]);
    assert_eq!(bytes(&world, &second, all), [7, 7, 7, 7, 3]);
}

#[test]
fn a_second_image_shares_what_has_not_changed() {
    let world = World::new();
    let mut region = world.region(GIB);
    world.write_pages(&region, 200, 7);
    let first = freeze(&mut region);
    [3, 70, 300].into_iter().for_each(|page| world.write(address(&region, page), 8));
    let second = freeze(&mut region);
    assert_eq!((first.frames(), second.frames()), (200, 201));
    assert_eq!(world.space().usage().image_frames, 203);
    assert_eq!(changes(&second, Some(&first)), [(3, 8), (70, 8), (300, 8)]);
    assert_eq!(changes(&first, Some(&second)), [(3, 7), (70, 7), (300, 0)]);
    let [old, new] = [fork(&world, &first), fork(&world, &second)];
    assert_eq!(bytes(&world, &old, [2, 3, 70, 300]), [7, 7, 7, 0]);
    assert_eq!(bytes(&world, &new, [2, 3, 70, 300]), [7, 8, 8, 8]);
}

#[test]
fn an_image_that_is_dropped_keeps_no_frame_that_was_replaced() {
    let world = World::new();
    let mut region = world.region(GIB);
    world.write_pages(&region, 200, 7);
    let mut image = freeze(&mut region);
    let frames = world.source.allocated();
    for round in 0..200_u8 {
        // One page is written in each round, and others in turn.
        world.write(address(&region, 150), round);
        world.write(address(&region, u64::from(round) % 100), round);
        image = freeze(&mut region);
        assert_eq!(world.space().usage().image_frames, 200, "round {round}");
    }
    assert_eq!((image.frames(), world.source.allocated()), (200, frames));
}

/// What keeps frames of images alive.
enum Owner<'w> {
    Image(TestImage<'w>),
    Region(TestRegion<'w>),
}

#[test]
fn images_and_regions_may_end_in_any_order() {
    for order in 0..120 {
        let world = World::new();
        let before = world.source.allocated();
        let mut source = world.region(GIB);
        world.write_pages(&source, 70, 7);
        let first = freeze(&mut source);
        let mut fork = fork(&world, &first);
        world.write(address(&fork, 1), 8);
        world.write(address(&source, 2), 9);
        let images = [freeze(&mut fork), freeze(&mut source), first].map(Owner::Image);
        let mut owners = Vec::from(images);
        owners.extend([source, fork].map(Owner::Region));
        let mut rest = order;
        while !owners.is_empty() {
            let index = rest % owners.len();
            rest /= owners.len();
            drop(owners.remove(index));
            for owner in &owners {
                match owner {
                    Owner::Image(image) => assert_eq!(changes(image, None).len(), 70),
                    Owner::Region(region) => assert_eq!(world.read(address(region, 5)), 7),
                }
            }
        }
        assert_eq!((world.source.allocated(), world.space().usage().image_frames), (before, 0), "{order}");
    }
}

#[test]
fn cleared_pages_are_not_those_of_the_next_image() {
    let world = World::new();
    let mut region = world.region(GIB);
    world.write_pages(&region, 130, 7);
    let first = freeze(&mut region);
    let cleared = pages(&region, 10, 110);
    region.decommit(cleared).expect("the pages are inside");
    world.write(address(&region, 20), 8);
    let second = freeze(&mut region);
    assert_eq!((second.frames(), world.space().usage().image_frames), (21, 131));
    let fork = fork(&world, &second);
    for region in [&region, &fork] {
        assert_eq!(bytes(&world, region, [9, 10, 19, 20, 21, 119, 120]), [7, 0, 0, 8, 0, 0, 7]);
    }
    assert_eq!(changes(&first, Some(&second)).len(), 110);
}

#[test]
fn a_region_that_has_not_changed_has_the_same_image() {
    let world = World::new();
    let mut region = world.region(GIB);
    world.write_pages(&region, 3, 7);
    let first = freeze(&mut region);
    assert_eq!(world.read(address(&region, 2)), 7);
    let second = freeze(&mut region);
    assert!(Arc::ptr_eq(&first, &second));
    let mut fork = fork(&world, &first);
    assert!(Arc::ptr_eq(&first, &freeze(&mut fork)));
}

#[test]
fn an_empty_region_has_an_empty_image() {
    let world = World::new();
    let mut region = world.region(64 * KIB);
    let image = freeze(&mut region);
    assert_eq!((image.frames(), image.end_bytes(), changes(&image, None)), (0, 0, vec![]));
    assert_eq!(region.attach(&image), Err(AttachError::Attached));
    world.write(address(&region, 3), 1);
    assert_eq!(changes(&freeze(&mut region), None), [(3, 1)]);
}

#[test]
fn frames_that_are_deferred_or_ahead_are_released() {
    let fault_around = FaultAround::Adaptive { limit_pages: 64 };
    let world = World::new().with_policies(Policies { fault_around, ..Policies::OFF });
    let mut region = world.region(GIB);
    world.write_pages(&region, 5, 7);
    let deferred = pages(&region, 1, 1);
    region.defer(deferred).expect("the page is inside");
    let held = region.residency();
    assert!(held.ahead_frames > 0 && held.deferred_frames == 1);
    let image = freeze(&mut region);
    let held = region.residency();
    assert_eq!((held.ahead_frames, held.deferred_frames, held.resident_frames), (0, 0, 0));
    assert_eq!(changes(&image, None), [(0, 7), (2, 7), (3, 7), (4, 7)]);
    assert_eq!(bytes(&world, &region, [0, 1, 5]), [7, 0, 0]);
}

#[test]
fn small_regions_that_share_a_table_are_frozen_one_by_one() {
    let world = World::new();
    let account = account();
    let mut regions: Vec<_> = (0..4).map(|_| world.region_of(64 * KIB, &account)).collect();
    for (number, region) in (1..).zip(&regions) {
        world.write_pages(region, 16, number);
    }
    let image = freeze(&mut regions[2]);
    assert_eq!((image.frames(), account.held_frames()), (16, 48));
    for (number, region) in (1..).zip(&regions) {
        assert_eq!(bytes(&world, region, [0, 7, 15]), [number; 3]);
    }
}

#[test]
fn a_region_with_more_frames_than_a_batch_is_frozen_whole() {
    let world = World::with(64 * GIB, 24_000);
    let mut region = world.region(GIB);
    world.write_pages(&region, 10_000, 7);
    world.write(address(&region, 200_000), 8);
    let image = freeze(&mut region);
    assert_eq!((image.frames(), region.residency().table_frames), (10_001, 0));
    assert_eq!(changes(&image, None).len(), 10_001);
    world.write(address(&region, 9_999), 9);
    let second = freeze(&mut region);
    assert_eq!(changes(&second, Some(&image)), [(9_999, 9)]);
}

#[test]
fn a_reserved_account_keeps_its_reservation() {
    let world = World::new();
    let account = reserved_account();
    let mut region = world.region_of(MIB, &account);
    let charged = account.charged_frames();
    world.write_pages(&region, 100, 7);
    let image = freeze(&mut region);
    assert_eq!((account.charged_frames(), account.held_frames()), (charged, 0));
    assert_eq!(world.source.reserved(), charged, "every page can be written once more");
    world.source.hoard(0);
    world.write_pages(&region, 256, 8);
    assert!(!account.is_lost());
    drop(image);
    drop(region);
    assert_eq!((account.charged_frames(), world.source.reserved()), (0, 0));
}

#[test]
fn a_reserved_region_stays_as_it_is_without_frames_to_be_reserved() {
    let world = World::new();
    let account = reserved_account();
    let mut region = world.region_of(MIB, &account);
    world.write_pages(&region, 100, 7);
    let first = freeze(&mut region);
    world.write_pages(&region, 50, 8);
    world.source.hoard(49);
    let refused =
        FreezeError::Unreserved(FrameReserveError::TooFew { requested_frames: 50, available_frames: 49 });
    assert_eq!(region.freeze().err(), Some(refused));
    assert_eq!(bytes(&world, &region, [49, 50, 99, 100]), [8, 7, 7, 0]);
    assert_eq!((account.held_frames(), first.frames()), (50, 100));
    world.source.unhoard(1);
    assert_eq!(freeze(&mut region).frames(), 100);
    assert!(world.source.reserve(0).is_ok());
}

fn written(region: &TestRegion<'_>) -> Vec<(u64, u64)> {
    runs(region, |region, visit| region.each_written(visit))
}

#[test]
fn written_and_cleared_pages_are_visited_in_runs() {
    let fault_around = FaultAround::Adaptive { limit_pages: 64 };
    let world = World::new().with_policies(Policies { fault_around, ..Policies::OFF });
    let mut region = world.region(GIB);
    assert_eq!(written(&region), []);
    world.write_pages(&region, 5, 7);
    [510, 511, 512, 513, 2000, 200_000].into_iter().for_each(|page| world.write(address(&region, page), 7));
    assert!(region.residency().ahead_frames > 0, "pages ahead are not among them");
    assert_eq!(written(&region), [(0, 5), (510, 4), (2000, 1), (200_000, 1)]);
    let cleared = pages(&region, 511, 1);
    region.decommit(cleared).expect("the page is inside");
    assert_eq!(written(&region), [(0, 5), (510, 1), (512, 2), (2000, 1), (200_000, 1)]);
    freeze(&mut region);
    assert_eq!((bytes(&world, &region, [2, 510]), written(&region)), ([7, 7], vec![]));
    let cleared = pages(&region, 3, 1000);
    region.decommit(cleared).expect("the pages are inside");
    world.write(address(&region, 512), 1);
    world.write(address(&region, 2000), 1);
    assert_eq!(written(&region), [(3, 2), (510, 1), (512, 2), (2000, 1)]);
    region.set_limit(2001 * PAGE).expect("no page beyond is resident");
    freeze(&mut region);
    region.set_limit(505 * PAGE).expect("no page is resident");
    assert_eq!(written(&region), [], "what the image had beyond the limit is not the region's any more");
    let cleared = pages(&region, 500, 12);
    region.decommit(cleared).expect("the pages are inside");
    assert_eq!(written(&region), []);
    let cleared = pages(&region, 0, 512);
    region.decommit(cleared).expect("the pages are inside");
    assert_eq!(written(&region), [(0, 3)]);
    let mut small = world.region(64 * KIB);
    world.write_pages(&small, 2, 7);
    assert_eq!(written(&small), [(0, 2)]);
    freeze(&mut small);
    assert_eq!(written(&small), []);
}

fn runs<'w>(
    region: &TestRegion<'w>,
    each: fn(&TestRegion<'w>, &mut dyn FnMut(PageRange)),
) -> Vec<(u64, u64)> {
    let mut runs = Vec::new();
    each(region, &mut |pages| runs.push((pages.start - region.pages().start, pages.len())));
    runs
}

fn dirty(region: &TestRegion<'_>) -> Vec<(u64, u64)> {
    runs(region, |region, visit| region.each_written_since_mark(visit))
}

fn accessed(region: &TestRegion<'_>) -> Vec<(u64, u64)> {
    runs(region, |region, visit| region.each_accessed_since_mark(visit))
}

#[test]
fn pages_that_are_used_after_a_mark_are_visited() {
    let fault_around = FaultAround::Adaptive { limit_pages: 64 };
    let world = World::new().with_policies(Policies { fault_around, ..Policies::OFF });
    let mut region = world.region(GIB);
    world.write_pages(&region, 600, 7);
    assert_eq!((dirty(&region), accessed(&region)), (vec![(0, 600)], vec![(0, 600)]));
    let ahead = region.residency().ahead_frames;
    assert!(ahead > 4);
    region.mark();
    assert_eq!((dirty(&region), accessed(&region)), (vec![], vec![]));
    assert_eq!(region.residency().ahead_frames, ahead);
    [3, 4, 599, 600].into_iter().for_each(|page| world.write(address(&region, page), 8));
    assert_eq!(bytes(&world, &region, [5, 512, 1000]), [7, 7, 0]);
    assert_eq!(dirty(&region), [(3, 2), (599, 2)]);
    assert_eq!(accessed(&region), [(3, 3), (512, 1), (599, 2), (1000, 1)]);
    assert_eq!(region.residency().ahead_frames, ahead - 1);
    region.mark();
    assert_eq!((dirty(&region), accessed(&region)), (vec![], vec![]));
    assert_eq!(written(&region), [(0, 601)], "a mark changes no page");
    assert_eq!(bytes(&world, &region, [3, 599, 600]), [8; 3]);
    world.write(address(&region, 600), 9);
    assert_eq!(dirty(&region), [(600, 1)]);
    // Frames ahead are given up, and no page that was written before the mark.
    region.set_limit(601 * PAGE).expect("all pages above were committed ahead");
    assert_eq!(bytes(&world, &region, [0, 511, 600]), [7, 7, 9]);
}

#[test]
fn a_marked_region_is_cleared_frozen_and_written_like_another() {
    let world = World::new();
    let mut region = world.region(GIB);
    world.write_pages(&region, 100, 7);
    let image = freeze(&mut region);
    assert_eq!(bytes(&world, &region, [1, 2, 3]), [7; 3]);
    world.write(address(&region, 1), 8);
    region.mark();
    assert_eq!(bytes(&world, &region, [2]), [7]);
    assert_eq!((dirty(&region), accessed(&region)), (vec![], vec![(2, 1)]));
    world.write(address(&region, 3), 9);
    let deferred = pages(&region, 1, 1);
    region.defer(deferred).expect("the page is inside");
    assert_eq!((dirty(&region), bytes(&world, &region, [1, 2, 3])), (vec![(1, 1), (3, 1)], [0, 7, 9]));
    assert_eq!(changes(&freeze(&mut region), Some(&image)), [(1, 0), (3, 9)]);
    assert_eq!((dirty(&region), accessed(&region)), (vec![], vec![]));
}

#[test]
fn pages_that_are_cleared_after_a_mark_are_visited_once() {
    type Clear = fn(&mut TestRegion<'_>, PageRange);
    let strategies: [Clear; 4] = [
        |region, pages| assert!(region.decommit(pages).is_ok()),
        |region, pages| assert!(region.recommit(pages).is_ok()),
        |region, pages| assert!(region.zero_in_place(pages).is_ok()),
        |region, pages| assert!(region.defer(pages).is_ok()),
    ];
    for clear in strategies {
        let world = World::new();
        let mut region = world.region(GIB);
        world.write_pages(&region, 20, 7);
        let cleared = pages(&region, 0, 1);
        clear(&mut region, cleared);
        region.mark();
        assert_eq!(dirty(&region), [], "what was cleared before the mark has not changed since");
        [4, 5, 9, 14].into_iter().for_each(|page| world.write(address(&region, page), 8));
        let cleared = pages(&region, 5, 4);
        clear(&mut region, cleared);
        region.zero_part(region.pages().start + 12, 0..1).expect("the page is inside");
        assert_eq!(dirty(&region), [(4, 6), (12, 1), (14, 1)]);
        world.space().reclaim(u64::MAX);
        assert_eq!(
            (dirty(&region), bytes(&world, &region, [4, 5, 9])),
            (vec![(4, 6), (12, 1), (14, 1)], [8, 0, 8])
        );
        region.mark();
        assert_eq!(dirty(&region), []);
        // More ranges than are kept apart, some of them above the limit.
        for number in 0..20 {
            let cleared = pages(&region, 1000 + 10 * number, 1);
            clear(&mut region, cleared);
        }
        region.set_limit(1055 * PAGE).expect("no page above is resident");
        let visited = dirty(&region);
        for number in 0..6 {
            let page = 1000 + 10 * number;
            assert!(visited.iter().any(|(start, len)| (*start..start + len).contains(&page)), "{visited:?}");
        }
        assert_eq!(visited.last().map(|(start, len)| start + len), Some(1055));
    }
}

#[test]
fn images_and_limits_change_pages_after_a_mark() {
    let world = World::new();
    let mut source = world.region(GIB);
    world.write_pages(&source, 3, 7);
    let image = freeze(&mut source);
    let mut region = world.region(GIB);
    region.mark();
    region.attach(&image).expect("the region has no image");
    assert_eq!(dirty(&region), [(0, 3)]);
    region.mark();
    region.set_limit(PAGE).expect("no page above is resident");
    assert_eq!(dirty(&region), [], "the region ends before the pages");
    region.set_limit(3 * PAGE).expect("the region is larger");
    assert_eq!(dirty(&region), [(1, 2)]);
    // Without a mark since the freeze, the image shows which pages were cleared.
    freeze(&mut region);
    assert_eq!(dirty(&region), []);
    let cleared = pages(&region, 0, 2);
    region.decommit(cleared).expect("the pages are inside");
    assert_eq!(dirty(&region), [(0, 1)]);
}

/// A CPU that has cached that a page is dirty does not set the bit again.
#[test]
fn a_mark_on_one_cpu_is_seen_by_the_next_one() {
    let world = World::with_cpus(2);
    let account = account();
    world.enter_on(1, &account);
    let mut region = world.region_of(GIB, &account);
    world.write_pages(&region, 10, 7);
    world.space().leave(&account);
    world.enter_on(0, &account);
    region.mark();
    world.space().leave(&account);
    world.enter_on(1, &account);
    world.write(address(&region, 4), 8);
    assert_eq!(dirty(&region), [(4, 1)]);
}

#[test]
fn a_visit_of_changes_ends_when_it_breaks() {
    let world = World::new();
    let mut region = world.region(GIB);
    world.write_pages(&region, 100, 7);
    let image = freeze(&mut region);
    let mut visits = 0;
    let visited = image.each_change(None, |_, _| {
        visits += 1;
        if visits == 70 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!((visited, visits), (ControlFlow::Break(()), 70));
}

#[test]
fn the_release_of_an_image_reports_the_payers_of_the_frames_that_no_other_one_has() {
    let world = World::new();
    let mut region = world.region(GIB);
    world.write_pages(&region, 100, 7);
    let first = region.freeze_for(3).expect("the host has heap").image;
    world.write_pages(&region, 10, 8);
    let second = region.freeze_for(1).expect("the host has heap").image;
    let released = |image: TestImage<'_>| {
        let mut refunds = BTreeMap::new();
        let image = Arc::into_inner(image)?;
        image.release(|payer, frames| *refunds.entry(payer).or_insert(0) += frames);
        refunds.retain(|_, frames| *frames > 0);
        Some(refunds)
    };
    assert_eq!(released(first), Some([(3, 10)].into()), "those that were replaced");
    let mut fork = fork(&world, &second);
    for page in [0, 20, 21] {
        world.write(address(&fork, page), 9);
    }
    let third = fork.freeze_for(2).expect("the host has heap").image;
    drop(fork);
    assert_eq!(released(Arc::clone(&second)), None, "the region shows it");
    drop(region);
    assert_eq!(released(second), Some([(1, 1), (3, 2)].into()), "those that the fork has replaced");
    assert_eq!(released(third), Some([(1, 9), (2, 3), (3, 88)].into()));
    assert_eq!(world.space().usage().image_frames, 0);
}

#[test]
#[should_panic(expected = "the images are of two address spaces")]
fn the_changes_since_an_image_of_another_space_are_refused() {
    let [own, other] = [World::new(), World::new()];
    let [image, base] = [&own, &other].map(|world| {
        let mut region = world.region(GIB);
        world.write_pages(&region, 1, 7);
        freeze(&mut region)
    });
    changes(&image, Some(&base));
}
