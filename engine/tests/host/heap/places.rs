//! Where the heap is: above the guest's own data, beside what the guest grows, in memories that are shared.

use super::guest::{Guest, engine, text};
use crate::support::module;
use palimpsest_engine::{Config, HeapReport, Linker, Memory, MemoryType, Store};

fn guest(limits: &str, extra: &str) -> Guest {
    Guest::with_config(Config::default(), "i32", limits, extra)
}

#[test]
fn the_heap_starts_where_the_guest_says_that_its_data_ends() {
    for (extra, start) in [
        ("(global (export \"__heap_base\") i32 (i32.const 5000))", 8192),
        ("(global (export \"__heap_base\") i32 (i32.const 8192))", 8192),
        ("(global (export \"__heap_base\") i32 (i32.const 0))", 4096),
        ("(global (export \"__heap_base\") i32 (i32.const 131072))", 131_072),
        // Nothing that can be believed: behind the memory, no constant, no address, no global.
        ("(global (export \"__heap_base\") i32 (i32.const 131073))", 131_072),
        ("(global (export \"__heap_base\") (mut i32) (i32.const 5000))", 131_072),
        ("(global (export \"__heap_base\") f32 (f32.const 5000))", 131_072),
        ("(func (export \"__heap_base\"))", 131_072),
        ("", 131_072),
    ] {
        let mut guest = guest("2 8", extra);
        assert_eq!(guest.get("malloc", &[4096]), start, "{extra}");
    }
}

#[test]
fn what_was_written_there_before_the_first_call_is_gone() {
    let mut guest = guest("2 8", "(global (export \"__heap_base\") i32 (i32.const 5000))");
    guest.fill(0, 131_072, 0xFF);
    let block = guest.get("calloc", &[1, 100_000]);
    assert!(guest.bytes(block, 100_000).iter().all(|byte| *byte == 0));
    assert!(guest.bytes(0, 8192).iter().all(|byte| *byte == 0xFF), "the guest's own data stays");
}

#[test]
fn a_memory_without_a_page_has_a_heap_that_does_not_start_at_0() {
    let mut guest = guest("0 8", "");
    assert_eq!(guest.get("malloc", &[4096]), 4096);
    assert_eq!(guest.memory().size(&guest.store), 1);
}

#[test]
fn what_the_guest_grows_itself_is_not_the_heaps() {
    let mut guest =
        guest("1 64", "(func (export \"grow\") (param i32) (result i32) (memory.grow (local.get 0)))");
    assert_eq!(guest.get("malloc", &[65_536]), 65_536);
    assert_eq!(guest.get("grow", &[2]), 2);
    assert_eq!(guest.get("malloc", &[65_536]), 4 * 65_536);
    assert!(guest.call("free", &[2 * 65_536]).is_err());
    guest.free(65_536);
    guest.free(4 * 65_536);
    // Two extents of 16 pages: neither has room for 17.
    assert_eq!(guest.get("malloc", &[65_537]), 4 * 65_536);
    assert_eq!(guest.memory().size(&guest.store), 6);
}

#[test]
fn pages_of_one_byte_grow_to_the_end_of_a_page() {
    let mut guest = guest("100 100000 (pagesize 1)", "");
    let block = guest.get("malloc", &[100]);
    assert_eq!((block, guest.memory().size(&guest.store)), (4096, 4096 + 14 * 4096));
    guest.fill(block, 100, 1);
    assert_eq!(guest.get("malloc", &[50_000]), 0);
    guest.free(block);
    assert_ne!(guest.get("malloc", &[50_000]), 0);
}

#[test]
fn a_memory_without_a_maximum_grows_as_far_as_the_backing_goes() {
    let mut guest = guest("1", "");
    assert_ne!(guest.get("malloc", &[15 << 20]), 0);
    assert_eq!(guest.get("malloc", &[15 << 20]), 0);
}

#[test]
fn instances_that_share_a_memory_share_its_heap() {
    let engine = engine(Config::default());
    let mut store = Store::new(&engine, ());
    let memory = Memory::new(&mut store, MemoryType::new(1, Some(64))).unwrap();
    let mut linker = Linker::new();
    linker.define("env", "m", memory).unwrap();
    let wat = text("i32", "1 64", "").replace("(memory (export \"m\") i32 1 64)", "");
    let wat = wat.replacen("(module", "(module (import \"env\" \"m\" (memory 1 64))", 1);
    let module = module(&engine, &wat);
    let mut instances = Vec::new();
    for _ in 0..2 {
        instances.push(linker.instantiate(&mut store, &module).unwrap());
    }
    let malloc = instances[0].get_typed_func::<u32, u32>(&store, "malloc").unwrap();
    let block = malloc.call(&mut store, 5000).unwrap();
    let malloc = instances[1].get_typed_func::<u32, u32>(&store, "malloc").unwrap();
    assert_ne!(malloc.call(&mut store, 5000).unwrap(), block);
    assert_eq!(memory.heap_report(&store).live_blocks, 2);
    let free = instances[1].get_typed_func::<u32, ()>(&store, "free").unwrap();
    free.call(&mut store, block).unwrap();
    assert_eq!(memory.heap_report(&store).live_blocks, 1);
}

#[test]
fn a_memory_whose_guests_do_not_call_has_no_heap() {
    let mut guest = guest("1 64", "");
    assert_eq!(guest.report(), HeapReport::default());
    assert_eq!(guest.get("malloc", &[0]), 65_536);
    assert_ne!(guest.report(), HeapReport::default());
}
