//! What the books of a heap take of the kernel's heap, at most.
//!
//! This is a separate binary because its allocator counts.

#![expect(clippy::unwrap_used, reason = "a test ends where its expectation fails")]

use palimpsest_counting::CountingHeap;
use palimpsest_engine::{Config, Engine, Fixed, Linker, Module, Store};
use palimpsest_heap::{Heap, HeapOptions, add_to_linker};
use std::mem::MaybeUninit;

#[global_allocator]
static HEAP: CountingHeap = CountingHeap::new();

/// Allocates blocks of a size until the heap is full, and then frees every second one. Returns the
/// number of blocks.
const GUEST: &str = r#"(module
    (import "palimpsest" "malloc" (func $malloc (param i32) (result i32)))
    (import "palimpsest" "free" (func $free (param i32)))
    (memory (export "memory") 16 1024) (global (export "__heap_base") i32 (i32.const 1048576))
    (func (export "fill") (param $size i32) (result i32) (local $block i32) (local $count i32)
        (loop $again
            (local.set $block (call $malloc (local.get $size)))
            (if (local.get $block) (then
                (i32.store (i32.shl (local.get $count) (i32.const 2)) (local.get $block))
                (local.set $count (i32.add (local.get $count) (i32.const 1)))
                (br_if $again (i32.lt_u (local.get $count) (i32.const 262144))))))
        (local.get $count))
    (func (export "thin") (param $count i32) (local $index i32)
        (loop $again
            (call $free (i32.load (i32.shl (local.get $index) (i32.const 2))))
            (local.set $index (i32.add (local.get $index) (i32.const 2)))
            (br_if $again (i32.lt_u (local.get $index) (local.get $count))))))"#;

/// Returns the most bytes that the heap's books took.
fn peak_of(options: HeapOptions, sizes: &[u32]) -> usize {
    let bytes = Box::leak(vec![MaybeUninit::uninit(); 80 << 20].into_boxed_slice());
    let engine = Engine::new(Config::default(), Fixed::new(bytes)).unwrap();
    let module = Module::new(&engine, &wat::parse_str(GUEST).unwrap()).unwrap();
    let mut linker = Linker::new();
    add_to_linker(&mut linker, |heap| heap).unwrap();
    let mut store = Store::new(&engine, Heap::new(options));
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let fill = instance.get_typed_func::<u32, u32>(&store, "fill").unwrap();
    let thin = instance.get_typed_func::<u32, ()>(&store, "thin").unwrap();
    // Translates both, so that only the books are measured.
    fill.call(&mut store, u32::MAX).unwrap();
    let (growth, ()) = HEAP.measure(|| {
        for size in sizes {
            let count = fill.call(&mut store, *size).unwrap();
            if count > 0 {
                thin.call(&mut store, count).unwrap();
            }
        }
    });
    growth.peak
}

#[test]
fn the_books_fit_the_heap_that_they_are_limited_for() {
    for bytes in [4 << 10, 64 << 10] {
        // Whole pages, the smallest blocks, and then all classes in turn.
        for sizes in [&[4096][..], &[1], &[1, 4096, 24, 100, 700, 3840, 9000]] {
            let peak = peak_of(HeapOptions::for_heap(bytes), sizes);
            println!("{bytes} {sizes:?}: {peak}");
            assert!(peak <= bytes, "{peak} bytes for {sizes:?} instead of {bytes}");
        }
    }
}
