//! The n-th allocation fails, for every n, in a life that uses every operation.

use std::sync::Arc;

use palimpsest_paging::{Account, LimitError, ReserveError};

use crate::world::{
    GIB, KIB, MIB, PAGE, Space, TestRegion, World, account, address, pages, reserved_account,
};

/// Why a life ended early.
#[derive(Debug)]
enum Ended {
    Reserve(#[expect(dead_code, reason = "it is there to be printed")] ReserveError),
    Limit(#[expect(dead_code, reason = "it is there to be printed")] LimitError),
}

/// Writes, and reads back what must be there unless the account is lost.
fn touch(world: &World, region: &TestRegion<'_>, account: &Account, page: u64, value: u8) {
    let place = address(region, page) + page % PAGE;
    let before = world.read(place);
    world.write(place, value);
    let after = world.read(place);
    if !account.is_lost() {
        assert_eq!((before, after), (0, value), "page {page}");
    }
}

/// Runs every operation, each after touches that need tables and frames.
fn live(world: &World, bytes: u64, account: &Arc<Account>) -> Result<(), Ended> {
    let mut region = world.space().reserve(bytes, account).map_err(Ended::Reserve)?;
    region.set_limit(bytes / 2).map_err(Ended::Limit)?;
    region.set_limit(bytes).map_err(Ended::Limit)?;
    let last = bytes / PAGE - 1;
    let places = [0, 1, last / 2, last - 1, last];
    let all = region.pages();
    let touch_all = |region: &TestRegion<'_>, value| {
        places.into_iter().for_each(|page| touch(world, region, account, page, value));
    };
    touch_all(&region, 1);
    let recommitted = region.recommit(all).expect("the range is the region");
    let held = recommitted.frames_committed + recommitted.frames_retained;
    assert_eq!(held, region.residency().resident_frames);
    touch_all(&region, 2);
    region.zero_in_place(all).expect("the range is the region");
    touch_all(&region, 3);
    region.defer(all).expect("the range is the region");
    touch(world, &region, account, 1, 4);
    region.reclaim(2);
    let first = pages(&region, 0, 2);
    region.decommit(first).expect("the range is inside");
    let guard = region.zero_fill(first).expect("the range is inside");
    world.write(first.start.start_address(), 0);
    drop(guard);
    region.decommit(all).expect("the range is the region");
    touch_all(&region, 5);
    region.defer(all).expect("the range is the region");
    region.set_limit(PAGE).map_err(Ended::Limit)?;
    region.set_limit(bytes).map_err(Ended::Limit)?;
    touch_all(&region, 6);
    Ok(())
}

/// Repeats a life with one more allocation each time until it ends without a failure. Returns the
/// number of allocations that it takes.
fn fail_at_each(bytes: u64, account: impl Fn() -> Arc<Account>, world: impl Fn() -> World) -> u64 {
    fail_at_each_of(live, bytes, account, world)
}

fn fail_at_each_of(
    live: impl Fn(&World, u64, &Arc<Account>) -> Result<(), Ended>,
    bytes: u64,
    account: impl Fn() -> Arc<Account>,
    world: impl Fn() -> World,
) -> u64 {
    for allowed in 0.. {
        let world = world();
        let allocated = world.source.allocated();
        let account = account();
        world.source.allow(Some(allowed));
        let ended = live(&world, bytes, &account);
        world.source.allow(None);
        assert_eq!(world.source.allocated(), allocated, "{bytes} bytes, {allowed} frames: {ended:?}");
        assert_eq!((account.held_frames(), account.charged_frames().min(1)), (0, 0));
        if ended.is_ok() && !account.is_lost() {
            return allowed;
        }
    }
    unreachable!("the life needs finitely many frames");
}

/// Freezes a region and its fork after touches that need tables and frames. Every byte is as it was
/// written, also after a failure.
fn freeze_and_fork(world: &World, bytes: u64, account: &Arc<Account>) -> Result<(), Ended> {
    let mut region = world.space().reserve(bytes, account).map_err(Ended::Reserve)?;
    region.set_limit(bytes).map_err(Ended::Limit)?;
    let last = bytes / PAGE - 1;
    let places = [0, 1, last / 2, last];
    let write = |region: &TestRegion<'_>, value: u8| {
        places.into_iter().for_each(|page| world.write(address(region, page), value));
    };
    // A read needs tables, so it may fail too.
    let check = |region: &TestRegion<'_>, value: u8| {
        let read = places.map(|page| world.read(address(region, page)));
        assert!(read == [value; 4] || account.is_lost(), "{read:?}");
    };
    write(&region, 1);
    check(&region, 1);
    let Ok(first) = region.freeze() else { return Ok(()) };
    check(&region, 1);
    let mut fork = world.space().reserve(bytes, account).map_err(Ended::Reserve)?;
    fork.set_limit(bytes).map_err(Ended::Limit)?;
    fork.attach(&first.image).expect("the fork is new and as large");
    drop(first);
    write(&fork, 2);
    check(&region, 1);
    check(&fork, 2);
    let Ok(second) = fork.freeze() else { return Ok(()) };
    assert!(account.is_lost() || region.freeze().is_ok_and(|frozen| frozen.frames_moved == 0));
    check(&region, 1);
    drop(region);
    check(&fork, 2);
    write(&fork, 3);
    drop(second);
    check(&fork, 3);
    Ok(())
}

fn small_world() -> World {
    World::with(64 * GIB, 8192)
}

#[test]
fn a_life_on_touch_survives_a_failure_at_any_allocation() {
    for (bytes, least) in [(64 * KIB, 12), (4 * MIB, 16), (4 * GIB, 22)] {
        let took = fail_at_each(bytes, account, small_world);
        assert!(took >= least, "{bytes} bytes took {took} frames only");
    }
}

#[test]
fn a_life_under_pressure_survives_a_failure_at_any_allocation() {
    let reclaim_one = |space: &Space| {
        space.reclaim(1);
    };
    let pressed = || small_world().with_pressure(reclaim_one);
    assert!(fail_at_each(4 * GIB, account, pressed) >= 22);
}

#[test]
fn freezes_and_forks_survive_a_failure_at_any_allocation() {
    for (bytes, least) in [(64 * KIB, 12), (4 * MIB, 16), (4 * GIB, 22)] {
        let took = fail_at_each_of(freeze_and_fork, bytes, account, small_world);
        assert!(took >= least, "{bytes} bytes took {took} frames only");
    }
}

#[test]
fn freezes_and_forks_survive_any_cap() {
    for bytes in [64 * KIB, 4 * MIB, 4 * GIB] {
        let world = small_world();
        let allocated = world.source.allocated();
        let mut caps = 0..;
        loop {
            let account = Arc::new(Account::new(caps.next()));
            let ended = freeze_and_fork(&world, bytes, &account);
            assert_eq!((world.source.allocated(), account.held_frames()), (allocated, 0), "{account:?}");
            if ended.is_ok() && !account.is_lost() {
                break;
            }
        }
    }
}

#[test]
fn a_reserved_life_fails_in_its_reserve_or_not_at_all() {
    for (bytes, unreserved) in [(64 * KIB, 2), (4 * MIB, 1)] {
        let took = fail_at_each(bytes, reserved_account, small_world);
        assert_eq!(took, unreserved, "{bytes} bytes: shared tables are not reserved");
    }
}

#[test]
fn a_life_survives_any_cap() {
    for bytes in [64 * KIB, 4 * MIB, 4 * GIB] {
        let world = small_world();
        let allocated = world.source.allocated();
        for cap in 0.. {
            let account = Arc::new(Account::new(Some(cap)));
            let ended = live(&world, bytes, &account);
            assert_eq!((world.source.allocated(), account.held_frames()), (allocated, 0), "cap {cap}");
            assert!(account.peak_frames() <= cap);
            if ended.is_ok() && !account.is_lost() {
                break;
            }
        }
    }
}
