//! Images: regions start with them, share them until they write, and read zeros after a clear.

#![expect(clippy::arc_with_non_send_sync, reason = "the machine of the tests has one thread")]

use std::sync::Arc;

use palimpsest_paging::{
    Account, AttachError, FaultAround, Image, ImageError, PartCleared, Policies, RangeError, Shortage,
    ZeroStores,
};

use crate::world::{
    Entry, GIB, MIB, Machine, PAGE, REP_STOSB, StringStore, TestRegion, World, account, address, pages,
};

const PAGE_LEN: usize = 4096;

type TestImage<'a> = Arc<Image<'a, Machine>>;

/// Pages 2 to 4 start with the bytes 20, 30 and 40, and page 600 with 60.
fn image(world: &World) -> TestImage<'_> {
    let middle: Vec<u8> = [20, 30, 40].into_iter().flat_map(|byte| [byte; PAGE_LEN]).collect();
    let parts = [(2 * PAGE, &middle[..]), (600 * PAGE, &[60; PAGE_LEN])];
    Arc::new(world.space().image(parts).expect("the world has frames for the image"))
}

/// A region of 1 GiB that starts with an image.
fn region<'w>(world: &'w World, image: &TestImage<'w>) -> TestRegion<'w> {
    let mut region = world.region(GIB);
    region.attach(image).expect("the image fits");
    region
}

fn first_bytes(world: &World, region: &TestRegion<'_>) -> [u8; 6] {
    [1, 2, 3, 4, 5, 600].map(|page| world.read(address(region, page)))
}

const PRISTINE: [u8; 6] = [0, 20, 30, 40, 0, 60];

#[test]
fn regions_show_the_image_without_a_frame_and_write_to_copies() {
    let world = World::new();
    let image = image(&world);
    let [first, second] = [region(&world, &image), region(&world, &image)];
    assert_eq!((first_bytes(&world, &first), first_bytes(&world, &second)), (PRISTINE, PRISTINE));
    assert_eq!((first.residency().resident_frames, second.residency().resident_frames), (0, 0));
    // One page that was read before, and one that was not in this region.
    world.write(address(&first, 3) + 9, 7);
    let third = region(&world, &image);
    world.write(address(&third, 3) + 9, 8);
    for (of, expected) in [(&first, 7), (&second, 30), (&third, 8)] {
        let around = [8, 9, 10].map(|byte| world.read(address(of, 3) + byte));
        assert_eq!(around, [30, expected, 30]);
    }
    assert_eq!([&first, &second, &third].map(|region| region.residency().resident_frames), [1, 0, 1]);
    assert_eq!((image.frames(), world.space().usage().image_frames), (4, 4));
}

/// The table of the page exists, as it does for nearly every first write.
#[test]
fn a_first_write_beside_a_resident_page_copies_the_image_too() {
    let world = World::new();
    let image = image(&world);
    let region = region(&world, &image);
    world.write(address(&region, 1), 1);
    world.write(address(&region, 3) + 9, 7);
    assert_eq!([8, 9, 10].map(|byte| world.read(address(&region, 3) + byte)), [30, 7, 30]);
}

#[test]
fn parts_may_overlap_begin_anywhere_and_leave_zeros_between() {
    let world = World::new();
    let parts =
        [(PAGE - 2, &b"abcd"[..]), (PAGE, &b"X"[..]), (3 * PAGE + 100, &b"z"[..]), (9 * PAGE, &b""[..])];
    let image = Arc::new(world.space().image(parts).expect("there are frames"));
    assert_eq!((image.frames(), image.end_bytes()), (3, 4 * PAGE));
    let region = region(&world, &image);
    let seen = [PAGE - 3, PAGE - 2, PAGE - 1, PAGE, PAGE + 1, PAGE + 2, 3 * PAGE + 99, 3 * PAGE + 100];
    assert_eq!(seen.map(|byte| world.read(region.base() + byte)), *b"\0abXd\0\0z");
}

#[test]
fn every_way_to_clear_leaves_zeros_in_shown_written_and_untouched_pages() {
    type Clear = fn(&mut TestRegion<'_>, u64, u64) -> Result<(), RangeError>;
    let ways: [Clear; 4] = [
        |region, first, count| region.decommit(pages(region, first, count)).map(drop),
        |region, first, count| region.recommit(pages(region, first, count)).map(drop),
        |region, first, count| region.zero_in_place(pages(region, first, count)).map(drop),
        |region, first, count| region.defer(pages(region, first, count)).map(drop),
    ];
    for clear in ways {
        let world = World::new();
        let image = image(&world);
        let mut region = region(&world, &image);
        assert_eq!(world.read(address(&region, 2)), 20);
        world.write(address(&region, 3), 9);
        clear(&mut region, 2, 3).expect("the pages are inside");
        assert_eq!(first_bytes(&world, &region), [0, 0, 0, 0, 0, 60]);
        world.write(address(&region, 2), 5);
        assert_eq!((world.read(address(&region, 2)), world.read(address(&region, 2) + 1)), (5, 0));
        clear(&mut region, 0, 1000).expect("the pages are inside");
        assert_eq!(first_bytes(&world, &region), [0; 6]);
        drop(region);
        assert_eq!(world.space().usage().image_frames, 4, "the image was not harmed");
    }
}

#[test]
fn a_limit_that_is_lowered_and_raised_again_shows_zeros() {
    let world = World::new();
    let image = image(&world);
    let mut region = region(&world, &image);
    assert_eq!(first_bytes(&world, &region), PRISTINE);
    region.set_limit(4 * PAGE).expect("nothing is resident");
    region.set_limit(GIB).expect("it is the capacity");
    assert_eq!(first_bytes(&world, &region), [0, 20, 30, 0, 0, 0]);
}

#[test]
fn the_frames_are_released_with_the_last_user() {
    let world = World::new();
    let before = world.source.allocated();
    let image = image(&world);
    let region = region(&world, &image);
    world.write(address(&region, 2), 1);
    drop(image);
    assert_eq!(world.read(address(&region, 4)), 40);
    drop(region);
    assert_eq!((world.source.allocated(), world.space().usage().image_frames), (before, 0));
}

#[test]
fn an_image_without_enough_frames_releases_those_that_it_took() {
    let world = World::new();
    let before = world.source.allocated();
    world.source.hoard(3);
    let bytes = [1; 4 * PAGE_LEN];
    let refused = world.space().image([(0, &bytes[..])]);
    assert!(matches!(refused, Err(ImageError::OutOfFrames(Shortage::SourceEmpty))));
    world.source.unhoard(usize::MAX);
    assert_eq!(world.source.allocated(), before);
    let refused = world.space().image([(u64::MAX - 1, &b"abc"[..])]);
    let error = ImageError::TooLarge { start_bytes: u64::MAX - 1, part_bytes: 3 };
    assert_eq!(refused.err(), Some(error));
}

#[test]
fn an_image_is_attached_once_to_a_region_of_its_space_that_is_large_enough() {
    let (world, other) = (World::new(), World::new());
    let image = image(&world);
    let mut small = world.region(MIB);
    let beyond = AttachError::BeyondLimit { image_bytes: 601 * PAGE, limit_bytes: MIB };
    assert_eq!(small.attach(&image), Err(beyond));
    let mut region = region(&world, &image);
    assert_eq!(region.attach(&image), Err(AttachError::Attached));
    let foreign = self::image(&other);
    // Two worlds live for the same time here, so the types agree.
    let mut third = world.region(GIB);
    assert_eq!(third.attach(&foreign), Err(AttachError::OtherSpace));
    assert_eq!(first_bytes(&world, &third), [0; 6]);
}

#[test]
fn attaching_replaces_what_the_images_pages_hold_and_nothing_else() {
    let world = World::new();
    let image = image(&world);
    let mut region = world.region(GIB);
    world.write_pages(&region, 6, 9);
    assert_eq!(world.read(address(&region, 600)), 0);
    region.attach(&image).expect("the image fits");
    assert_eq!(first_bytes(&world, &region), [9, 20, 30, 40, 9, 60]);
}

#[test]
fn a_fill_of_zeros_is_written_where_the_image_has_something_else() {
    let world = World::new().with_policies(Policies { zero_stores: ZeroStores::StepOver, ..Policies::OFF });
    let image = image(&world);
    let region = region(&world, &image);
    let store =
        StringStore { code: &REP_STOSB, element_bytes: 1, value: 0, start: region.base(), count: 599 * PAGE };
    world.cpu.string_store(world.space(), Entry::WithRegisters, store).expect("the range can be written");
    assert_eq!(first_bytes(&world, &region), [0, 0, 0, 0, 0, 60]);
    assert_eq!(region.residency().resident_frames, 3, "the image's pages alone were committed");
}

#[test]
fn pages_ahead_of_a_run_are_not_taken_from_the_image() {
    let fault_around = FaultAround::Adaptive { limit_pages: 64 };
    let world = World::new().with_policies(Policies { fault_around, ..Policies::OFF });
    let bytes = [7; PAGE_LEN];
    let image = Arc::new(world.space().image([(20 * PAGE, &bytes[..])]).expect("there are frames"));
    let region = region(&world, &image);
    world.write_pages(&region, 20, 1);
    assert_eq!(world.read(address(&region, 20)), 7);
    world.write(address(&region, 21), 1);
    assert_eq!(world.read(address(&region, 20)), 7);
}

#[test]
fn a_copy_that_finds_no_frame_loses_the_account_and_no_other_region() {
    let world = World::new();
    let image = image(&world);
    let capped = Arc::new(Account::new(Some(3)));
    let mut lost = world.region_of(GIB, &capped);
    lost.attach(&image).expect("the image fits");
    let other = region(&world, &image);
    (2..5).for_each(|page| world.write(address(&lost, page), 1));
    assert!(capped.is_lost());
    assert_eq!(first_bytes(&world, &other), PRISTINE);
    drop(lost);
    assert!(!account().is_lost());
}

/// The CPU has read the page, so it has cached the image's frame.
#[test]
fn a_copied_page_is_not_translated_to_the_image_any_more() {
    let world = World::new();
    let image = image(&world);
    let mut region = region(&world, &image);
    assert_eq!(world.read(address(&region, 2)), 20);
    world.write(address(&region, 2), 1);
    assert_eq!(world.read(address(&region, 2)), 1);
    assert_eq!(world.read(address(&region, 4)), 40);
    let range = pages(&region, 4, 1);
    region.zero_in_place(range).expect("the page is inside");
    assert_eq!(world.cpu.peek(address(&region, 4)), None);
}

#[test]
fn a_part_of_a_page_of_an_image_is_left_to_the_caller_until_the_page_has_a_frame() {
    let world = World::new();
    let image = Arc::new(world.space().image([(0, [7_u8; 4096].as_slice())]).expect("there are frames"));
    let mut region = world.region(MIB);
    region.attach(&image).expect("the region has no image");
    let page = region.pages().start;
    assert_eq!(region.zero_part(page, 1..2), Ok(PartCleared::Shown));
    assert_eq!(world.read(region.base() + 1), 7);
    assert_eq!(region.zero_part(page, 1..2), Ok(PartCleared::Shown), "it shows the image");
    world.write(region.base(), 1);
    assert_eq!(region.zero_part(page, 1..2), Ok(PartCleared::Zeroed));
    assert_eq!([0, 1, 2].map(|at| world.read(region.base() + at)), [1, 0, 7]);
    let mut other = world.region(MIB);
    other.attach(&image).expect("the region has no image");
    assert_eq!(world.read(other.base() + 1), 7);
    let all = other.pages();
    other.decommit(all).expect("the range is the region");
    let page = other.pages().start;
    assert_eq!(other.zero_part(page, 1..2), Ok(PartCleared::WasZero));
}
