//! Memories that the host creates, without a guest. Miri runs these tests too.

use palimpsest_engine::{
    BackingError, Config, Engine, Fixed, Memory, MemoryError, MemoryType, Store, WasmPageSize,
};
use std::{boxed::Box, mem::MaybeUninit};

/// Returns `len` bytes that are not zero. The first is at no multiple of 16.
fn slice(len: usize) -> &'static mut [MaybeUninit<u8>] {
    let bytes = Box::leak(vec![MaybeUninit::new(0xa5); len + 32].into_boxed_slice());
    let start = 16 - bytes.as_ptr().addr() % 16 + 1;
    &mut bytes[start..start + len]
}

/// Creates an engine over 64 KiB.
fn engine() -> (Engine, Fixed) {
    let backing = Fixed::new(slice(1 << 16));
    (engine_over(&backing), backing)
}

fn engine_over(backing: &Fixed) -> Engine {
    Engine::new(Config::default(), backing.clone()).unwrap()
}

/// Creates a memory of `bytes` bytes.
fn memory(store: &mut Store<()>, bytes: u64) -> Memory {
    try_memory(store, bytes, None).unwrap()
}

/// Creates a memory of `bytes` bytes that may grow to `maximum`.
fn try_memory(store: &mut Store<()>, bytes: u64, maximum: Option<u64>) -> Result<Memory, MemoryError> {
    let ty = MemoryType::new64(bytes, maximum).with_page_size(WasmPageSize::BYTE);
    Memory::new(store, ty)
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
    assert_eq!(memory.grow(&mut store, 8_192).unwrap(), 100);
    assert!(memory.grow(&mut store, 1 << 16).is_err());
    assert_eq!(memory.data(&store).as_ptr(), start);
    let mut bytes = [0xff; 20];
    memory.read(&store, 90, &mut bytes).unwrap();
    assert_eq!(&bytes, b"0123456789\0\0\0\0\0\0\0\0\0\0");
    assert!(memory.read(&store, 8_292, &mut bytes[..1]).is_err());
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

#[test]
fn a_hundred_guests_of_512_bytes_fit_into_64_kib() {
    let (engine, backing) = engine();
    let mut stores: Vec<_> = (0..100).map(|_| Store::new(&engine, ())).collect();
    let memories: Vec<_> = stores.iter_mut().map(|store| memory(store, 512)).collect();
    for (number, (store, memory)) in (1..).zip(stores.iter_mut().zip(&memories)) {
        assert_eq!(memory.data(&*store), [0; 512]);
        memory.data_mut(store).fill(number);
    }
    for (number, (store, memory)) in (1..).zip(stores.iter().zip(&memories)) {
        assert_eq!(memory.data(store), [number; 512]);
    }
    assert!(backing.free_bytes() >= (1 << 16) - 32 - 51_200);
}

#[test]
fn a_memory_grows_into_what_no_other_has_and_no_further() {
    let backing = Fixed::new(slice(1_000 + 30));
    let engine = engine_over(&backing);
    let mut store = Store::new(&engine, ());
    let first = memory(&mut store, 16);
    let mut other = Store::new(&engine, ());
    let second = try_memory(&mut other, 100, Some(300)).unwrap();
    first.data_mut(&mut store).fill(1);
    second.grow(&mut other, 200).unwrap();
    second.data_mut(&mut other).fill(2);
    assert_eq!(second.grow(&mut other, 1).ok(), None, "its maximum is 300 bytes");
    let room = backing.free_bytes();
    assert_eq!(first.grow(&mut store, room + 1).ok(), None);
    assert_eq!((first.size(&store), backing.free_bytes()), (16, room));
    first.grow(&mut store, room).unwrap();
    assert_eq!(backing.free_bytes(), 0);
    first.data_mut(&mut store).fill(1);
    assert!(second.data(&other).iter().all(|byte| *byte == 2));
    drop(other);
    assert_eq!(first.grow(&mut store, 1).ok(), None, "the second memory has cut the slice of the first");
    assert!(first.data(&store).iter().all(|byte| *byte == 1));
}

#[test]
fn slices_are_used_in_their_order_and_a_memory_lies_in_one() {
    let backing = Fixed::new(slice(1_024 + 15)).and(slice(4_096 + 15));
    assert_eq!((backing.free_bytes(), backing.largest_free_bytes()), (5_120, 4_096));
    let mut store = Store::new(&engine_over(&backing), ());
    memory(&mut store, 1_000);
    assert_eq!((backing.free_bytes(), backing.largest_free_bytes()), (4_112, 4_096));
    memory(&mut store, 4_000);
    let none_left = try_memory(&mut store, 97, None);
    assert!(matches!(
        none_left,
        Err(MemoryError::Backing(BackingError::NoRoom { requested: 97, free: 112, largest: 96 }))
    ));
    let too_large = try_memory(&mut store, 4_097, None);
    assert!(matches!(
        too_large,
        Err(MemoryError::Backing(BackingError::TooLarge { requested: 4_097, available: 4_096 }))
    ));
    assert!(try_memory(&mut store, 96, None).is_ok());
}

#[test]
fn chunks_of_the_global_allocator_come_and_go() {
    let backing = Fixed::on_heap(1_024);
    let engine = engine_over(&backing);
    let mut stores = [Store::new(&engine, ()), Store::new(&engine, ())];
    assert_eq!(backing.free_bytes(), 0);
    let small = memory(&mut stores[0], 500);
    assert_eq!(backing.free_bytes(), 512);
    small.grow(&mut stores[0], 524).unwrap();
    assert!(small.grow(&mut stores[0], 1).is_err());
    let large = memory(&mut stores[1], 5_000);
    large.data_mut(&mut stores[1]).fill(1);
    assert!(is_zero(&stores[0], small));
    assert_eq!(backing.free_bytes(), 0);
    drop(stores);
    assert_eq!(backing.free_bytes(), 0);
}
