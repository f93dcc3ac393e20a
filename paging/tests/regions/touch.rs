//! What a touch commits, and what it reads.

use palimpsest_paging::Residency;

use crate::world::{GIB, MIB, PAGE, World, account, address};

#[test]
fn touched_page_commits_that_page_only() {
    let world = World::new();
    let region = world.region(4 * GIB);
    let last = region.capacity_bytes() / PAGE - 1;
    for (before, page) in (0_u64..).zip([0, last, last / 2]) {
        world.write(address(&region, page) + 123, 7);
        assert_eq!(region.residency().resident_frames, before + 1);
        let neighbours = [page.checked_sub(1), Some(page + 1).filter(|next| *next <= last)];
        for neighbour in neighbours.into_iter().flatten() {
            assert_eq!(world.cpu.peek(address(&region, neighbour)), None, "page {neighbour} is there too");
        }
    }
}

#[test]
fn a_new_region_holds_nothing() {
    let world = World::new();
    for bytes in [PAGE, MIB, 2 * MIB, 512 * MIB, GIB, 4 * GIB] {
        let account = account();
        let region = world.region_of(bytes, &account);
        assert_eq!(region.residency(), Residency::default(), "{bytes} bytes");
        assert_eq!(account.held_frames(), 0);
    }
}

#[test]
fn an_untouched_page_reads_zero_and_takes_no_data_frame() {
    let world = World::new();
    let account = account();
    let region = world.region_of(4 * GIB, &account);
    let held = account.held_frames();
    for page in 0..1000 {
        assert_eq!(world.read(address(&region, page * 1001) + page), 0);
    }
    let residency = region.residency();
    assert_eq!((residency.resident_frames, residency.faults), (0, 1000));
    assert_eq!(account.held_frames(), held + residency.table_frames, "reads cost tables only");
}

#[test]
fn the_first_write_to_a_page_that_was_read_gives_it_a_frame_of_zeros() {
    let world = World::new();
    let region = world.region(4 * GIB);
    let (read_before, other) = (address(&region, 5), address(&region, 6));
    assert_eq!((world.read(read_before), world.read(other)), (0, 0));
    world.write(read_before + 100, 9);
    assert_eq!(region.residency().resident_frames, 1);
    assert_eq!((world.read(read_before + 100), world.read(read_before + 101)), (9, 0));
    assert_eq!(world.read(other + 100), 0, "the zero frame is still zero");
}

#[test]
fn what_is_written_is_kept() {
    let world = World::new();
    let region = world.region(16 * MIB);
    for page in 0..4096 {
        world.write(address(&region, page) + page, page.to_le_bytes()[0]);
    }
    for page in 0..4096 {
        assert_eq!(world.read(address(&region, page) + page), page.to_le_bytes()[0]);
        assert_eq!(world.read(address(&region, page) + (page + 1) % PAGE), 0);
    }
    let residency = region.residency();
    assert_eq!((residency.resident_frames, residency.table_frames), (4096, 8));
}

#[test]
fn the_account_is_charged_for_data_and_own_tables() {
    let world = World::new();
    let account = account();
    let region = world.region_of(4 * GIB, &account);
    let allocated = world.source.allocated();
    world.write(address(&region, 0), 1);
    world.write(address(&region, 1), 1);
    world.write(address(&region, 512), 1);
    let residency = region.residency();
    assert_eq!((residency.resident_frames, residency.table_frames), (3, 1 + 2));
    assert_eq!(world.source.allocated() - allocated, 6);
    assert_eq!(account.held_frames(), 6);
    drop(region);
    assert_eq!((account.held_frames(), account.peak_frames()), (0, 6));
}
