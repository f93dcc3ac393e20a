//! Regions that move between CPUs, each of which has its own caches.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use palimpsest_paging::x86_64::structures::paging::Page;
use palimpsest_paging::{Account, Decommitted, Policies};

use crate::world::{GIB, MIB, PAGE, TestRegion, World, account, address, pages, reserved_account};

/// A region with its own account that has used `cpus`, one after the other. On each of them
/// it wrote `value` into its first `count` pages. The last one has not left.
fn region_on<'a>(world: &'a World, cpus: &[usize], count: u64, value: u8) -> (Arc<Account>, TestRegion<'a>) {
    let account = account();
    world.run_on(cpus[0]);
    let region = world.region_of(GIB, &account);
    for (index, cpu) in cpus.iter().enumerate() {
        world.enter_on(*cpu, &account);
        world.write_pages(&region, count, value);
        if index + 1 < cpus.len() {
            world.space().leave(&account);
        }
    }
    (account, region)
}

#[test]
fn a_region_that_was_cleared_elsewhere_shows_no_byte_of_another_one() {
    let world = World::with_cpus(2);
    let (account, mut region) = region_on(&world, &[0, 1], 8, 1);
    let all = pages(&region, 0, 8);
    assert_eq!(region.decommit(all).map(|released| released.frames_released), Ok(8));
    world.space().leave(&account);
    // The frames that CPU 0 translates to belong to another region now.
    let (other, others) = region_on(&world, &[1], 8, 7);
    world.space().leave(&other);
    world.enter_on(0, &account);
    assert!((0..8).all(|page| world.read(address(&region, page)) == 0));
    world.write_pages(&region, 8, 2);
    world.space().leave(&account);
    world.enter_on(1, &other);
    assert!((0..8).all(|page| world.read(address(&others, page)) == 7));
}

#[test]
fn a_page_that_was_first_written_elsewhere_shows_the_written_byte() {
    let world = World::with_cpus(2);
    let (account, region) = region_on(&world, &[0], 0, 0);
    assert_eq!(world.read(region.base()), 0);
    world.space().leave(&account);
    world.enter_on(1, &account);
    world.write(region.base(), 5);
    world.space().leave(&account);
    world.enter_on(0, &account);
    assert_eq!(world.read(region.base()), 5);
}

#[test]
fn a_region_whose_pages_were_not_unmapped_moves_without_a_flush() {
    let world = World::with_cpus(2);
    let (account, region) = region_on(&world, &[0, 1], 8, 1);
    let before = world.cpu.mmu().flushes();
    for cpu in [0, 1, 0, 0, 1] {
        world.space().leave(&account);
        world.enter_on(cpu, &account);
        world.write_pages(&region, 8, 1);
    }
    assert_eq!(world.cpu.mmu().flushes(), before);
}

#[test]
fn addresses_of_a_region_that_ended_elsewhere_show_no_byte_of_it() {
    let world = World::with_cpus(3);
    let (first, region) = region_on(&world, &[0, 1], 8, 1);
    let base = region.base();
    drop(region);
    world.space().leave(&first);
    // A new account, and one that was on CPU 0 last, whose regions did not change.
    for cpu in [0, 2] {
        let (account, used) = region_on(&world, &[cpu, 1], 1, 3);
        let again = world.region_of(GIB, &account);
        let [used_base, again_base] = [&used, &again].map(TestRegion::base);
        assert!(used_base == base || again_base == base, "the addresses are used again");
        world.space().leave(&account);
        world.enter_on(cpu, &account);
        assert!((1..8).all(|page| world.read(address(&used, page)) == 0));
        assert!((0..8).all(|page| world.read(address(&again, page)) == 0));
        world.space().leave(&account);
    }
}

#[test]
fn addresses_that_another_cpu_reserves_again_show_no_byte_of_the_region_before() {
    let world = World::with_cpus(2);
    let (_, region) = region_on(&world, &[0, 1], 8, 1);
    let base = region.base();
    drop(region);
    let account = account();
    let again = world.region_of(GIB, &account);
    assert_eq!(again.base(), base, "the addresses are used again");
    world.enter_on(0, &account);
    assert!((0..8).all(|page| world.read(address(&again, page)) == 0));
}

#[test]
fn a_cpu_that_had_the_account_last_shows_no_byte_at_addresses_that_another_one_reserves() {
    let world = World::with_cpus(2);
    let (first, ended) = region_on(&world, &[0], 8, 1);
    world.space().leave(&first);
    let (account, _used) = region_on(&world, &[0], 1, 3);
    world.space().leave(&account);
    // CPU 0 still translates the addresses, and would enter the account without a flush.
    world.run_on(1);
    let base = ended.base();
    drop(ended);
    let again = world.region_of(GIB, &account);
    assert_eq!(again.base(), base, "the addresses are used again");
    world.enter_on(0, &account);
    assert!((0..8).all(|page| world.read(address(&again, page)) == 0));
}

#[test]
fn a_cpu_that_has_guessed_the_addresses_of_a_region_that_ended_elsewhere_forgets_them() {
    let world = World::with_cpus(2);
    let (_, region) = region_on(&world, &[1], 8, 1);
    let base = region.base();
    // CPU 0 has never entered the region.
    world.run_on(0);
    region.pages().take(8).for_each(|page| world.cpu.mmu().speculate(page));
    // It is assumed not to walk tables of a region that it has never entered after they are gone.
    world.cpu.mmu().evict_tables();
    world.run_on(1);
    drop(region);
    let (_, again) = region_on(&world, &[0], 0, 0);
    assert_eq!(again.base(), base);
    assert!((0..8).all(|page| world.read(address(&again, page)) == 0));
}

#[test]
fn a_region_whose_drop_moves_to_another_cpu_leaves_no_byte_at_its_addresses() {
    for intervals in 0..6 {
        let world = World::with_cpus(2);
        // More frames than are released with the lock held once, by few enough to be flushed one by
        // one.
        let (account, region) = region_on(&world, &[1, 0], 6_664, 1);
        world.space().leave(&account);
        let base = region.base();
        world.cpu.mmu().move_after(intervals, 1);
        drop(region);
        world.cpu.mmu().stay();
        world.run_on(1);
        let again = world.region(GIB);
        assert_eq!(again.base(), base, "the addresses are used again");
        (0..6_664).step_by(100).for_each(|page| {
            assert_eq!(world.read(address(&again, page)), 0, "page {page}, after {intervals}");
        });
    }
}

#[test]
fn a_region_that_is_dropped_where_it_was_used_before_leaves_no_byte_at_its_addresses() {
    let world = World::with_cpus(2);
    let (account, mut region) = region_on(&world, &[1, 0], 8, 1);
    let (base, all) = (region.base(), region.pages());
    region.decommit(all).expect("it is the region");
    world.space().leave(&account);
    // CPU 1 does not enter, so it has not flushed what CPU 0 has unmapped.
    world.run_on(1);
    drop(region);
    let again = world.region(GIB);
    assert_eq!(again.base(), base, "the addresses are used again");
    assert!((0..8).all(|page| world.read(address(&again, page)) == 0));
}

#[test]
fn data_frames_are_released_at_once_and_tables_when_other_cpus_have_flushed() {
    let world = World::with_cpus(3);
    let (account, mut region) = region_on(&world, &[0, 2, 1], 600, 1);
    let tables = region.residency().table_frames;
    assert!(tables >= 3, "{tables}");
    let held = world.source.allocated();
    let all = region.pages();
    let released = region.decommit(all).expect("it is the region");
    assert_eq!(released, Decommitted { frames_released: 600, tables_released: 0, tables_waiting: tables });
    assert_eq!(world.source.allocated(), held - 600);
    assert_eq!(account.held_frames(), 0, "no account pays for tables that wait");
    assert_eq!(region.residency().table_frames, 0);
    assert_eq!(region.residency().tables_waited, tables);
    let waiting = || world.space().usage().waiting_table_frames;
    assert_eq!(waiting(), tables);
    // CPUs that guess addresses walk them, and change nothing.
    for cpu in [0, 2, 1] {
        world.run_on(cpu);
        pages(&region, 0, 600).for_each(|page| world.cpu.mmu().speculate(page));
    }
    for (cpu, left) in [(1, tables), (0, tables), (1, tables), (2, 0)] {
        world.run_on(cpu);
        world.space().flush_if_awaited();
        assert_eq!(waiting(), left, "CPU {cpu} has flushed");
    }
    assert_eq!(world.source.allocated(), held - 600 - tables);
    world.enter_on(1, &account);
    world.write_pages(&region, 600, 2);
}

#[test]
fn a_table_that_waits_is_released_when_the_other_cpu_enters_anything_that_has_changed() {
    let world = World::with_cpus(2);
    let (account, mut region) = region_on(&world, &[0, 1], 8, 1);
    let all = region.pages();
    assert_eq!(region.decommit(all).map(|released| released.tables_waiting), Ok(2));
    world.space().leave(&account);
    world.enter_on(0, &account);
    assert_eq!(world.space().usage().waiting_table_frames, 0);
}

#[test]
fn tables_of_a_region_on_one_cpu_do_not_wait() {
    let world = World::with_cpus(2);
    let (_, mut region) = region_on(&world, &[1, 1, 1], 8, 1);
    let all = region.pages();
    let released = Decommitted { frames_released: 8, tables_released: 2, tables_waiting: 0 };
    assert_eq!(region.decommit(all), Ok(released));
}

#[test]
fn tables_do_not_wait_for_a_cpu_that_has_flushed_since_it_left() {
    let world = World::with_cpus(3);
    let (account, mut region) = region_on(&world, &[0, 2, 1], 8, 1);
    let all = region.pages();
    for cpu in [0, 2] {
        world.run_on(cpu);
        world.space().flush_before_idle();
    }
    // It leaves and enters again, so that the last stop is after these flushes.
    for cpu in [1, 1] {
        world.enter_on(cpu, &account);
        world.space().leave(&account);
    }
    let released = Decommitted { frames_released: 8, tables_released: 2, tables_waiting: 0 };
    assert_eq!(region.decommit(all), Ok(released));
}

#[test]
fn tables_wait_for_a_cpu_that_has_flushed_before_it_left() {
    let world = World::with_cpus(2);
    let (account, mut region) = region_on(&world, &[0], 8, 1);
    world.space().flush_before_idle();
    world.write_pages(&region, 8, 1);
    world.space().leave(&account);
    world.enter_on(1, &account);
    let all = region.pages();
    assert_eq!(region.decommit(all).map(|released| released.tables_waiting), Ok(2));
    // CPU 0 may still walk them.
    let mmu = world.cpu.mmu();
    world.run_on(0);
    pages(&region, 0, 8).for_each(|page| mmu.speculate(page));
}

#[test]
fn a_region_that_is_dropped_on_another_cpu_leaves_its_tables_waiting() {
    let world = World::with_cpus(2);
    let free = world.source.allocated();
    let (account, region) = region_on(&world, &[0], 600, 1);
    world.space().leave(&account);
    world.run_on(1);
    drop(region);
    assert_eq!(world.source.allocated(), free + 3);
    assert_eq!(world.space().usage().waiting_table_frames, 3);
    world.run_on(0);
    world.space().flush_if_awaited();
    assert_eq!(world.source.allocated(), free);
}

#[test]
fn tables_that_small_regions_share_wait_for_the_cpus_of_all_of_them() {
    let world = World::with_cpus(3);
    let free = world.source.allocated();
    let mut regions = Vec::new();
    for cpu in [0, 1] {
        let account = account();
        // Regions share tables if the same CPU makes them.
        world.run_on(0);
        let region = world.region_of(16 * PAGE, &account);
        world.enter_on(cpu, &account);
        world.write(region.base(), 1);
        world.space().leave(&account);
        regions.push(region);
    }
    world.run_on(0);
    drop(regions.remove(0));
    world.run_on(1);
    drop(regions);
    let waiting = world.space().usage().waiting_table_frames;
    assert!(waiting > 0);
    assert_eq!(world.source.allocated(), free + waiting);
    world.run_on(0);
    world.space().flush_if_awaited();
    assert_eq!(world.source.allocated(), free);
}

#[test]
fn tables_wait_for_a_cpu_that_has_used_an_ended_region_at_their_addresses() {
    let world = World::with_cpus(2);
    let (account, region) = region_on(&world, &[1], 8, 1);
    world.space().leave(&account);
    let base = region.base();
    world.run_on(0);
    drop(region);
    let (account, mut region) = region_on(&world, &[0], 8, 2);
    assert_eq!(region.base(), base, "the addresses are used again");
    let all = region.pages();
    let expected = Decommitted { frames_released: 8, tables_released: 0, tables_waiting: 2 };
    assert_eq!(region.decommit(all), Ok(expected));
    world.run_on(1);
    world.space().flush_if_awaited();
    world.enter_on(0, &account);
    world.write_pages(&region, 8, 3);
    let expected = Decommitted { frames_released: 8, tables_released: 2, tables_waiting: 0 };
    assert_eq!(region.decommit(all), Ok(expected));
}

#[test]
fn a_reserved_account_keeps_tables_that_would_wait_and_its_touches_cannot_fail() {
    let world = World::with_cpus(2);
    let account = reserved_account();
    let mut region = world.space().reserve(16 * MIB, &account).expect("there are addresses");
    region.set_limit(16 * MIB).expect("there are frames");
    let all = region.pages();
    world.enter_on(0, &account);
    world.write_pages(&region, 1_000, 1);
    world.space().leave(&account);
    world.enter_on(1, &account);
    let cleared = region.decommit(all).expect("it is the region");
    assert_eq!((cleared.tables_released, cleared.tables_waiting), (0, 0));
    assert!(region.residency().table_frames > 0);
    // All frames that are not reserved are in use.
    world.source.hoard(0);
    all.for_each(|page| world.write(page.start_address(), 2));
    assert!(!account.is_lost());
    region.decommit(all).expect("it is the region");
    let tables = region.residency().table_frames;
    region.set_limit(PAGE).expect("nothing is resident");
    assert!(account.charged_frames() > tables, "tables that are kept stay charged");
    // The tables above the limit may still be there when the limit rises, but are charged again.
    world.source.unhoard(usize::try_from(tables).expect("a few"));
    region.set_limit(16 * MIB).expect("all other frames are free again");
    all.for_each(|page| world.write(page.start_address(), 3));
    assert!(!account.is_lost());
    drop(region);
    assert_eq!((account.held_frames(), account.charged_frames()), (0, 0));
}

#[test]
fn a_thread_that_moves_in_the_middle_of_its_use_finds_what_it_left() {
    let world = World::with_cpus(2);
    let (account, mut region) = region_on(&world, &[0, 1], 8, 1);
    let all = pages(&region, 0, 8);
    region.decommit(all).expect("it is in the region");
    let (_, others) = region_on(&world, &[1], 8, 7);
    world.run_on(0);
    world.space().migrate(&account);
    assert!((0..8).all(|page| world.read(address(&region, page)) == 0));
    assert_eq!(world.read(others.base()), 7, "only the account has moved");
    world.space().leave(&account);
    let before = world.cpu.mmu().flushes();
    world.enter_on(0, &account);
    assert_eq!(world.cpu.mmu().flushes(), before);
}

#[test]
fn several_cpus_may_read_a_region() {
    let world = World::with_cpus(3);
    let (account, mut region) = region_on(&world, &[2, 0, 1], 8, 1);
    let all = region.pages();
    region.decommit(pages(&region, 1, 7)).expect("it is in the region");
    let (_other, _others) = region_on(&world, &[1], 7, 7);
    world.space().leave(&account);
    for cpu in [0, 1, 2, 0] {
        world.run_on(cpu);
        world.space().look(&account);
        let read = |page: Page| world.read(page.start_address());
        let bytes: Vec<_> = all.take(8).map(read).collect();
        assert_eq!(bytes, [1, 0, 0, 0, 0, 0, 0, 0], "CPU {cpu}");
    }
    world.enter_on(1, &account);
    world.write(region.base(), 9);
    // The CPUs that read have not flushed since.
    assert_eq!(region.decommit(all).map(|released| released.tables_waiting), Ok(2));
}

#[test]
fn a_cpu_that_uses_a_region_yields_frames_that_another_one_needs_at_its_next_fault() {
    let world = World::with_cpus(2).with_policies(Policies::default());
    let (busy, mut region) = region_on(&world, &[1], 40, 1);
    let ahead = region.residency().ahead_frames;
    assert!(ahead > 0);
    let first = pages(&region, 0, 8);
    assert_eq!(region.defer(first), Ok(8));
    world.run_on(0);
    assert_eq!(world.space().reclaim(u64::MAX), Decommitted::default());
    let held = world.source.allocated();
    world.run_on(1);
    world.write(address(&region, 0), 1);
    let left = region.residency();
    assert_eq!((left.deferred_frames, left.ahead_frames), (0, 0));
    assert_eq!(world.source.allocated(), held - 7 - ahead);
    // Once.
    assert_eq!(region.defer(first), Ok(1));
    world.write(address(&region, 1), 1);
    assert_eq!(region.residency().deferred_frames, 1);
    // The owner may request it as well.
    world.run_on(0);
    assert_eq!(world.space().reclaim(u64::MAX), Decommitted::default());
    world.run_on(1);
    world.space().yield_frames(&busy);
    assert_eq!(region.residency().deferred_frames, 0);
}

#[test]
fn frames_that_a_cpu_needs_are_taken_from_accounts_that_no_other_one_uses() {
    let world = World::with_cpus(2).with_policies(Policies::default());
    let (idle, mut region) = region_on(&world, &[1], 40, 1);
    let ahead = region.residency().ahead_frames;
    assert!(ahead > 0);
    // CPU 1 guesses that the pages ahead will be accessed.
    pages(&region, 40, ahead).for_each(|page| world.cpu.mmu().speculate(page));
    assert_eq!(region.defer(pages(&region, 0, 8)), Ok(8));
    world.space().leave(&idle);
    let (account, small) = region_on(&world, &[0], 1, 2);
    world.source.hoard(0);
    for page in 1..9 + ahead {
        world.write(address(&small, page), 3);
    }
    assert!(!account.is_lost(), "the frames of the idle account were taken");
    let held = region.residency();
    assert_eq!((held.deferred_frames, held.ahead_frames), (0, 0));
    // CPU 1 still translates to frames that were ahead.
    world.source.unhoard(200);
    world.enter_on(1, &idle);
    assert!((8..40).all(|page| world.read(address(&region, page)) == 1));
    assert!((40..40 + ahead).all(|page| world.read(address(&region, page)) == 0));
    (40..40 + ahead).for_each(|page| world.write(address(&region, page), 4));
    world.space().leave(&account);
    world.enter_on(0, &account);
    assert!((1..9 + ahead).all(|page| world.read(address(&small, page)) == 3));
}

#[test]
fn frames_of_an_account_that_several_cpus_read_stay() {
    let world = World::with_cpus(3).with_policies(Policies::default());
    let (read, region) = region_on(&world, &[1], 40, 1);
    let ahead = region.residency().ahead_frames;
    world.space().leave(&read);
    for cpu in [1, 2] {
        world.run_on(cpu);
        world.space().look(&read);
    }
    let (account, small) = region_on(&world, &[0], 1, 2);
    world.source.hoard(0);
    world.write(address(&small, 1), 3);
    assert!(account.is_lost());
    assert_eq!(region.residency().ahead_frames, ahead);
    world.source.unhoard(200);
}

#[test]
fn tables_do_not_wait_for_a_cpu_that_has_flushed_before_a_thread_is_moved_from_another_one() {
    let world = World::with_cpus(3);
    let (account, mut region) = region_on(&world, &[0, 1], 8, 1);
    world.run_on(0);
    world.space().flush_before_idle();
    world.run_on(2);
    world.space().migrate(&account);
    world.run_on(1);
    world.space().flush_before_idle();
    world.run_on(2);
    let all = region.pages();
    assert_eq!(region.decommit(all).map(|released| released.tables_waiting), Ok(0));
}

#[test]
fn tables_wait_for_the_cpus_of_all_regions_that_have_ended_nearby() {
    let world = World::with_cpus(2);
    let mut regions = Vec::from([1, 0, 0].map(|cpu| {
        let account = account();
        // Regions share a table if the same CPU makes them.
        world.run_on(0);
        let region = world.region_of(4 * MIB, &account);
        world.enter_on(cpu, &account);
        world.write(region.base(), 1);
        world.space().leave(&account);
        region
    }));
    world.run_on(0);
    drop(regions.remove(0));
    drop(regions.remove(0));
    let all = regions[0].pages();
    assert_eq!(regions[0].decommit(all).map(|released| released.tables_waiting), Ok(1));
}

#[test]
fn tables_wait_for_the_cpu_that_runs_a_region_when_it_ends() {
    let world = World::with_cpus(2);
    let accounts = [account(), account()];
    // The regions share a table, because the same CPU makes them.
    let [ended, mut region] = accounts.each_ref().map(|account| world.region_of(4 * MIB, account));
    world.enter_on(1, &accounts[1]);
    world.write(region.base(), 1);
    world.space().leave(&accounts[1]);
    world.enter_on(1, &accounts[0]);
    world.write(ended.base(), 1);
    world.space().leave(&accounts[0]);
    world.enter_on(0, &accounts[0]);
    // CPU 0 flushes after CPU 1 has stopped, and uses the region again.
    world.space().flush_before_idle();
    world.write(ended.base(), 2);
    drop(ended);
    world.run_on(1);
    let all = region.pages();
    assert_eq!(region.decommit(all).map(|released| released.tables_waiting), Ok(1));
}

#[test]
fn a_cpu_that_walks_a_table_that_waits_finds_no_page() {
    let world = World::with_cpus(2);
    let (account, mut region) = region_on(&world, &[0, 1], 1, 1);
    let all = pages(&region, 0, 512);
    // They show the zero frame.
    assert!((1..100).all(|page| world.read(address(&region, page)) == 0));
    assert_eq!(region.decommit(all).map(|released| released.tables_waiting), Ok(2));
    world.run_on(0);
    assert_eq!(world.cpu.frame_at(address(&region, 50)), None);
    world.space().leave(&account);
}

#[test]
fn a_request_for_frames_sets_a_flag_of_the_account() {
    let world = World::with_cpus(2);
    let flags = Arc::new(AtomicU8::new(0));
    let busy = Arc::new(Account::new(None).with_flags(Arc::clone(&flags)));
    world.run_on(1);
    let mut region = world.region_of(GIB, &busy);
    world.enter_on(1, &busy);
    world.write(region.base(), 1);
    assert_eq!(region.defer(region.pages()), Ok(1));
    world.run_on(0);
    assert_eq!(world.space().reclaim(1), Decommitted::default());
    assert_eq!(flags.load(Ordering::Relaxed), Account::WANTED);
}

#[test]
fn a_region_whose_last_cpu_has_not_left_may_be_dropped_elsewhere() {
    let world = World::with_cpus(2);
    let free = world.source.allocated();
    let (_, region) = region_on(&world, &[1, 0], 600, 1);
    // CPU 0 flushes after CPU 1 has stopped, and uses the region again.
    world.space().flush_before_idle();
    world.write_pages(&region, 600, 2);
    world.run_on(1);
    drop(region);
    assert_eq!(world.space().usage().waiting_table_frames, 3);
    world.run_on(0);
    world.space().flush_if_awaited();
    assert_eq!(world.source.allocated(), free);
}

#[test]
fn a_page_that_is_written_after_a_mark_on_another_cpu_is_found() {
    let world = World::with_cpus(2);
    let (account, mut region) = region_on(&world, &[1, 0], 8, 1);
    region.mark();
    world.write(address(&region, 2), 2);
    world.space().leave(&account);
    world.enter_on(1, &account);
    world.write(address(&region, 5), 2);
    let mut written = Vec::new();
    region.each_written_since_mark(|pages| written.extend(pages));
    assert_eq!(written, [2, 5].map(|page| region.pages().start + page));
}

#[test]
fn tables_wait_for_a_cpu_that_may_guess_addresses_of_a_region_that_has_ended() {
    let world = World::with_cpus(2);
    let (first, region) = region_on(&world, &[0], 8, 1);
    let base = region.base();
    world.space().leave(&first);
    world.run_on(1);
    drop(region);
    let (_, mut again) = region_on(&world, &[1], 8, 2);
    assert_eq!(again.base(), base);
    world.run_on(0);
    pages(&again, 0, 8).for_each(|page| world.cpu.mmu().speculate(page));
    world.run_on(1);
    let all = again.pages();
    assert_eq!(again.decommit(all).map(|released| released.tables_waiting), Ok(2));
}

#[test]
fn tables_that_wait_are_released_when_frames_are_short() {
    let world = World::with_cpus(2);
    let (account, mut region) = region_on(&world, &[0, 1], 600, 1);
    let all = region.pages();
    let waiting = region.decommit(all).map(|released| released.tables_waiting);
    assert_eq!(waiting, Ok(3));
    world.space().leave(&account);
    // They wait for CPU 0, which needs a frame and two tables now.
    let (other, small) = region_on(&world, &[0], 0, 0);
    world.source.hoard(0);
    world.write(small.base(), 1);
    assert!(!other.is_lost());
    assert_eq!(world.space().usage().waiting_table_frames, 0);
}

#[test]
fn pages_that_were_cleared_elsewhere_in_any_way_read_as_zero() {
    type Clear = fn(&mut TestRegion<'_>);
    let clears: [Clear; 5] = [
        |region| assert_eq!(region.decommit(region.pages()).map(|done| done.frames_released), Ok(8)),
        |region| assert_eq!(region.recommit(region.pages()).map(|done| done.frames_released), Ok(8)),
        |region| assert_eq!(region.zero_in_place(region.pages()), Ok(8)),
        |region| assert_eq!(region.defer(region.pages()), Ok(8)),
        |region| {
            assert_eq!(region.defer(region.pages()), Ok(8));
            assert_eq!(region.reclaim(8).frames_released, 8);
        },
    ];
    for clear in clears {
        let world = World::with_cpus(2);
        let (account, mut region) = region_on(&world, &[0, 1], 8, 1);
        clear(&mut region);
        world.space().leave(&account);
        // It takes the frames that were released.
        let (_, _others) = region_on(&world, &[1], 8, 7);
        world.enter_on(0, &account);
        assert!((0..8).all(|page| world.read(address(&region, page)) == 0));
    }
}

#[test]
fn tables_wait_for_a_cpu_that_has_flushed_before_its_thread_was_moved() {
    let world = World::with_cpus(2);
    let (account, mut region) = region_on(&world, &[0], 8, 1);
    world.space().flush_before_idle();
    world.write_pages(&region, 8, 1);
    world.run_on(1);
    world.space().migrate(&account);
    let all = region.pages();
    assert_eq!(region.decommit(all).map(|released| released.tables_waiting), Ok(2));
}

#[test]
fn an_account_that_has_moved_does_not_write_to_the_sink_of_its_former_cpu() {
    let world = World::with_cpus(2);
    let accounts = [0, 1].map(|_| Arc::new(Account::new(Some(0))));
    world.run_on(0);
    let [first, second] = [0, 1].map(|index| world.region_of(GIB, &accounts[index]));
    world.enter_on(0, &accounts[0]);
    world.write(first.base(), 5);
    world.space().leave(&accounts[0]);
    world.enter_on(1, &accounts[0]);
    world.write(first.base(), 6);
    world.enter_on(0, &accounts[1]);
    world.write(second.base(), 8);
    world.run_on(1);
    world.write(first.base(), 9);
    world.run_on(0);
    assert_eq!(world.read(second.base()), 8);
    assert!(accounts.iter().all(|account| account.is_lost()));
}

/// The second CPU takes the sink of the first one back from the region, and flushes itself alone.
#[test]
fn cpus_that_read_a_lost_region_see_nothing_of_another_one() {
    let world = World::with_cpus(2);
    let accounts = [0, 1].map(|_| Arc::new(Account::new(Some(0))));
    world.run_on(0);
    let [first, second] = [0, 1].map(|index| world.region_of(GIB, &accounts[index]));
    for cpu in [0, 1] {
        world.run_on(cpu);
        world.space().look(&accounts[0]);
        assert_eq!(world.read(first.base()), 0);
    }
    assert!(accounts[0].is_lost());
    world.enter_on(0, &accounts[1]);
    world.write(second.base(), 8);
    world.run_on(1);
    assert_eq!(world.read(first.base()), 0);
    world.run_on(0);
    assert_eq!((world.read(first.base()), world.read(second.base())), (0, 8));
}
