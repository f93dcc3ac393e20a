//! Forks of a store: their heaps continue with the blocks of the snapshot.

use crate::guest::{Guest, INDEX_TYPES};
use palimpsest_heap::HeapReport;

#[test]
fn a_fork_has_the_blocks_of_its_parent_at_the_same_addresses() {
    for index in INDEX_TYPES {
        let mut parent = Guest::new(index, "1 64");
        let [small, large, freed] = [100, 90_000, 5000].map(|size| parent.get("malloc", &[size]));
        parent.pattern(small, 0, 100);
        parent.free(freed);
        let report = parent.report();
        let mut fork = parent.fork();
        assert_eq!(fork.report(), report, "nothing was called");
        fork.expect_pattern(small, 100);
        assert_eq!(fork.get("usable_size", &[large]), 90_112);
        assert_eq!(fork.report(), report);
        let next = fork.get("malloc", &[100]);
        assert!(next != small && !(large..large + 90_112).contains(&next), "{next:#x} is in use");
        fork.free(small);
        fork.free(large);
        fork.free(next);
        assert_eq!((fork.report().live_blocks, fork.report().live_pages), (0, 0));
        assert!(fork.call("free", &[freed]).is_err(), "the parent has freed it");
        assert_eq!(parent.report(), report);
    }
}

#[test]
fn parent_and_forks_allocate_independently() {
    let mut parent = Guest::new("i32", "1 64");
    let block = parent.get("malloc", &[20_000]);
    let mut forks = [parent.fork(), parent.fork()];
    let own: Vec<_> = forks.iter_mut().map(|fork| fork.get("malloc", &[3000])).collect();
    assert_eq!(own[0], own[1], "both have the same books");
    parent.free(block);
    assert_eq!(parent.get("malloc", &[20_000]), block);
    assert_eq!(forks[0].get("usable_size", &[block]), 20_480);
    forks[0].free(own[0]);
    assert_eq!(forks[1].get("usable_size", &[own[1]]), 3072);
}

#[test]
fn a_fork_can_be_forked_before_and_after_its_first_call() {
    let mut parent = Guest::new("i32", "1 64");
    let block = parent.get("malloc", &[8]);
    let mut child = parent.fork();
    let mut before = child.fork();
    let second = child.get("malloc", &[8]);
    let mut after = child.fork();
    assert_eq!(before.report().live_blocks, 1);
    assert_eq!(after.report().live_blocks, 2);
    assert_eq!(before.get("malloc", &[8]), second);
    after.free(block);
    after.free(second);
    before.free(block);
    assert_eq!((after.report().live_blocks, before.report().live_blocks), (0, 1));
}

#[test]
fn a_heap_that_was_not_used_is_made_by_the_first_call_of_the_fork() {
    let mut fork = Guest::new("i32", "2 64").fork();
    assert_eq!(fork.report(), HeapReport::default());
    assert_eq!(fork.get("malloc", &[16]), 2 << 16);
}
