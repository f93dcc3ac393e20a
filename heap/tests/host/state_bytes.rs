//! Recorded books as bytes: what is read is what was written, and damaged bytes are refused.

use crate::guest::Guest;
use palimpsest_engine::{SnapshotData, StateBytes};
use palimpsest_heap::{HeapState, StateError};

fn bytes_of(state: &HeapState) -> Vec<u8> {
    let mut bytes = Vec::new();
    state
        .write_to(&mut |part| {
            bytes.extend(part);
            Ok(())
        })
        .unwrap();
    bytes
}

fn read(bytes: &[u8]) -> Result<HeapState, StateError> {
    HeapState::read_from(bytes).map_err(|error| error.downcast_ref::<StateError>().unwrap().clone())
}

/// Returns a guest with blocks of many sizes, some of which were freed, and the blocks that are
/// left.
fn used() -> (Guest, Vec<u64>) {
    let mut guest = Guest::new("i32", "1 64");
    let sizes = [8, 16, 24, 100, 100, 100, 700, 2304, 3000, 3840, 5000, 90_000, 4096, 8192];
    let blocks: Vec<u64> = sizes.into_iter().map(|size| guest.get("malloc", &[size])).collect();
    let (freed, left): (Vec<_>, Vec<_>) = blocks.into_iter().enumerate().partition(|(at, _)| at % 3 == 1);
    freed.into_iter().for_each(|(_, block)| guest.free(block));
    (guest, left.into_iter().map(|(_, block)| block).collect())
}

#[test]
fn books_that_were_read_are_those_that_were_written() {
    let (mut guest, blocks) = used();
    let saved = guest.store.data_mut().save().unwrap();
    let bytes = bytes_of(&saved);
    let state = read(&bytes).unwrap();
    assert_eq!(bytes_of(&state), bytes);
    let (mut copied, mut moved) = (guest.fork(), guest.fork_with(&state));
    assert_eq!(moved.report(), guest.report());
    for size in [8, 100, 2304, 5000, 70_000, 24, 100] {
        assert_eq!(moved.get("malloc", &[size]), copied.get("malloc", &[size]), "{size}");
    }
    for block in blocks {
        moved.free(block);
        copied.free(block);
        assert_eq!(moved.report(), copied.report());
    }
}

#[test]
fn every_shorter_and_every_longer_text_is_refused() {
    let bytes = bytes_of(&used().0.store.data_mut().save().unwrap());
    for len in 0..bytes.len() {
        assert_eq!(read(&bytes[..len]).unwrap_err(), StateError::Truncated, "{len} of {}", bytes.len());
    }
    assert_eq!(read(&[bytes.as_slice(), b"x"].concat()).unwrap_err(), StateError::Trailing { count: 1 });
}

#[test]
fn no_changed_byte_leads_to_a_panic() {
    let (mut guest, blocks) = used();
    let bytes = bytes_of(&guest.store.data_mut().save().unwrap());
    let (mut accepted, mut refused) = (0, 0);
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= [1, 0x80, 0xFF][at % 3];
        let Ok(state) = read(&damaged) else {
            refused += 1;
            continue;
        };
        accepted += 1;
        // A store for each takes long.
        if accepted % 8 != 0 {
            continue;
        }
        let mut fork = guest.fork_with(&state);
        for block in &blocks {
            let _ = fork.call("free", &[*block]);
        }
        for size in [8, 100, 2304, 5000, 90_000, 200_000] {
            let _ = fork.call("malloc", &[size]);
        }
    }
    assert!(accepted > 100 && refused > 100, "{accepted}, {refused}");
}

#[test]
fn no_page_belongs_to_two_blocks() {
    let mut guest = Guest::new("i32", "1 64");
    let [first, second] = [(); 2].map(|()| guest.get("malloc", &[5000]) / 4096);
    let bytes = bytes_of(&guest.store.data_mut().save().unwrap());
    let at = bytes.windows(8).position(|word| word == first.to_le_bytes()).unwrap();
    let mut longer = bytes.clone();
    // After the first page come the mark of a large block and its number of pages.
    longer[at + 16..at + 24].copy_from_slice(&3_u64.to_le_bytes());
    let wrong = StateError::Number { what: "page of a second block", number: second };
    assert_eq!(read(&longer).unwrap_err(), wrong);
}

/// Empty books take 32 bytes in a snapshot, and two kilobytes of the heap.
#[test]
fn there_are_no_more_books_than_a_module_has_memories() {
    let bytes = |count: u64| {
        let empty = |ordinal: u64| [ordinal, 0, 0, 0];
        let numbers: Vec<u64> = [1, count].into_iter().chain((0..count).flat_map(empty)).collect();
        numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>()
    };
    assert_eq!(bytes_of(&read(&bytes(100)).unwrap()), bytes(100));
    let wrong = StateError::Number { what: "ordinal of a memory", number: 100 };
    assert_eq!(read(&bytes(100_000)).unwrap_err(), wrong);
}
