//! The host heap through its imports, on the fixed backing: what C promises, and what a guest can do wrong.

mod guest;
mod places;
mod pointers;

use self::guest::{Guest, INDEX_TYPES};
use crate::support::{engine, engine_with, module};
use palimpsest_engine::{Config, Fuel, HeapOptions, InstantiateError, Limits, Linker, Store};

#[test]
fn blocks_are_aligned_distinct_and_as_large_as_asked_for() {
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
fn alignments_are_powers_of_two_or_refused() {
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
fn calloc_reads_zero_where_others_have_written() {
    let mut guest = Guest::new("i32", "1 64");
    // Small ones share pages, 2304 bytes reach over the end of one, and 9000 bytes were given back as a whole.
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
fn realloc_keeps_what_both_sizes_have() {
    // Each size with the next: within a class, between classes, to pages and back.
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
fn a_long_block_that_has_to_move_arrives_whole() {
    const BYTES: u64 = (3 << 20) + 5000;
    let mut guest = Guest::new("i32", "1 200");
    let (block, behind) = (guest.get("malloc", &[BYTES]), guest.get("malloc", &[4096]));
    guest.pattern(block, 0, BYTES);
    let moved = guest.get("realloc", &[block, BYTES + 4096]);
    assert!(moved > behind, "the page behind is taken");
    guest.expect_pattern(moved, BYTES);
    assert_eq!(guest.report().live_pages, BYTES.div_ceil(4096) + 2);
    assert_eq!(guest.get("malloc", &[BYTES]), block, "its addresses are free");
}

#[test]
fn zeros_that_move_replace_what_was_there() {
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
fn empty_pages_go_after_as_many_calls_as_the_options_say() {
    let mut options = HeapOptions::default();
    options.idle_operations = 3;
    let mut guest = Guest::with_config(Config::default().heap(options), "i32", "1 64", "");
    let block = guest.get("malloc", &[100]);
    guest.free(block);
    let idle = [(); 4].map(|()| {
        guest.get("usable_size", &[0]);
        guest.report().idle_pages
    });
    assert_eq!(idle, [1, 1, 0, 0]);
}

#[test]
fn realloc_stays_in_place_where_the_pages_behind_are_free() {
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
fn null_pointers_and_sizes_of_0_are_fine() {
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
fn what_does_not_fit_is_0_and_room_that_comes_back_is_used() {
    for index in INDEX_TYPES {
        // 4 Wasm pages: 64 pages, 16 of which are not the heap's.
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
fn pages_that_are_kept_for_later_make_room_when_they_are_needed() {
    let mut guest = Guest::new("i32", "1 2");
    let small: Vec<u64> = (0..15).map(|_| guest.get("malloc", &[2304])).collect();
    small.iter().for_each(|block| guest.free(*block));
    assert_eq!((guest.report().idle_pages, guest.report().slabs), (9, 1));
    assert_eq!(guest.get("malloc", &[65_536]), 65_536);
    assert_eq!((guest.report().idle_pages, guest.report().slabs), (0, 0));
}

#[test]
fn the_limit_of_entries_ends_in_0_and_not_in_a_full_kernel() {
    let mut limits = Limits::default();
    limits.heap_entries = 8;
    let mut guest = Guest::with_config(Config::default().limits(limits), "i32", "1 64", "");
    // Each large block is an entry, and so is the free range behind the last one.
    let blocks: Vec<u64> = (0..20).map(|_| guest.get("malloc", &[4096])).collect();
    let made = blocks.iter().filter(|block| **block != 0).count();
    assert_eq!(made, 7);
    assert_eq!(guest.get("malloc", &[1]), 0, "a slab is an entry, too");
    guest.free(blocks[0]);
    guest.free(blocks[1]);
    assert_ne!(guest.get("malloc", &[1]), 0);
    assert_ne!(guest.get("malloc", &[1]), 0, "and a slot is none");
}

#[test]
fn calls_cost_fuel_by_the_pages_they_work_on() {
    let mut guest = Guest::with_config(Config::default().fuel(Fuel::Metered), "i32", "1 64", "");
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
    assert_eq!(cost("free", &[large]).1, own + 64);
    let (fresh, of_fresh) = cost("calloc", &[64, 4096]);
    assert_eq!(cost("calloc", &[100, 1]).1, of_fresh + 1, "it zeroes a part of a page that was used");
    let (_, of_shrinking) = cost("realloc", &[fresh, 4 * 4096]);
    assert_eq!(of_shrinking, of_fresh + 60);
    cost("malloc", &[4096]);
    assert_eq!(cost("realloc", &[fresh, 64 * 4096]).1, of_fresh + 4 + 4, "four pages move");
}

#[test]
fn a_call_costs_a_unit_of_fuel_beside_its_instructions() {
    let engine = guest::engine(Config::default().fuel(Fuel::Metered));
    let module = module(&engine, &guest::text("i32", "1 64", ""));
    let mut own_definition = Linker::new();
    own_definition.func_wrap("palimpsest", "usable_size", |_: u32| 0).unwrap();
    let costs = [Linker::new(), own_definition].map(|linker| {
        let mut store = Store::new(&engine, ());
        store.set_fuel(100_000).unwrap();
        let instance = linker.instantiate(&mut store, &module).unwrap();
        let before = store.get_fuel().unwrap();
        let usable_size = instance.get_typed_func::<u32, u32>(&store, "usable_size").unwrap();
        assert_eq!(usable_size.call(&mut store, 0).unwrap(), 0);
        before - store.get_fuel().unwrap()
    });
    assert_eq!(costs[0], costs[1] + 1);
}

#[test]
fn imports_of_another_type_are_refused() {
    let engine = engine();
    for wat in [
        r#"(module (import "palimpsest" "malloc" (func (param i64) (result i64))) (memory 1))"#,
        r#"(module (import "palimpsest" "free" (func (param i32) (result i32))) (memory 1))"#,
        r#"(module (import "palimpsest" "realloc" (func (param i32 i32) (result i32))) (memory i64 1))"#,
    ] {
        let error = Linker::new().instantiate(Store::new(&engine, ()), &module(&engine, wat)).unwrap_err();
        assert!(matches!(error, InstantiateError::ImportType { .. }), "{error}");
    }
    let wat = r#"(module (import "palimpsest" "malloc" (func (param i32) (result i32))))"#;
    let error = Linker::new().instantiate(Store::new(&engine, ()), &module(&engine, wat)).unwrap_err();
    assert!(matches!(error, InstantiateError::NoMemory { .. }), "{error}");
}

#[test]
fn the_embedders_own_definition_comes_first() {
    let (engine, _) = engine_with(Config::default());
    let guest = module(
        &engine,
        r#"(module (import "palimpsest" "malloc" (func $malloc (param i32) (result i32))) (memory 1)
            (func (export "malloc") (param i32) (result i32) (call $malloc (local.get 0))))"#,
    );
    let mut linker = Linker::new();
    linker.func_wrap("palimpsest", "malloc", |size: u32| size + 1).unwrap();
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &guest).unwrap();
    let malloc = instance.get_typed_func::<u32, u32>(&store, "malloc").unwrap();
    assert_eq!(malloc.call(&mut store, 41).unwrap(), 42);
}
