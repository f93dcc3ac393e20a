//! Where the heap is: above the guest's own data, apart from pages that the guest adds, and once
//! for each memory.

use crate::guest::{Guest, Setup, engine, linker, module, text};
use palimpsest_engine::{Config, Memory, MemoryType, Store, TypedFunc};
use palimpsest_heap::{Heap, HeapError, HeapReport};

fn guest(limits: &str, extra: &'static str) -> Guest {
    Guest::with(Setup { extra, ..Setup::default() }, "i32", limits)
}

#[test]
fn the_heap_starts_at_the_exported_heap_base() {
    for (extra, start) in [
        ("(global (export \"__heap_base\") i32 (i32.const 5000))", 8192),
        ("(global (export \"__heap_base\") i32 (i32.const 8192))", 8192),
        ("(global (export \"__heap_base\") i32 (i32.const 0))", 4096),
        ("(global (export \"__heap_base\") i32 (i32.const 131072))", 131_072),
        // Ignored: an address past the memory, a mutable global, a global of another type, a
        // function.
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
fn bytes_written_before_the_first_call_are_zeroed() {
    let mut guest = guest("2 8", "(global (export \"__heap_base\") i32 (i32.const 5000))");
    guest.fill(0, 131_072, 0xFF);
    let block = guest.get("calloc", &[1, 100_000]);
    assert!(guest.bytes(block, 100_000).iter().all(|byte| *byte == 0));
    assert!(guest.bytes(0, 8192).iter().all(|byte| *byte == 0xFF), "the guest's own data stays");
}

#[test]
fn the_heap_of_an_empty_memory_does_not_start_at_0() {
    let mut guest = guest("0 8", "");
    assert_eq!(guest.get("malloc", &[4096]), 4096);
    assert_eq!(guest.memory().size(&guest.store), 1);
}

#[test]
fn pages_that_the_guest_adds_do_not_belong_to_the_heap() {
    let mut guest =
        guest("1 64", "(func (export \"grow\") (param i32) (result i32) (memory.grow (local.get 0)))");
    assert_eq!(guest.get("malloc", &[65_536]), 65_536);
    assert_eq!(guest.get("grow", &[2]), 2);
    assert_eq!(guest.get("malloc", &[65_536]), 4 * 65_536);
    assert!(guest.call("free", &[2 * 65_536]).is_err());
    guest.free(65_536);
    guest.free(4 * 65_536);
    // Two runs of 16 pages: neither has room for 17.
    assert_eq!(guest.get("malloc", &[65_537]), 4 * 65_536);
    assert_eq!(guest.memory().size(&guest.store), 6);
}

#[test]
fn a_memory_with_pages_of_one_byte_grows_to_the_end_of_a_page() {
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
fn instances_that_share_a_memory_share_its_blocks() {
    let engine = engine(Config::default());
    let mut store = Store::new(&engine, Heap::default());
    let memory = Memory::new(&mut store, MemoryType::new(1, Some(64))).unwrap();
    let mut linker = linker("i32");
    linker.define("env", "m", memory).unwrap();
    let wat = text("i32", "1 64", "").replace("(memory (export \"memory\") i32 1 64)", "");
    let import = "(module (import \"env\" \"m\" (memory 1 64))";
    let module = module(&engine, &wat.replacen("(module", import, 1));
    let instances = [(); 2].map(|()| linker.instantiate(&mut store, &module).unwrap());
    let mallocs: [TypedFunc<u32, u32>; 2] =
        instances.map(|instance| instance.get_typed_func(&store, "malloc").unwrap());
    let block = mallocs[0].call(&mut store, 5000).unwrap();
    assert_ne!(mallocs[1].call(&mut store, 5000).unwrap(), block);
    assert_eq!(store.data().report().live_blocks, 2);
    let free = instances[1].get_typed_func::<u32, ()>(&store, "free").unwrap();
    free.call(&mut store, block).unwrap();
    assert_eq!(store.data().report().live_blocks, 1);
}

#[test]
fn memories_of_one_store_have_separate_blocks() {
    let engine = engine(Config::default());
    let mut store = Store::new(&engine, Heap::default());
    let module = module(&engine, &text("i32", "1 64", ""));
    let linker = linker("i32");
    let instances = [(); 2].map(|()| linker.instantiate(&mut store, &module).unwrap());
    let mallocs: [TypedFunc<u32, u32>; 2] =
        instances.map(|instance| instance.get_typed_func(&store, "malloc").unwrap());
    let blocks = [0, 1, 0, 1].map(|index: usize| mallocs[index].call(&mut store, 4096).unwrap());
    assert_eq!(blocks, [65_536, 65_536, 69_632, 69_632]);
    assert_eq!(store.data().report().live_blocks, 4);
    let free = instances[0].get_typed_func::<u32, ()>(&store, "free").unwrap();
    free.call(&mut store, blocks[2]).unwrap();
    assert_eq!(mallocs[1].call(&mut store, 4096).unwrap(), 73_728, "its own second block is still live");
}

#[test]
fn the_heap_is_in_memory_0_whatever_is_exported() {
    let run = |memories: &str| {
        let engine = engine(Config::default());
        let wat = format!(
            "(module (import \"palimpsest\" \"malloc\" (func $malloc (param i32) (result i32)))
                (func (export \"run\") (result i32) (call $malloc (i32.const 1))) {memories})"
        );
        let mut store = Store::new(&engine, Heap::default());
        let instance = linker("i32").instantiate(&mut store, &module(&engine, &wat)).unwrap();
        let run = instance.get_typed_func::<(), u32>(&store, "run").unwrap();
        run.call(&mut store, ())
    };
    assert_eq!(run("(memory 2 3)").unwrap(), 2 << 16);
    assert_eq!(run("(memory 2 3) (memory (export \"memory\") 1 3)").unwrap(), 2 << 16);
    let error = run("").unwrap_err();
    assert_eq!(error.downcast_ref(), Some(&HeapError::NoMemory), "the module has no memory");
}

#[test]
fn a_heap_that_was_never_called_reports_zeros() {
    let mut guest = guest("1 64", "");
    assert_eq!(guest.report(), HeapReport::default());
    assert_eq!(guest.get("malloc", &[0]), 65_536);
    assert_ne!(guest.report(), HeapReport::default());
}
