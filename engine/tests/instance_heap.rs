//! The heap that an instance takes, by what its module consists of.
//!
//! This is a separate binary because its allocator counts. docs/forks.md has the bytes of a
//! kernel, which is optimized: wasmi's handles are larger in a debug build.

#![expect(clippy::unwrap_used, reason = "a test ends where its expectation fails")]

use palimpsest_counting::CountingHeap;
use palimpsest_engine::{Config, Engine, Fixed, Linker, Module, Store};
use std::{boxed::Box, mem::MaybeUninit};

#[global_allocator]
static HEAP: CountingHeap = CountingHeap::new();

/// Returns the bytes of heap of a store with one instance of the module.
fn heap_of(config: Config, text: &str) -> usize {
    let bytes = Box::leak(vec![MaybeUninit::uninit(); 8 << 20].into_boxed_slice());
    let engine = Engine::new(config, Fixed::new(bytes)).unwrap();
    let module = Module::new(&engine, &wat::parse_str(text).unwrap()).unwrap();
    let (growth, store) = HEAP.measure(|| {
        let mut store = Store::new(&engine, ());
        Linker::new().instantiate(&mut store, &module).unwrap();
        store
    });
    drop(store);
    growth.left
}

/// Returns a module with a memory and what `item` writes for each number below `count`.
fn module_of(count: usize, item: impl Fn(usize) -> String) -> String {
    let mut text = String::from("(module (memory 1) (table 0 funcref) (func $f)");
    (0..count).for_each(|number| text.push_str(&item(number)));
    text + ")"
}

#[test]
fn an_instance_takes_no_heap_for_segments_in_images() {
    let segment = |number: usize| format!(r#"(data (i32.const {}) "{number}")"#, number * 8);
    let with =
        |count, code: &str| heap_of(Config::default(), &(module_of(count, segment).replace("$f", code)));
    assert_eq!(with(200, "$f"), with(1, "$f"));
    // An instruction that names a segment keeps the indices of all.
    assert!(with(200, "$f (data.drop 0)") > with(1, "$f (data.drop 0)") + 200 * 16);
}

#[test]
fn an_instance_takes_no_heap_for_exports_that_are_left_out() {
    let export = |number: usize| format!(r#"(export "{number:020}" (func $f))"#);
    let text = module_of(400, export);
    let kept = heap_of(Config::default().exports(&["0"]), &text);
    assert_eq!(kept, heap_of(Config::default(), &module_of(0, export)));
    assert!(heap_of(Config::default(), &text) > kept + 400 * 44);
}

/// The bytes of docs/forks.md. A handle has 16 of them, or 24 in a debug build.
#[test]
fn functions_globals_and_elements_take_the_bytes_that_are_documented() {
    let grown = |from: usize, to: usize, item: &str| {
        let [from, to] =
            [from, to].map(|count| heap_of(Config::default(), &module_of(count, |_| item.to_owned())));
        to - from
    };
    let handles = |count: usize| 16 * count..=24 * count;
    // With `$f` these fill blocks of 992 and of 2,016 places.
    assert!(handles(1023).contains(&(grown(991, 2014, "(func)") - 40 * 1024)));
    // Blocks of 480 places.
    assert!(handles(400).contains(&(grown(0, 400, "(global (mut i32) (i32.const 0))") - 24 * 480)));
    assert!((4000..4100).contains(&grown(1, 2, "(table 1000 funcref)")));
}
