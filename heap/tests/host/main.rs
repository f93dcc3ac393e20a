//! The heap functions called by guests, on the `fixed` backing, on a host.

#![expect(clippy::unwrap_used, reason = "a test ends where its expectation fails")]

mod forks;
mod guest;
mod places;
mod pointers;
mod state_bytes;

use crate::guest::{Guest, INDEX_TYPES, Setup, engine, linker, module};
use palimpsest_engine::{Config, Fuel, InstantiateError, Linker, Store};
use palimpsest_heap::{Heap, HeapOptions, add_to_linker};

#[test]
fn blocks_are_aligned_disjoint_and_large_enough() {
    for index in INDEX_TYPES {
        let mut guest = Guest::new(index, "1 64");
        let mut blocks: Vec<(u64, u64)> = Vec::new();
        for size in [0, 1, 8, 9, 16, 100, 1000, 3840, 3841, 4096, 5000, 100_000, 0] {
            let block = guest.get("malloc", &[size]);
            let usable = guest.get("usable_size", &[block]);
            let most =
                if size > 3840 { size.next_multiple_of(4096) } else { size.max(8) + size.max(128) / 8 };
            assert!((size..=most).contains(&usable), "{usable} for {size}");
            assert!(block.is_multiple_of(if size >= 16 { 16 } else { 8 }) && block >= 65_536, "{block:#x}");
            let overlap = blocks.iter().any(|(at, len)| *at < block + usable && block < at + len);
            assert!(!overlap, "{block:#x} with {usable} bytes and {blocks:x?}");
            blocks.push((block, usable));
            guest.fill(block, usable, 0xAA);
        }
        blocks.iter().for_each(|(block, _)| guest.free(*block));
        assert_eq!((guest.report().live_blocks, guest.report().live_pages), (0, 0));
    }
}

#[test]
fn alignments_that_are_not_powers_of_two_are_refused() {
    for index in INDEX_TYPES {
        let mut guest = Guest::new(index, "1 64");
        for alignment in (0..21).map(|log2| 1 << log2) {
            for size in [0, 1, 24, 3000, 70_000] {
                let block = guest.get("aligned_alloc", &[alignment, size]);
                assert!(block != 0 && block.is_multiple_of(alignment), "{block:#x} for {alignment}");
                assert!(guest.get("usable_size", &[block]) >= size);
                guest.free(block);
            }
        }
        for alignment in [0, 3, 24, u64::MAX] {
            assert_eq!(guest.get("aligned_alloc", &[alignment, 64]), 0, "{alignment}");
        }
    }
}

#[test]
fn calloc_reads_zero_where_earlier_blocks_were_written() {
    let mut guest = Guest::new("i32", "1 64");
    // 24 bytes share a page, some blocks of 2304 bytes cross a page boundary, and 9000 bytes are
    // whole pages.
    for size in [24, 2304, 9000] {
        let blocks: Vec<u64> = (0..12).map(|_| guest.get("malloc", &[size])).collect();
        blocks.iter().for_each(|block| guest.fill(*block, size, 0xFF));
        blocks.iter().step_by(2).for_each(|block| guest.free(*block));
        for _ in 0..8 {
            let block = guest.get("calloc", &[size / 8, 8]);
            assert!(guest.bytes(block, size).iter().all(|byte| *byte == 0), "{size}");
        }
        for block in blocks.iter().skip(1).step_by(2) {
            assert!(guest.bytes(*block, size).iter().all(|byte| *byte == 0xFF), "{size}");
        }
    }
}

#[test]
fn calloc_refuses_products_that_overflow() {
    for (index, half) in [("i32", 1 << 16), ("i64", 1 << 32)] {
        let mut guest = Guest::new(index, "1 64");
        assert_eq!(guest.get("calloc", &[half, half]), 0);
        assert_eq!(guest.get("calloc", &[half, half - 1]), 0);
        assert_ne!(guest.get("calloc", &[0, half]), 0);
    }
}

#[test]
fn realloc_keeps_the_bytes_that_both_sizes_have() {
    // From each size to the next: within a class, between classes, to whole pages and back.
    let sizes = [
        1, 8, 20, 30, 3000, 3840, 4000, 9000, 70_000, 300_000, 2_500_000, 3_500_000, 90_000, 600, 90_000,
        4096, 600, 5,
    ];
    let mut guest = Guest::new("i32", "1 200");
    let mut block = guest.get("realloc", &[0, sizes[0]]);
    guest.pattern(block, 0, sizes[0]);
    for pair in sizes.windows(2) {
        block = guest.get("realloc", &[block, pair[1]]);
        assert_ne!(block, 0, "{pair:?}");
        guest.expect_pattern(block, pair[0].min(pair[1]));
        guest.pattern(block, pair[0].min(pair[1]), pair[1]);
    }
    assert_eq!((guest.report().live_blocks, guest.report().live_pages), (1, 1));
}

#[test]
fn a_long_block_that_must_move_arrives_whole() {
    const BYTES: u64 = (3 << 20) + 5000;
    let mut guest = Guest::new("i32", "1 200");
    let block = guest.get("malloc", &[BYTES]);
    let next = guest.get("malloc", &[4096]);
    guest.pattern(block, 0, BYTES);
    let moved = guest.get("realloc", &[block, BYTES + 4096]);
    assert!(moved > next, "the page after the block is taken");
    guest.expect_pattern(moved, BYTES);
    assert_eq!(guest.report().live_pages, BYTES.div_ceil(4096) + 2);
    assert_eq!(guest.get("malloc", &[BYTES]), block, "its addresses are free");
}

#[test]
fn zeros_that_move_replace_stale_bytes() {
    let mut guest = Guest::new("i32", "1 64");
    let (used, kept) = (guest.get("malloc", &[200]), guest.get("malloc", &[200]));
    guest.fill(used, 200, 0xFF);
    guest.fill(kept, 200, 0xFF);
    guest.free(used);
    let zeros = guest.get("calloc", &[1, 100]);
    let moved = guest.get("realloc", &[zeros, 200]);
    assert_eq!(moved, used, "the slot is used again");
    assert!(guest.bytes(moved, 100).iter().all(|byte| *byte == 0));
}

#[test]
fn empty_pages_are_released_after_the_configured_number_of_calls() {
    let mut options = HeapOptions::default();
    options.idle_operations = 3;
    let mut guest = Guest::with(Setup { options, ..Setup::default() }, "i32", "1 64");
    let block = guest.get("malloc", &[100]);
    guest.free(block);
    let idle = [(); 4].map(|()| {
        guest.get("usable_size", &[0]);
        guest.report().idle_pages
    });
    assert_eq!(idle, [1, 1, 0, 0]);
}

#[test]
fn realloc_stays_in_place_if_the_pages_after_the_block_are_free() {
    let mut guest = Guest::new("i32", "1 64");
    let first = guest.get("malloc", &[8192]);
    let second = guest.get("malloc", &[8192]);
    assert_eq!(guest.get("realloc", &[second, 100_000]), second, "the memory grows");
    assert_eq!(guest.get("realloc", &[second, 8192]), second);
    assert_eq!(guest.report().live_pages, 4, "the tail is released");
    guest.free(second);
    assert_eq!(guest.get("realloc", &[first, 50_000]), first);
    assert_eq!(guest.get("usable_size", &[first]), 53_248);
    assert_eq!(guest.get("realloc", &[first, 4096]), first);
    assert_eq!(guest.report().live_pages, 1);
}

#[test]
fn null_pointers_and_sizes_of_0_are_accepted() {
    let mut guest = Guest::new("i32", "1 64");
    assert_eq!((guest.get("free", &[0]), guest.get("usable_size", &[0])), (0, 0));
    let (first, second) = (guest.get("malloc", &[0]), guest.get("realloc", &[0, 0]));
    assert!(first != 0 && second != 0 && first != second);
    let large = guest.get("malloc", &[100_000]);
    let least = guest.get("realloc", &[large, 0]);
    assert_eq!(guest.get("usable_size", &[least]), 8);
    [first, second, least].into_iter().for_each(|block| guest.free(block));
    assert_eq!(guest.report().live_blocks, 0);
}

#[test]
fn a_full_heap_returns_0_and_reuses_freed_room() {
    for index in INDEX_TYPES {
        // 4 Wasm pages are 64 pages, of which the first 16 do not belong to the heap.
        let mut guest = Guest::new(index, "1 4");
        assert_eq!(guest.get("malloc", &[3 * 65_536 + 1]), 0);
        let all = guest.get("malloc", &[3 * 65_536]);
        assert_eq!(all, 65_536);
        assert_eq!(
            (guest.get("malloc", &[1]), guest.get("calloc", &[1, 1]), guest.get("aligned_alloc", &[8, 8])),
            (0, 0, 0)
        );
        assert_eq!(guest.get("realloc", &[all, 3 * 65_536 + 1]), 0);
        assert_eq!(guest.get("realloc", &[all, 4096]), all);
        assert_eq!(guest.get("malloc", &[3 * 65_536 - 4096]), all + 4096);
        guest.free(all);
        assert_eq!(guest.get("malloc", &[1]), all);
    }
}

#[test]
fn idle_pages_are_released_when_the_heap_is_full() {
    let mut guest = Guest::new("i32", "1 2");
    let small: Vec<u64> = (0..15).map(|_| guest.get("malloc", &[2304])).collect();
    small.iter().for_each(|block| guest.free(*block));
    assert_eq!((guest.report().idle_pages, guest.report().slabs), (9, 1));
    assert_eq!(guest.get("malloc", &[65_536]), 65_536);
    assert_eq!((guest.report().idle_pages, guest.report().slabs), (0, 0));
}

#[test]
fn the_limit_of_entries_is_enforced() {
    let mut options = HeapOptions::default();
    options.entries = 8;
    let mut guest = Guest::with(Setup { options, ..Setup::default() }, "i32", "1 64");
    // Each large block is an entry, and so is the free run after the last one.
    let blocks: Vec<u64> = (0..20).map(|_| guest.get("malloc", &[4096])).collect();
    let made = blocks.iter().filter(|block| **block != 0).count();
    assert_eq!(made, 7);
    assert_eq!(guest.get("malloc", &[1]), 0, "a slab is an entry as well");
    guest.free(blocks[0]);
    guest.free(blocks[1]);
    assert_ne!(guest.get("malloc", &[1]), 0);
    assert_ne!(guest.get("malloc", &[1]), 0, "a slot in an existing slab is not");
}

/// The fuel for zeroing or copying a page: a unit for 64 bytes.
const PAGE_UNITS: u64 = 4096 / 64;

#[test]
fn a_call_costs_fuel_for_what_it_works_on() {
    let config = Config::default().fuel(Fuel::Metered);
    let mut guest = Guest::with(Setup { config, ..Setup::default() }, "i32", "1 64");
    let mut cost = |name: &str, arguments: &[u64]| {
        guest.store.set_fuel(100_000).unwrap();
        let result = guest.get(name, arguments);
        (result, 100_000 - guest.store.get_fuel().unwrap())
    };
    let (_, own) = cost("malloc", &[100]);
    let (small, again) = cost("malloc", &[100]);
    let (large, of_large) = cost("malloc", &[64 * 4096]);
    assert_eq!((again, of_large), (own, own), "allocating touches nothing");
    assert_eq!(cost("free", &[small]).1, own);
    // The backing of these tests zeroes the pages that are released.
    assert_eq!(cost("free", &[large]).1, own + 64 * PAGE_UNITS);
    let (fresh, of_fresh) = cost("calloc", &[64, 4096]);
    assert_eq!(cost("calloc", &[100, 1]).1, of_fresh + 2, "it zeroes 104 bytes that were used");
    let (_, of_shrinking) = cost("realloc", &[fresh, 4 * 4096]);
    assert_eq!(of_shrinking, of_fresh + 60 * PAGE_UNITS);
    cost("malloc", &[4096]);
    assert_eq!(
        cost("realloc", &[fresh, 64 * 4096]).1,
        of_fresh + 2 * 4 * PAGE_UNITS,
        "four pages move and are zeroed"
    );
}

#[test]
fn a_long_block_moves_in_turns_that_exceed_their_slice_by_a_chunk_at_most() {
    const CHUNK_FUEL: u64 = 65_536 / 64;
    const OLD: u64 = 1_234_567;
    for (index, fuel) in [("i32", 1), ("i64", 300), ("i32", 5_000), ("i64", u64::MAX / 2)] {
        let config = Config::default().fuel(Fuel::Metered);
        let mut guest = Guest::with(Setup { config, ..Setup::default() }, index, "1 128");
        guest.store.set_fuel(100_000).unwrap();
        let block = guest.get("malloc", &[OLD]);
        guest.get("malloc", &[4096]);
        guest.pattern(block, 0, OLD);
        let (moved, turns) = guest.sliced("realloc", &[block, 2 * OLD], fuel);
        assert_ne!(moved, block, "there was no room after the block");
        guest.expect_pattern(moved, OLD);
        let longest = turns.iter().max().copied().unwrap_or_default();
        // A chunk is copied, and zeroed where it was.
        let most = fuel.saturating_add(2 * CHUNK_FUEL + 32);
        assert!(longest <= most, "{longest} units in a turn of {fuel}");
        let used: u64 = turns.iter().sum();
        // The last chunk of a turn may cost more than is left, which is then all that it costs.
        assert!(used > OLD / 64 * 3 / 4 || fuel < CHUNK_FUEL, "{used} units");
        let chunks = usize::try_from(OLD / 65_536).unwrap();
        assert!(turns.len() >= chunks || fuel > CHUNK_FUEL, "{} turns", turns.len());
        let report = guest.report();
        assert_eq!((report.live_blocks, report.live_bytes), (2, (2 * OLD).next_multiple_of(4096) + 4096));
    }
}

/// Returns a metered guest with a large block and a block after it, and the address of the first.
fn with_large_block(index: &'static str, bytes: u64) -> (Guest, u64) {
    let config = Config::default().fuel(Fuel::Metered);
    let mut guest = Guest::with(Setup { config, ..Setup::default() }, index, "1 128");
    guest.store.set_fuel(100_000).unwrap();
    let block = guest.get("malloc", &[bytes]);
    guest.get("malloc", &[4096]);
    guest.fill(block, bytes, 0xAA);
    (guest, block)
}

#[test]
fn a_large_block_is_freed_in_turns() {
    const BYTES: u64 = 5 << 20;
    const PIECE_UNITS: u64 = 256 * PAGE_UNITS;
    for (index, fuel) in [("i32", 64), ("i64", 20_000), ("i32", 1_000_000)] {
        let (mut guest, block) = with_large_block(index, BYTES);
        let (_, turns) = guest.sliced("free", &[block], fuel);
        assert!(guest.bytes(block, BYTES).iter().all(|byte| *byte == 0));
        assert_eq!(guest.report().live_blocks, 1);
        let used: u64 = turns.iter().sum();
        assert!((BYTES / 64..BYTES / 64 + 40).contains(&used), "{used} units");
        assert!(turns.iter().all(|units| *units <= fuel + PIECE_UNITS + 16), "{turns:?} in slices of {fuel}");
        assert!(turns.len() >= 4 || fuel == 1_000_000, "{} turns", turns.len());
    }
}

#[test]
fn a_large_block_is_shortened_in_turns() {
    const BYTES: u64 = 5 << 20;
    for (new, is_moved) in [(70_000, false), (100, true)] {
        let (mut guest, block) = with_large_block("i32", BYTES);
        let (found, turns) = guest.sliced("realloc", &[block, new], 100);
        assert_eq!(found != block, is_moved);
        assert!(turns.len() > 10, "{} turns", turns.len());
        assert!(guest.bytes(found, new).iter().all(|byte| *byte == 0xAA));
        let rest = if is_moved { block } else { block + 69_632 + 4096 };
        assert!(guest.bytes(rest, BYTES - 73_728).iter().all(|byte| *byte == 0));
    }
}

#[test]
fn a_guest_that_is_killed_while_a_block_is_freed_leaves_books_that_are_balanced() {
    const BYTES: u64 = 5 << 20;
    let (mut guest, block) = with_large_block("i32", BYTES);
    guest.kill_after("free", &[block], 600);
    assert!(guest.bytes(block, BYTES).iter().any(|byte| *byte != 0), "it was not over");
    guest.store.set_fuel(100_000).unwrap();
    assert_eq!(guest.get("calloc", &[BYTES, 1]), block);
    assert!(guest.bytes(block, BYTES).iter().all(|byte| *byte == 0));
    assert_eq!(guest.report().live_blocks, 2);
}

#[test]
fn pages_that_the_guest_has_written_to_are_adopted_in_turns() {
    const DIRTY: u64 = 100 << 16;
    let config = Config::default().fuel(Fuel::Metered);
    let extra = r#"(global (export "__heap_base") i32 (i32.const 65536))"#;
    let mut guest = Guest::with(Setup { config, extra, ..Setup::default() }, "i32", "100 128");
    guest.fill(0, DIRTY, 0xAA);
    let (block, turns) = guest.sliced("calloc", &[1, 3 << 20], 200);
    assert_eq!(block, 65_536);
    assert!(turns.len() > 5, "{} turns", turns.len());
    assert!(guest.bytes(0, 65_536).iter().all(|byte| *byte == 0xAA));
    assert!(guest.bytes(65_536, DIRTY - 65_536).iter().all(|byte| *byte == 0));
    guest.store.set_fuel(100_000).unwrap();
    guest.free(block);
    assert_eq!(guest.report().live_blocks, 0);
}

#[test]
fn a_call_costs_a_unit_of_fuel_in_addition_to_its_instructions() {
    let engine = engine(Config::default().fuel(Fuel::Metered));
    let wat = r#"(module
        (import "palimpsest" "usable_size" (func $usable_size (param i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "run") (result i32) (call $usable_size (i32.const 0))))"#;
    let module = module(&engine, wat);
    let mut free_of_charge = Linker::new();
    free_of_charge.func_wrap("palimpsest", "usable_size", |_: u32| 0).unwrap();
    let costs = [linker("i32"), free_of_charge].map(|linker| {
        let mut store = Store::new(&engine, Heap::default());
        store.set_fuel(100_000).unwrap();
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let before = store.get_fuel().unwrap();
        let run = instance.get_typed_func::<(), u32>(&store, "run").unwrap();
        assert_eq!(run.call(&mut store, ()).unwrap(), 0);
        before - store.get_fuel().unwrap()
    });
    assert_eq!(costs[0], costs[1] + 1);
}

#[test]
fn imports_of_another_type_are_refused() {
    let engine = engine(Config::default());
    for (index, wat) in [
        ("i32", r#"(module (import "palimpsest" "malloc" (func (param i64) (result i64))) (memory 1))"#),
        ("i32", r#"(module (import "palimpsest" "free" (func (param i32) (result i32))) (memory 1))"#),
        ("i64", r#"(module (import "palimpsest" "realloc" (func (param i32 i32) (result i32))) (memory 1))"#),
    ] {
        let store = Store::new(&engine, Heap::default());
        let error = linker(index).instantiate(store, &module(&engine, wat)).unwrap_err();
        assert!(matches!(error, InstantiateError::ImportType { .. }), "{error}");
    }
}

#[test]
fn the_functions_are_defined_once() {
    let mut linker = linker("i32");
    let error = add_to_linker(&mut linker, |heap| heap).unwrap_err();
    assert_eq!((error.module.as_str(), error.name.as_str()), ("palimpsest", "malloc"));
}
