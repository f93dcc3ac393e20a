//! Reserved accounts: every page below the limit can be touched, even if other accounts take all
//! they can.

use std::sync::Arc;

use palimpsest_paging::x86_64::structures::paging::PhysFrame;
use palimpsest_paging::x86_64::{PhysAddr, VirtAddr};
use palimpsest_paging::{
    Account, AddressSpace, Allocation, ChargeError, Frame, FrameBatch, FramePool, FrameReserveError,
    FrameSource, Layout, LimitError, Request, ReserveError,
};

use crate::world::{
    GIB, KIB, MIB, Machine, Memory, Mmu, PAGE, Source, TestRegion, WINDOW_START, World, account, address,
    pages, reserved_account,
};

/// A region of 4 GiB whose account is charged on touch, and which takes all frames that are not
/// reserved.
fn greedy_region<'a>(world: &'a World, account: &Arc<Account>) -> TestRegion<'a> {
    let region = world.region_of(4 * GIB, account);
    let pages = (0..).take_while(|page| {
        world.write(address(&region, *page), 0xff);
        !account.is_lost()
    });
    assert!(pages.count() > 0, "there was something to take");
    assert_eq!(world.source.unreserved(), 0);
    region
}

#[test]
fn a_limit_is_charged_with_its_pages_and_the_tables_that_they_need() {
    // The capacity, the limit, and the number of tables that the region owns.
    let cases = [
        (64 * KIB, 64 * KIB, 0),
        (2 * MIB - PAGE, 2 * MIB - PAGE, 1),
        (4 * MIB, 1, 1),
        (4 * MIB, 2 * MIB + 1, 2),
        (GIB, 0, 0),
        (GIB, PAGE, 2),
        (4 * GIB, 4 * MIB + PAGE, 4),
    ];
    for (capacity, limit, tables) in cases {
        let world = World::new();
        let account = reserved_account();
        let mut region = world.space().reserve(capacity, &account).expect("the world has room");
        assert_eq!((account.charged_frames(), world.source.reserved()), (0, 0));
        let allocations = world.source.allocations();
        region.set_limit(limit).expect("there are as many frames");
        let usable = limit.div_ceil(PAGE) + tables;
        assert_eq!((account.charged_frames(), account.held_frames()), (usable, 0));
        assert_eq!((world.source.reserved(), world.source.allocations()), (usable, allocations));
    }
}

#[test]
fn touching_everything_takes_exactly_what_was_charged() {
    for bytes in [PAGE, 64 * KIB, MIB, 2 * MIB, 5 * MIB + PAGE, 24 * MIB] {
        let world = World::new();
        let account = reserved_account();
        let region = world.region_of(bytes, &account);
        world.write_pages(&region, bytes / PAGE, 7);
        assert_eq!((account.held_frames(), world.source.reserved()), (account.charged_frames(), 0));
    }
}

#[test]
fn frames_are_reserved_once() {
    let world = World::with(4 * GIB, 1024);
    let (first, second) = (reserved_account(), reserved_account());
    let all = world.source.unreserved();
    let region = world.region_of(600 * PAGE, &first);
    let mut other = world.space().reserve(600 * PAGE, &second).expect("the world has room");
    let available_frames = world.source.unreserved();
    assert!(available_frames < 500 && all - available_frames > 600);
    let requested_frames = 500 + 1;
    let too_few = FrameReserveError::TooFew { requested_frames, available_frames };
    let error = LimitError::Uncharged(ChargeError::Unreserved(too_few));
    assert_eq!(other.set_limit(500 * PAGE), Err(error));
    assert_eq!((other.limit_bytes(), second.charged_frames()), (0, 0), "nothing has changed");
    drop(region);
    assert_eq!((first.charged_frames(), first.held_frames()), (0, 0));
    other.set_limit(500 * PAGE).expect("the reservation of the first is gone");
    other.set_limit(600 * PAGE).expect("a limit that is raised twice is charged once");
    assert_eq!(second.charged_frames(), 600 + 2);
}

#[test]
fn reserved_frames_are_safe_from_accounts_that_are_charged_on_touch() {
    let world = World::with(64 * GIB, 2048);
    let (reserved, greedy) = (reserved_account(), account());
    let mut region = world.region_of(3 * MIB, &reserved);
    let greedy_region = greedy_region(&world, &greedy);
    for round in 1..=3 {
        for page in 0..3 * MIB / PAGE {
            assert_eq!(world.read(address(&region, page)), 0, "round {round}");
            world.write(address(&region, page), round);
        }
        assert_eq!(reserved.held_frames(), reserved.charged_frames());
        let all = region.pages();
        region.decommit(all).expect("the range is the region");
        assert_eq!((reserved.held_frames(), world.source.unreserved()), (0, 0), "the frames stay reserved");
        // The greedy region tries again, in vain.
        world.write(address(&greedy_region, 1_000_000), 1);
    }
    assert!(!reserved.is_lost());
}

#[test]
fn deferred_frames_of_a_reserved_account_are_not_reclaimed_for_others() {
    let world = World::with(64 * GIB, 2048);
    let (reserved, greedy) = (reserved_account(), account());
    let mut region = world.region_of(MIB, &reserved);
    world.write_pages(&region, 256, 7);
    let all = region.pages();
    assert_eq!(region.defer(all), Ok(256));
    let _greedy_region = greedy_region(&world, &greedy);
    assert_eq!(region.residency().deferred_frames, 256);
    assert_eq!(world.space().reclaim(100).frames_released, 100);
    assert_eq!((world.source.reserved(), world.source.unreserved()), (100, 0));
    for page in 0..256 {
        assert_eq!(world.read(address(&region, page)), 0);
        world.write(address(&region, page), 8);
    }
    assert_eq!((reserved.held_frames(), reserved.is_lost()), (reserved.charged_frames(), false));
}

#[test]
fn an_exchange_keeps_the_reservation() {
    for left in [0, 1, 400] {
        let world = World::with(4 * GIB, 2048);
        let account = reserved_account();
        let mut region = world.region_of(MIB, &account);
        world.write_pages(&region, 200, 7);
        world.source.hoard(left);
        let range = pages(&region, 0, 200);
        let recommitted = region.recommit(range).expect("the range is inside");
        assert_eq!(recommitted.frames_retained, if left == 0 { 200 } else { 0 });
        assert_eq!((account.held_frames(), account.charged_frames()), (200, 256));
        assert_eq!((world.source.reserved(), world.source.unreserved()), (56, left));
        world.write_pages(&region, 256, 8);
        assert!(!account.is_lost());
    }
}

#[test]
fn lowering_the_limit_lowers_the_reservation() {
    let world = World::new();
    let account = reserved_account();
    let mut region = world.region_of(4 * MIB, &account);
    world.write(region.base(), 1);
    region.set_limit(2 * MIB).expect("no page above it is resident");
    assert_eq!((account.charged_frames(), account.held_frames()), (512 + 1, 2));
    assert_eq!(world.source.reserved(), 511);
    region.set_limit(PAGE).expect("no page above it is resident");
    assert_eq!((account.charged_frames(), world.source.reserved()), (2, 0));
    assert!(matches!(region.set_limit(0), Err(LimitError::Resident { .. })));
    assert_eq!(account.charged_frames(), 2);
}

#[test]
fn the_cap_holds_for_what_is_charged() {
    let world = World::new();
    let account = Arc::new(Account::reserved(Some(100)));
    let mut region = world.space().reserve(MIB, &account).expect("the world has room");
    region.set_limit(90 * PAGE).expect("it is below the cap");
    let cap = |requested_frames, charged_frames| ChargeError::CapReached {
        requested_frames,
        charged_frames,
        cap_frames: 100,
    };
    assert_eq!(region.set_limit(101 * PAGE), Err(LimitError::Uncharged(cap(11, 90))));
    region.set_limit(100 * PAGE).expect("it is the cap");
    let mut other = world.space().reserve(PAGE, &account).expect("a region holds nothing");
    assert_eq!(other.set_limit(1), Err(LimitError::Uncharged(cap(1, 100))));
    drop([region, other]);
    assert_eq!((account.charged_frames(), world.source.reserved()), (0, 0));
}

/// A source that has no `reserve` and `unreserve`.
struct Unreserving(&'static Source);

// SAFETY: the methods are those of the source. No frame is ever reserved.
unsafe impl FrameSource for Unreserving {
    fn allocate(&self, request: Request) -> Option<Allocation> {
        self.0.allocate(request)
    }

    fn release(&self, frames: &mut FrameBatch, reserved: bool) {
        self.0.release(frames, reserved);
    }
}

#[test]
fn a_source_that_cannot_reserve_serves_no_reserved_account() {
    let memory = Memory::new(64);
    let (root, source) = Source::new(memory);
    let mmu: &'static Mmu = Box::leak(Box::new(Mmu::new(memory, root)));
    let window = VirtAddr::new(WINDOW_START)..VirtAddr::new(WINDOW_START + GIB);
    let layout = Layout { window, physical_offset: memory.offset(), root };
    // SAFETY: the memory is leaked and mapped at its offset; the MMU is the only CPU.
    let space = unsafe { AddressSpace::new(layout, Machine { frames: Unreserving(source), mmu }) };
    let space = space.expect("the machine has frames for its tables");
    let error = space.reserve(PAGE, &reserved_account()).map(drop);
    let unsupported = FrameReserveError::Unsupported { requested_frames: 0 };
    assert_eq!(error, Err(ReserveError::Uncharged(ChargeError::Unreserved(unsupported))));
    assert!(space.reserve(PAGE, &account()).is_ok());
}

#[test]
fn a_pool_keeps_reserved_frames_from_ordinary_allocations() {
    let usable = [PhysAddr::new(PAGE)..PhysAddr::new(64 * PAGE)];
    let memory = Memory::new(64);
    // SAFETY: the memory is leaked, unused, and mapped at its offset.
    let pool = unsafe { FramePool::new(&usable, memory.offset()) }.expect("the range is sound");
    assert_eq!((pool.free_frames(), pool.reserve(52)), (62, Ok(())));
    let error = FrameReserveError::TooFew { requested_frames: 11, available_frames: 10 };
    assert_eq!(pool.reserve(11), Err(error));
    assert!(pool.allocate_contiguous(11).is_none());
    let taken: Vec<PhysFrame> = std::iter::from_fn(|| pool.allocate_frame()).map(Frame::into_phys).collect();
    assert_eq!((taken.len(), pool.free_frames(), pool.reserved_frames()), (10, 52, 52));
    let request = Request { frames: 1, zeroed: false, reserved: true };
    let mut allocation = pool.allocate(request).expect("a frame is reserved");
    let frame = allocation.frames.next().expect("an allocation has a frame");
    assert_eq!((pool.free_frames(), pool.reserved_frames()), (51, 51));
    pool.release(&mut FrameBatch::from(frame), true);
    assert!(pool.allocate_frame().is_none());
    pool.unreserve(1);
    assert!(pool.allocate_frame().map(Frame::into_phys).is_some());
    assert!(pool.allocate_frame().is_none());
}

#[test]
fn a_reserved_request_is_limited_by_what_is_reserved() {
    let usable = [PhysAddr::new(PAGE)..PhysAddr::new(64 * PAGE)];
    let memory = Memory::new(64);
    // SAFETY: the memory is leaked, unused, and mapped at its offset.
    let pool = unsafe { FramePool::new(&usable, memory.offset()) }.expect("the range is sound");
    let request = Request { frames: 16, zeroed: true, reserved: true };
    assert!(pool.allocate(request).is_none());
    assert_eq!(pool.reserve(3), Ok(()));
    let taken = pool.allocate(request).map(|allocation| allocation.frames.into_phys().len());
    assert_eq!((taken, pool.reserved_frames()), (Some(3), 0));
    assert!(pool.allocate(request).is_none());
}

#[test]
#[should_panic(expected = "6 frames unreserved, and only 5 are reserved")]
fn a_reservation_that_was_not_made_cannot_be_given_up() {
    let (_, source) = Source::new(Memory::new(64));
    assert_eq!(source.reserve(5), Ok(()));
    source.unreserve(6);
}
