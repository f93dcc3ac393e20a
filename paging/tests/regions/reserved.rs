//! Accounts that are charged beforehand: what a limit allows can be touched, whatever others do.

use std::sync::Arc;

use palimpsest_paging::x86_64::structures::paging::PhysFrame;
use palimpsest_paging::x86_64::{PhysAddr, VirtAddr};
use palimpsest_paging::{
    Account, AddressSpace, ChargeError, Frame, FramePool, FrameSource, FromX86, Layout, LimitError,
    PromiseError, Promises, ReserveError, ToX86,
};

use crate::world::{
    GIB, KIB, MIB, Memory, Mmu, PAGE, Source, TestRegion, WINDOW_START, World, account, address, pages,
    reserved_account,
};

/// A region of 4 GiB with an account that is charged on touch, which takes all that it can get.
fn glutton<'a>(world: &'a World, account: &Arc<Account>) -> TestRegion<'a> {
    let region = world.region_of(4 * GIB, account);
    let pages = (0..).take_while(|page| {
        world.write(address(&region, *page), 0xff);
        !account.is_lost()
    });
    assert!(pages.count() > 0, "there was something to take");
    assert_eq!(world.source.unpromised(), 0);
    region
}

#[test]
fn a_limit_is_charged_with_its_pages_and_the_tables_that_they_need() {
    // The capacity, the limit, and the tables of its own.
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
        assert_eq!((account.charged_frames(), world.source.promised()), (0, 0));
        let allocations = world.source.allocations();
        region.set_limit(limit).expect("there are as many frames");
        let usable = limit.div_ceil(PAGE) + tables;
        assert_eq!((account.charged_frames(), account.held_frames()), (usable, 0));
        assert_eq!((world.source.promised(), world.source.allocations()), (usable, allocations));
    }
}

#[test]
fn touching_everything_takes_exactly_what_was_charged() {
    for bytes in [PAGE, 64 * KIB, MIB, 2 * MIB, 5 * MIB + PAGE, 24 * MIB] {
        let world = World::new();
        let account = reserved_account();
        let region = world.region_of(bytes, &account);
        world.write_pages(&region, bytes / PAGE, 7);
        assert_eq!((account.held_frames(), world.source.promised()), (account.charged_frames(), 0));
    }
}

#[test]
fn frames_are_promised_once() {
    let world = World::with(4 * GIB, 1024);
    let (first, second) = (reserved_account(), reserved_account());
    let all = world.source.unpromised();
    let region = world.region_of(600 * PAGE, &first);
    let mut other = world.space().reserve(600 * PAGE, &second).expect("the world has room");
    let available_frames = world.source.unpromised();
    assert!(available_frames < 500 && all - available_frames > 600);
    let requested_frames = 500 + 1;
    let too_few = PromiseError::TooFew { requested_frames, available_frames };
    let error = LimitError::Uncharged(ChargeError::Unpromised(too_few));
    assert_eq!(other.set_limit(500 * PAGE), Err(error));
    assert_eq!((other.limit_bytes(), second.charged_frames()), (0, 0), "nothing has changed");
    drop(region);
    assert_eq!((first.charged_frames(), first.held_frames()), (0, 0));
    other.set_limit(500 * PAGE).expect("the promise to the first was given up");
    other.set_limit(600 * PAGE).expect("a limit that is raised twice is charged once");
    assert_eq!(second.charged_frames(), 600 + 2);
}

#[test]
fn promised_frames_are_safe_from_those_who_take_on_touch() {
    let world = World::with(64 * GIB, 2048);
    let (reserved, greedy) = (reserved_account(), account());
    let mut region = world.region_of(3 * MIB, &reserved);
    let hog = glutton(&world, &greedy);
    for round in 1..=3 {
        for page in 0..3 * MIB / PAGE {
            assert_eq!(world.read(address(&region, page)), 0, "round {round}");
            world.write(address(&region, page), round);
        }
        assert_eq!(reserved.held_frames(), reserved.charged_frames());
        let all = region.pages();
        region.decommit(all).expect("the range is the region");
        assert_eq!((reserved.held_frames(), world.source.unpromised()), (0, 0), "the frames stay promised");
        // The hog tries again, in vain.
        world.write(address(&hog, 1_000_000), 1);
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
    let _hog = glutton(&world, &greedy);
    assert_eq!(region.residency().deferred_frames, 256);
    assert_eq!(world.space().reclaim(100).frames_released, 100);
    assert_eq!((world.source.promised(), world.source.unpromised()), (100, 0));
    for page in 0..256 {
        assert_eq!(world.read(address(&region, page)), 0);
        world.write(address(&region, page), 8);
    }
    assert_eq!((reserved.held_frames(), reserved.is_lost()), (reserved.charged_frames(), false));
}

#[test]
fn an_exchange_keeps_the_promises() {
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
        assert_eq!((world.source.promised(), world.source.unpromised()), (56, left));
        world.write_pages(&region, 256, 8);
        assert!(!account.is_lost());
    }
}

#[test]
fn lowering_the_limit_gives_the_promise_up() {
    let world = World::new();
    let account = reserved_account();
    let mut region = world.region_of(4 * MIB, &account);
    world.write(region.base(), 1);
    region.set_limit(2 * MIB).expect("nothing behind it is resident");
    assert_eq!((account.charged_frames(), account.held_frames()), (512 + 1, 2));
    assert_eq!(world.source.promised(), 511);
    region.set_limit(PAGE).expect("nothing behind it is resident");
    assert_eq!((account.charged_frames(), world.source.promised()), (2, 0));
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
    assert_eq!((account.charged_frames(), world.source.promised()), (0, 0));
}

#[test]
fn a_source_that_makes_no_promises_serves_no_reserved_account() {
    let memory = Memory::new(64);
    let (root, source) = Source::new(memory);
    let mmu: &'static Mmu = Box::leak(Box::new(Mmu::new(memory, root)));
    let window = VirtAddr::new(WINDOW_START)..VirtAddr::new(WINDOW_START + GIB);
    let layout = Layout { window, physical_offset: memory.offset(), root };
    // SAFETY: the memory is leaked and mapped at its offset; the MMU is the only CPU.
    let space = unsafe { AddressSpace::new(layout, FromX86::new(ToX86::new(source)), mmu) };
    let space = space.expect("the machine has frames for its tables");
    let error = space.reserve(PAGE, &reserved_account()).map(drop);
    assert_eq!(error, Err(ReserveError::Uncharged(ChargeError::NoPromises)));
    assert!(space.reserve(PAGE, &account()).is_ok());
}

#[test]
fn a_pool_keeps_promised_frames_from_ordinary_allocations() {
    let usable = [PhysAddr::new(PAGE)..PhysAddr::new(64 * PAGE)];
    let memory = Memory::new(64);
    // SAFETY: the memory is leaked, unused, and mapped at its offset.
    let pool = unsafe { FramePool::new(&usable, memory.offset()) }.expect("the range is sound");
    assert_eq!((pool.free_frames(), pool.promise(52)), (62, Ok(())));
    let error = PromiseError::TooFew { requested_frames: 11, available_frames: 10 };
    assert_eq!(pool.promise(11), Err(error));
    assert!(pool.allocate_contiguous(11).is_none());
    let taken: Vec<PhysFrame> = std::iter::from_fn(|| pool.allocate()).map(Frame::into_phys).collect();
    assert_eq!((taken.len(), pool.free_frames(), pool.promised_frames()), (10, 52, 52));
    let frame = pool.allocate_promised();
    assert_eq!((pool.free_frames(), pool.promised_frames()), (51, 51));
    pool.release_promised(frame);
    assert!(pool.allocate().is_none());
    pool.withdraw(1);
    assert!(pool.allocate().is_some());
    assert!(pool.allocate().is_none());
}

#[test]
#[should_panic(expected = "what it was promised")]
fn a_promise_that_was_not_made_cannot_be_given_up() {
    let (_, source) = Source::new(Memory::new(64));
    let promises = source.promises().expect("the source makes promises");
    assert_eq!(promises.promise(5), Ok(()));
    promises.withdraw(6);
}
