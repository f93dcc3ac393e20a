//! The limit: how much of a region can be used.

use palimpsest_paging::{LimitError, NotOurs, Residency};

use crate::world::{GIB, MIB, PAGE, World, account, address, pages};

#[test]
fn a_new_region_has_a_limit_of_zero() {
    let world = World::new();
    let region = world.space().reserve(GIB, &account()).expect("the world has room");
    assert_eq!((region.limit_bytes(), region.capacity_bytes()), (0, GIB));
    assert_eq!(world.cpu.write(world.space(), region.base(), 1), Err(NotOurs::BeyondLimit));
}

#[test]
fn pages_up_to_the_limit_can_be_used_and_no_others() {
    let world = World::new();
    let mut region = world.space().reserve(GIB, &account()).expect("the world has room");
    region.set_limit(2 * PAGE + 1).expect("it is below the capacity");
    assert_eq!(region.limit_bytes(), 2 * PAGE + 1);
    world.write(address(&region, 2) + 4095, 1);
    assert_eq!(world.cpu.write(world.space(), address(&region, 3), 1), Err(NotOurs::BeyondLimit));
    assert_eq!(world.cpu.read(world.space(), address(&region, 3)), Err(NotOurs::BeyondLimit));
    region.set_limit(GIB).expect("it is the capacity");
    world.write(address(&region, 3), 1);
    world.write(region.base() + GIB - 1, 1);
}

#[test]
fn raising_the_limit_takes_no_frame() {
    let world = World::new();
    let mut region = world.space().reserve(4 * GIB, &account()).expect("the world has room");
    let (before, allocations) = (region.residency(), world.source.allocations());
    region.set_limit(4 * GIB).expect("it is the capacity");
    assert_eq!((region.residency(), world.source.allocations()), (before, allocations));
}

#[test]
fn a_limit_beyond_the_capacity_is_refused() {
    let world = World::new();
    let mut region = world.region(3 * MIB - 5);
    assert_eq!(region.capacity_bytes(), 3 * MIB, "the capacity is rounded up to whole pages");
    let (requested_bytes, capacity_bytes) = (3 * MIB + 1, 3 * MIB);
    let error = LimitError::BeyondCapacity { requested_bytes, capacity_bytes };
    assert_eq!(region.set_limit(requested_bytes), Err(error));
    assert_eq!(region.limit_bytes(), capacity_bytes);
}

#[test]
fn lowering_is_refused_while_a_page_above_holds_a_frame() {
    let world = World::new();
    let mut region = world.region(4 * GIB);
    let page = 300_000;
    world.write(address(&region, page), 1);
    let resident = LimitError::Resident { page: region.pages().start + page };
    assert_eq!(region.set_limit(page * PAGE), Err(resident));
    assert_eq!(region.limit_bytes(), 4 * GIB);
    region.set_limit(page * PAGE + 1).expect("the page is below the limit");
    let range = pages(&region, page, 1);
    region.decommit(range).expect("the page is inside");
    region.set_limit(0).expect("nothing is resident");
    assert_eq!(world.cpu.read(world.space(), region.base()), Err(NotOurs::BeyondLimit));
}

#[test]
fn lowering_unmaps_pages_that_show_zero() {
    let world = World::new();
    let mut region = world.region(4 * GIB);
    assert_eq!(world.read(address(&region, 7)), 0);
    region.set_limit(7 * PAGE).expect("the page holds no frame");
    assert_eq!(world.cpu.read(world.space(), address(&region, 7)), Err(NotOurs::BeyondLimit));
    let Residency { table_frames, .. } = region.residency();
    assert_eq!(table_frames, 0);
}
