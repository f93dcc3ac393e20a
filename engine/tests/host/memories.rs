//! Memories that the host creates, without a guest. Miri runs these tests too.

use palimpsest_engine::{Config, Engine, Fixed, Memory, MemoryType, Store, WasmPageSize};
use std::{boxed::Box, mem::MaybeUninit};

/// Bytes that a memory may grow by.
const HEADROOM: u64 = 8_192;

/// Creates an engine over 64 KiB that are not zero.
fn engine() -> (Engine, Fixed) {
    let bytes = Box::leak(vec![MaybeUninit::new(0xa5); 1 << 16].into_boxed_slice());
    let backing = Fixed::new(bytes, HEADROOM);
    let engine = Engine::new(Config::default(), backing.clone()).unwrap();
    (engine, backing)
}

/// Creates a memory of `bytes` bytes.
fn memory(store: &mut Store<()>, bytes: u64) -> Memory {
    let ty = MemoryType::new64(bytes, None).with_page_size(WasmPageSize::BYTE);
    Memory::new(store, ty).unwrap()
}

fn is_zero(store: &Store<()>, memory: Memory) -> bool {
    memory.data(store).iter().all(|byte| *byte == 0)
}

#[test]
fn memories_of_one_store_do_not_overlap() {
    let (engine, _) = engine();
    let mut store = Store::new(&engine, ());
    let memories: Vec<_> = [1, 5_000, 4_096].map(|bytes| memory(&mut store, bytes)).into();
    for (byte, memory) in (1..).zip(&memories) {
        assert!(is_zero(&store, *memory));
        memory.data_mut(&mut store).fill(byte);
    }
    for (byte, memory) in (1..).zip(&memories) {
        memory.grow(&mut store, 3_000).unwrap();
        let (old, new) = memory.data(&store).split_at(memory.data(&store).len() - 3_000);
        assert!(old.iter().all(|found| *found == byte) && new.iter().all(|found| *found == 0));
    }
}

#[test]
fn a_memory_grows_where_it_is_and_keeps_its_bytes() {
    let (engine, _) = engine();
    let mut store = Store::new(&engine, ());
    let memory = memory(&mut store, 100);
    memory.write(&mut store, 90, b"0123456789").unwrap();
    let start = memory.data(&store).as_ptr();
    assert_eq!(memory.grow(&mut store, HEADROOM).unwrap(), 100);
    assert!(memory.grow(&mut store, 1 << 16).is_err());
    assert_eq!(memory.data(&store).as_ptr(), start);
    let mut bytes = [0xff; 20];
    memory.read(&store, 90, &mut bytes).unwrap();
    assert_eq!(&bytes, b"0123456789\0\0\0\0\0\0\0\0\0\0");
    assert!(memory.read(&store, 100 + usize::try_from(HEADROOM).unwrap(), &mut bytes[..1]).is_err());
}

#[test]
fn a_cleared_range_is_zero_and_its_neighbours_stay() {
    let (engine, _) = engine();
    let mut store = Store::new(&engine, ());
    let memory = memory(&mut store, 9_000);
    memory.data_mut(&mut store).fill(7);
    memory.clear_pages(&mut store, 10, 4_500).unwrap();
    memory.release(&mut store, 8_000, 10).unwrap();
    let zeros = |at: usize| (10..4_510).contains(&at) || (8_000..8_010).contains(&at);
    let wrong = memory.data(&store).iter().enumerate().find(|(at, byte)| (**byte == 0) != zeros(*at));
    assert_eq!(wrong, None);
}

#[test]
fn the_next_store_reads_zero_where_another_wrote() {
    let (engine, backing) = engine();
    let free_bytes = backing.free_bytes();
    for bytes in [20_000, 100, 9_000, 20_000] {
        let mut store = Store::new(&engine, ());
        let memories = [memory(&mut store, bytes), memory(&mut store, bytes)];
        for memory in memories {
            memory.grow(&mut store, 50).unwrap();
            assert!(is_zero(&store, memory));
            memory.data_mut(&mut store).fill(9);
        }
        drop(store);
        assert_eq!(backing.free_bytes(), free_bytes);
    }
}
