//! The start and the end of regions and spaces.

use palimpsest_paging::x86_64::structures::paging::PageTableFlags;
use palimpsest_paging::x86_64::{PhysAddr, VirtAddr};
use palimpsest_paging::{AddressSpace, FromFns, Layout, ReserveError, Shortage, SpaceError};

use crate::world::{
    GIB, KIB, MIB, Machine, Memory, Mmu, PAGE, Source, TIB, WINDOW_START, World, account, address,
};

#[test]
fn the_drop_of_a_region_releases_everything() {
    let world = World::new();
    let start = (world.source.allocated(), world.space().usage());
    for bytes in [PAGE, 64 * KIB, MIB, 2 * MIB, 600 * MIB, GIB, 4 * GIB, TIB] {
        let account = account();
        let region = world.region_of(bytes, &account);
        let last = bytes / PAGE - 1;
        for page in (0..100).map(|step| step * last / 100) {
            world.write(address(&region, page), 1);
            assert_eq!(world.read(address(&region, (page + 3) % (last + 1))) & !1, 0);
        }
        drop(region);
        assert_eq!((world.source.allocated(), world.space().usage()), start, "{bytes} bytes");
        assert_eq!(account.held_frames(), 0);
    }
}

#[test]
fn reserving_takes_no_frame_for_any_size() {
    let world = World::new();
    let cost = |bytes| {
        let before = world.source.allocations();
        drop(world.space().reserve(bytes, &account()).expect("the world has room"));
        world.source.allocations() - before
    };
    assert_eq!((cost(GIB), cost(4 * GIB), cost(TIB)), (0, 0, 0));
}

#[test]
fn a_reserve_that_fails_leaves_nothing() {
    // The number of tables that the region shares with its neighbours.
    let cases = [(PAGE, 2), (64 * KIB, 2), (2 * MIB, 1), (512 * MIB, 1), (GIB, 0), (4 * GIB, 0)];
    for (bytes, shared_tables) in cases {
        let world = World::new();
        let start = (world.source.allocated(), world.space().usage());
        let mut failures = 0;
        loop {
            world.source.allow(Some(failures));
            let account = account();
            let reserved = world.space().reserve(bytes, &account).map(drop);
            assert_eq!((world.source.allocated(), world.space().usage()), start, "{bytes} bytes");
            assert_eq!(account.held_frames(), 0);
            match reserved {
                Ok(()) => break,
                Err(error) => assert_eq!(error, ReserveError::OutOfFrames(Shortage::SourceEmpty)),
            }
            failures += 1;
        }
        assert_eq!(failures, shared_tables, "{bytes} bytes");
        world.source.allow(None);
        assert_eq!(world.region(bytes).base(), VirtAddr::new(WINDOW_START), "the addresses are free again");
    }
}

#[test]
fn addresses_are_reused() {
    let world = World::with(4 * GIB, 4096);
    let first = world.region(4 * GIB).base();
    let full = world.region(4 * GIB);
    assert_eq!(full.base(), first);
    let error = world.space().reserve(PAGE, &account()).map(drop);
    let none_free = ReserveError::NoAddresses { requested_bytes: PAGE, free_bytes: 0, largest_bytes: 0 };
    assert_eq!(error, Err(none_free));
    drop(full);
    let small: Vec<_> = (0..64).map(|_| world.region(64 * MIB)).collect();
    let error = world.space().reserve(PAGE, &account()).map(drop);
    assert_eq!(error, Err(none_free));
    drop(small);
    assert_eq!(world.region(4 * GIB).base(), first, "the pieces are one block again");
}

#[test]
fn a_full_window_reports_what_is_free() {
    let world = World::with(4 * GIB, 4096);
    let mut regions: Vec<_> = (0..4).map(|_| world.region(GIB)).collect();
    drop(regions.remove(2));
    drop(regions.remove(0));
    let error = world.space().reserve(GIB + 1, &account()).map(drop);
    let (requested_bytes, free_bytes, largest_bytes) = (GIB + 1, 2 * GIB, GIB);
    assert_eq!(error, Err(ReserveError::NoAddresses { requested_bytes, free_bytes, largest_bytes }));
    assert_eq!(world.space().reserve(GIB, &account()).map(drop), Ok(()));
}

#[test]
fn bad_sizes_are_named_errors() {
    let world = World::with(3 * GIB, 1024);
    let reserve = |bytes| world.space().reserve(bytes, &account()).map(drop);
    assert_eq!(reserve(0), Err(ReserveError::Empty));
    let largest_bytes = 2 * GIB;
    for requested_bytes in [2 * GIB + 1, 3 * GIB, u64::MAX] {
        assert_eq!(reserve(requested_bytes), Err(ReserveError::TooLarge { requested_bytes, largest_bytes }));
    }
    assert_eq!(reserve(2 * GIB), Ok(()));
}

#[test]
fn regions_do_not_overlap_and_are_aligned_to_their_size() {
    let world = World::new();
    let sizes = [PAGE, 3 * MIB, 64 * KIB, GIB, PAGE, 700 * MIB, 5 * GIB, 2 * MIB];
    let mut regions: Vec<_> = sizes.map(|bytes| world.region(bytes)).into_iter().collect();
    regions.sort_by_key(|region| region.base());
    for pair in regions.windows(2) {
        assert!(pair[0].pages().end <= pair[1].pages().start);
    }
    for region in &regions {
        assert!(region.base().is_aligned(region.capacity_bytes().next_power_of_two()));
    }
    assert_eq!(world.space().usage().regions, 8);
    assert_eq!(world.space().usage().reserved_bytes, sizes.iter().sum::<u64>());
}

#[test]
fn a_space_that_cannot_be_made_leaves_nothing() {
    let window = VirtAddr::new(WINDOW_START)..VirtAddr::new(WINDOW_START + 2 * TIB);
    let memory = Memory::new(64);
    let (root, source) = Source::new(memory);
    let mmu: &'static Mmu = Box::leak(Box::new(Mmu::new(memory, root)));
    source.watch(mmu);
    let make = || {
        let layout = Layout { window: window.clone(), physical_offset: memory.offset(), root };
        // SAFETY: the memory is leaked and mapped at its offset; the MMU is the only CPU.
        unsafe { AddressSpace::new(layout, Machine { frames: source, mmu }) }.map(drop)
    };
    for given_frames in 0..10 {
        source.allow(Some(given_frames));
        let window_bytes = 2 * TIB;
        assert_eq!(make(), Err(SpaceError::OutOfFrames { window_bytes, needed_frames: 10, given_frames }));
        assert_eq!((source.allocated(), mmu.root_is_empty()), (0, true));
    }
    source.allow(None);
    assert_eq!(make(), Ok(()));
    assert_eq!((source.allocated(), mmu.root_is_empty()), (0, true));

    let wrong = Layout { window: window.clone(), physical_offset: VirtAddr::new(GIB), root };
    // SAFETY: the space refuses the offset before it accesses anything.
    let refused = unsafe { AddressSpace::new(wrong, Machine { frames: source, mmu }) }.map(drop);
    let (frame, physical_offset) = (root.start_address(), VirtAddr::new(GIB));
    assert_eq!(refused, Err(SpaceError::Unmapped { frame, physical_offset }));
    // SAFETY: the space refuses the frame before it accesses it.
    let beyond = unsafe { FromFns::new(|| Some(64 * PAGE), |_| ()) };
    let layout = Layout { window: window.clone(), physical_offset: memory.offset(), root };
    // SAFETY: as above.
    let refused = unsafe { AddressSpace::new(layout, Machine { frames: beyond, mmu }) }.map(drop);
    let (frame, physical_offset) = (PhysAddr::new(64 * PAGE), memory.offset());
    assert_eq!(refused, Err(SpaceError::Unmapped { frame, physical_offset }));
    assert_eq!((source.allocated(), mmu.root_is_empty()), (0, true));

    let index = window.start.p4_index();
    mmu.set_root_entry(index, PageTableFlags::PRESENT);
    assert_eq!(make(), Err(SpaceError::InUse { index }));
    assert_eq!(source.allocated(), 0);
}
