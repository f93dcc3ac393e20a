//! The heap that an instance takes, by what its module consists of.
//!
//! This is a separate binary because its allocator counts. docs/embedding.md has the bytes of a
//! kernel, which is optimized: wasmi's handles are larger in a debug build.

#![expect(clippy::unwrap_used, reason = "a test ends where its expectation fails")]

use palimpsest_counting::CountingHeap;
use palimpsest_engine::{Config, Engine, Fixed, Linker, Module, Store};
use std::{boxed::Box, fmt::Write, mem::MaybeUninit};

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

#[test]
#[ignore = "it prints figures for docs/embedding.md: run it with --release"]
fn bytes_by_what_a_module_consists_of() {
    let mut figures = String::new();
    let mut add = |what: &str, counts: &[usize], item: &dyn Fn(usize) -> String| {
        write!(figures, "{what}:").unwrap();
        for count in counts {
            let bytes = heap_of(Config::default(), &module_of(*count, item));
            write!(figures, " {count} {bytes}").unwrap();
        }
        figures.push('\n');
    };
    let powers = [0, 20, 31, 94, 95, 222, 223, 478, 479, 990, 991, 2014, 2015];
    add("functions", &powers, &|_| "(func)".into());
    add("exports of 20 bytes", &[0, 50, 100, 200, 400], &|number| {
        format!(r#"(export "{number:020}" (func $f))"#)
    });
    add("globals", &[0, 30, 31, 400], &|_| "(global (mut i32) (i32.const 0))".into());
    add("segments that the code names", &[0, 1, 31, 400], &|number| match number {
        0 => r#"(data "0") (func (data.drop 0))"#.into(),
        _ => r#"(data "1")"#.into(),
    });
    add("tables of 1000 elements", &[0, 1, 2], &|_| "(table 1000 funcref)".into());
    println!("{figures}");
}
