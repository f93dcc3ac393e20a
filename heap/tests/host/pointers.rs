//! Bad pointers and hostile arguments.

use crate::guest::{Guest, INDEX_TYPES, Setup};
use palimpsest_heap::{BadPointer, HeapError, HeapFunction, HeapOptions};

const FUNCTIONS: [(&str, HeapFunction); 3] = [
    ("free", HeapFunction::Free),
    ("realloc", HeapFunction::Realloc),
    ("usable_size", HeapFunction::UsableSize),
];

/// Calls `name` with `pointer`, and returns the error with which it traps.
fn refused(guest: &mut Guest, name: &str, pointer: u64) -> HeapError {
    let arguments = if name == "realloc" { vec![pointer, 64] } else { vec![pointer] };
    let error = guest.call(name, &arguments).unwrap_err();
    *error.downcast_ref().unwrap_or_else(|| panic!("{name}({pointer:#x}): {error}"))
}

#[test]
fn a_double_free_traps_with_its_name() {
    for index in INDEX_TYPES {
        for (name, function) in FUNCTIONS {
            for size in [24, 5000] {
                let mut guest = Guest::new(index, "1 64");
                let (neighbour, pointer) = (guest.get("malloc", &[size]), guest.get("malloc", &[size]));
                guest.free(pointer);
                assert_eq!(refused(&mut guest, name, pointer), HeapError::Freed { function, pointer });
                assert_ne!(guest.get("usable_size", &[neighbour]), 0);
            }
        }
    }
}

#[test]
fn a_pointer_that_the_heap_never_returned_traps_with_its_name() {
    for index in INDEX_TYPES {
        for (name, function) in FUNCTIONS {
            let mut guest = Guest::new(index, "1 64");
            let (small, large) = (guest.get("malloc", &[24]), guest.get("malloc", &[10_000]));
            for pointer in [1, 8, 65_535, small + 8, large + 1, large + 4096, 0xFFFF_FFF0, 0xFFFF_FFFF] {
                assert_eq!(refused(&mut guest, name, pointer), HeapError::Foreign { function, pointer });
            }
            assert_eq!(guest.report().live_blocks, 2, "nothing has changed");
        }
    }
    let mut guest = Guest::new("i64", "1 64");
    for pointer in [1 << 32, u64::MAX, !0xFFF] {
        let function = HeapFunction::Free;
        assert_eq!(refused(&mut guest, "free", pointer), HeapError::Foreign { function, pointer });
    }
}

#[test]
fn the_errors_name_the_function_and_the_pointer() {
    let function = HeapFunction::UsableSize;
    assert_eq!(
        HeapError::Freed { function, pointer: 0x1_0000 }.to_string(),
        "double free: usable_size(0x10000), where no block is live"
    );
    assert_eq!(
        HeapError::Foreign { function, pointer: 1 }.to_string(),
        "bad pointer: usable_size(0x1), which is not the start of a block of the heap"
    );
}

#[test]
fn bad_pointers_can_be_ignored() {
    let mut options = HeapOptions::default();
    options.bad_pointer = BadPointer::Ignore;
    let mut guest = Guest::with(Setup { options, ..Setup::default() }, "i32", "1 64");
    let block = guest.get("malloc", &[5000]);
    let before = guest.report();
    for pointer in [1, block + 16, 0xFFFF_F000] {
        assert_eq!(guest.get("free", &[pointer]), 0);
        assert_eq!((guest.get("realloc", &[pointer, 9]), guest.get("usable_size", &[pointer])), (0, 0));
    }
    assert_eq!(guest.report(), before);
    guest.free(block);
    guest.free(block);
    assert_eq!(guest.report().live_blocks, 0);
}

/// Returns the next number of a xorshift generator, which yields the same numbers on every run.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

fn below(number: u64, len: usize) -> usize {
    usize::try_from(number % len as u64).expect("below a length")
}

/// Returns a number near a live block or near a limit of the heap's arithmetic.
fn hostile(state: &mut u64, live: &[u64]) -> u64 {
    let borders =
        [0, 1 << 12, 1 << 16, 5 << 16, 1 << 31, 1 << 32, 1 << 44, 1 << 52, 1 << 63, u64::MAX, 3840, 128, 16];
    let some = |numbers: &[u64], number: u64| numbers[below(number, numbers.len())];
    let near = match next(state) % 3 {
        0 if !live.is_empty() => some(live, next(state)),
        _ => some(&borders, next(state)),
    };
    near.wrapping_add(next(state) % 5).wrapping_sub(2)
}

#[test]
fn hostile_arguments_neither_panic_nor_damage_the_books() {
    let names = ["malloc", "calloc", "realloc", "aligned_alloc", "free", "usable_size"];
    for (index, limits) in [("i32", "1 8"), ("i64", "1 8"), ("i32", "0 65536"), ("i64", "0")] {
        let mut guest = Guest::new(index, limits);
        let mut state = 0x9e37_79b9_7f4a_7c15;
        let mut live = Vec::new();
        for _ in 0..4_000 {
            let name = names[below(next(&mut state), names.len())];
            let count = if matches!(name, "calloc" | "realloc" | "aligned_alloc") { 2 } else { 1 };
            let arguments: Vec<u64> = (0..count).map(|_| hostile(&mut state, &live)).collect();
            match guest.call(name, &arguments) {
                Ok(block) if !matches!(name, "free" | "usable_size") && block != 0 => live.push(block),
                Ok(_) => {}
                Err(error) => assert!(error.downcast_ref::<HeapError>().is_some(), "{name}: {error}"),
            }
        }
        let end = guest.memory().size_bytes(&guest.store);
        let mut blocks: Vec<(u64, u64)> = Vec::new();
        live.sort_unstable();
        live.dedup();
        for block in live {
            blocks.extend(guest.call("usable_size", &[block]).map(|size| (block, size)));
        }
        assert!(blocks.iter().all(|(block, size)| block + size <= end));
        assert!(blocks.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0));
        assert_eq!(guest.report().live_blocks, blocks.len() as u64);
        blocks.iter().for_each(|(block, _)| guest.free(*block));
        assert_eq!((guest.report().live_blocks, guest.report().live_pages), (0, 0));
    }
}
