//! The heap functions with any arguments, against a model of the live blocks: blocks do not
//! overlap and keep their bytes, and what is free at the end reads zero.

use palimpsest_engine::{AsContext, Config, Engine, Func, Instance, Linker, Memory, Module, Store, Val};
use palimpsest_heap::{BadPointer, Heap, HeapOptions, add_to_linker, add_to_linker64};
use std::collections::BTreeMap;

use crate::backing::backing;

/// The guest's own data, which the heap must not touch.
const HEAP_BASE: u64 = 70_000;

/// Bytes of a block that are written and compared, at each of its ends.
const EDGE_BYTES: u64 = 5000;

/// Runs the target.
///
/// # Panics
///
/// Panics if the heap breaks a promise.
pub fn run(data: &[u8]) {
    let Some((options, operations)) = data.split_first() else { return };
    let free = backing().free_bytes();
    let engine = Engine::new(Config::default(), backing().clone()).expect("the build's dispatch is flat");
    let mut guest = Guest::new(&engine, *options);
    let (operations, _) = operations.as_chunks::<6>();
    operations.iter().for_each(|operation| guest.step(*operation));
    guest.finish();
    drop(engine);
    assert_eq!(backing().free_bytes(), free, "memory is in use after the end of the store");
}

struct Guest {
    is_wide: bool,
    store: Store<Heap>,
    instance: Instance,
    memory: Memory,
    /// Whether a page is released as soon as its last block is freed.
    is_eager: bool,
    /// The requested length and the fill byte of each block.
    live: BTreeMap<u64, (u64, u8)>,
    fill: u8,
}

impl Guest {
    fn new(engine: &Engine, options: u8) -> Self {
        let is_wide = options & 1 == 1;
        let is_eager = options & 2 == 2;
        let index = if is_wide { "i64" } else { "i32" };
        let text = format!(
            r#"(module
                (import "palimpsest" "malloc" (func $malloc (param {index}) (result {index})))
                (import "palimpsest" "calloc" (func $calloc (param {index} {index}) (result {index})))
                (import "palimpsest" "realloc" (func $realloc (param {index} {index}) (result {index})))
                (import "palimpsest" "aligned_alloc" (func $aligned (param {index} {index}) (result {index})))
                (import "palimpsest" "free" (func $free (param {index})))
                (import "palimpsest" "usable_size" (func $usable (param {index}) (result {index})))
                (memory (export "memory") {index} 2 24)
                (global (export "__heap_base") {index} ({index}.const {HEAP_BASE}))
                (func (export "malloc") (param {index}) (result {index}) (call $malloc (local.get 0)))
                (func (export "calloc") (param {index} {index}) (result {index})
                    (call $calloc (local.get 0) (local.get 1)))
                (func (export "realloc") (param {index} {index}) (result {index})
                    (call $realloc (local.get 0) (local.get 1)))
                (func (export "aligned_alloc") (param {index} {index}) (result {index})
                    (call $aligned (local.get 0) (local.get 1)))
                (func (export "free") (param {index}) (call $free (local.get 0)))
                (func (export "usable_size") (param {index}) (result {index})
                    (call $usable (local.get 0)))
                (func (export "grow") (param {index}) (result {index}) (memory.grow (local.get 0))))"#
        );
        let wasm = wat::parse_str(text).expect("the text is well-formed");
        let module = Module::new(engine, &wasm).expect("the module is valid");
        let mut heap = HeapOptions::default();
        heap.bad_pointer = BadPointer::Ignore;
        heap.idle_pages = if is_eager { 0 } else { 16 };
        heap.idle_operations = u64::from(options >> 6);
        heap.entries = if options & 4 == 4 { 20 } else { heap.entries };
        let mut store = Store::new(engine, Heap::new(heap));
        let mut linker = Linker::new();
        let defined = match is_wide {
            true => add_to_linker64(&mut linker, |heap| heap),
            false => add_to_linker(&mut linker, |heap| heap),
        };
        defined.expect("the names are different");
        let instance = linker.instantiate(&mut store, &module).expect("the imports are defined");
        let memory = instance.get_memory(&store, "memory").expect("it is exported");
        let bytes = memory.data_mut(&mut store);
        // The guest has used the pages of the heap before, and its own data.
        bytes.fill(0xEE);
        Self { is_wide, store, instance, memory, is_eager, live: BTreeMap::new(), fill: 0 }
    }

    /// Calls a function, whose parameters and result have the type of addresses.
    fn call(&mut self, name: &str, arguments: &[u64]) -> u64 {
        let value = |argument: &u64| match self.is_wide {
            true => Val::I64(argument.cast_signed()),
            false => Val::I32((*argument as u32).cast_signed()),
        };
        let arguments: Vec<_> = arguments.iter().map(value).collect();
        let func: Func = self.instance.get_func(&self.store, name).expect("it is exported");
        let mut results = vec![Val::I32(0); func.ty(&self.store).results().len()];
        func.call(&mut self.store, &arguments, &mut results).expect("no heap function traps");
        match results.first() {
            Some(Val::I32(result)) => result.cast_unsigned().into(),
            Some(Val::I64(result)) => result.cast_unsigned(),
            _ => 0,
        }
    }

    fn step(&mut self, [kind, choice, low, high, shift, other]: [u8; 6]) {
        let size = u64::from(u16::from_le_bytes([low, high])) << (shift % 12) >> (shift / 12 % 16);
        let live = self.live.keys().nth(usize::from(choice) % self.live.len().max(1)).copied();
        match kind % 12 {
            0..3 => {
                let block = self.call("malloc", &[size]);
                self.enter(block, size, 1);
            }
            3 => {
                let count = u64::from(other);
                let block = self.call("calloc", &[count, size]);
                let zeros = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
                let bytes = count.saturating_mul(size);
                assert!(
                    block == 0 || zeros(self.bytes(block, bytes)),
                    "calloc returns {block:#x}, not zeroed"
                );
                self.enter(block, bytes, 1);
            }
            4 => {
                let alignment = 1 << (other % 20);
                let block = self.call("aligned_alloc", &[alignment, size]);
                self.enter(block, size, alignment);
            }
            5 => assert_eq!(self.call("aligned_alloc", &[u64::from(other) * 2 + 3, size]), 0),
            6 | 7 => live.into_iter().for_each(|block| self.free(block)),
            8 => live.into_iter().for_each(|block| self.realloc(block, size)),
            9 => self.misuse(size, other),
            10 => {
                let usable = live.map(|block| self.call("usable_size", &[block]));
                assert!(usable.is_none_or(|usable| usable >= self.live[&live.unwrap_or(0)].0));
            }
            _ => drop(self.call("grow", &[u64::from(other % 3)])),
        }
    }

    fn bytes(&self, at: u64, len: u64) -> &[u8] {
        let data = self.memory.data(self.store.as_context());
        let range = usize::try_from(at).ok().zip(usize::try_from(len).ok());
        range.and_then(|(at, len)| data.get(at..)?.get(..len)).expect("a block is inside the memory")
    }

    /// The parts of a block that are compared.
    fn edges(len: u64) -> [(u64, u64); 2] {
        let edge = len.min(EDGE_BYTES);
        [(0, edge), (len - edge, edge)]
    }

    /// Checks a new block and writes to it.
    fn enter(&mut self, block: u64, len: u64, alignment: u64) {
        if block == 0 {
            return;
        }
        let len = len.max(1);
        assert!(block >= HEAP_BASE && block.is_multiple_of(alignment), "{block:#x}");
        let before = self.live.range(..block + len).next_back();
        assert!(before.is_none_or(|(at, (len, _))| at + len <= block), "{block:#x} overlaps {before:x?}");
        self.fill = self.fill.wrapping_add(1).max(1);
        for (at, len) in Self::edges(len) {
            let filled = vec![self.fill; usize::try_from(len).expect("an edge is short")];
            let at = usize::try_from(block + at).expect("the host has 64 bits");
            self.memory.write(&mut self.store, at, &filled).expect("a block is inside the memory");
        }
        self.live.insert(block, (len, self.fill));
    }

    fn check(&self, block: u64, len: u64, of: u64, fill: u8) {
        for (at, edge) in Self::edges(of) {
            let edge = edge.min(len.saturating_sub(at));
            let kept = edge == 0 || self.bytes(block + at, edge).iter().all(|byte| *byte == fill);
            assert!(kept, "the block at {block:#x} of {of} bytes has lost its bytes");
        }
    }

    fn free(&mut self, block: u64) {
        let (len, fill) = self.live.remove(&block).expect("the block is live");
        self.check(block, len, len, fill);
        self.call("free", &[block]);
    }

    fn realloc(&mut self, block: u64, size: u64) {
        let (len, fill) = self.live[&block];
        self.check(block, len, len, fill);
        let moved = self.call("realloc", &[block, size]);
        if moved == 0 {
            self.check(block, len, len, fill);
            return;
        }
        self.live.remove(&block);
        self.check(moved, size, len, fill);
        self.enter(moved, size, 1);
    }

    /// Passes a pointer that is not the start of a live block, which has no effect.
    fn misuse(&mut self, pointer: u64, other: u8) {
        if self.live.contains_key(&pointer) || pointer == 0 {
            return;
        }
        let before = self.store.data().report();
        match other % 3 {
            0 => assert_eq!(self.call("usable_size", &[pointer]), 0),
            1 => assert_eq!(self.call("realloc", &[pointer, other.into()]), 0),
            _ => drop(self.call("free", &[pointer])),
        }
        let after = self.store.data().report();
        let is_first = before.free_pages == 0 && before.slabs == 0;
        assert!(is_first || before.live_blocks == after.live_blocks, "a bad pointer has an effect");
    }

    /// Frees everything, and checks that nothing is left of it.
    fn finish(mut self) {
        while let Some(block) = self.live.keys().next().copied() {
            self.free(block);
        }
        let report = self.store.data().report();
        assert_eq!((report.live_blocks, report.live_bytes, report.live_pages), (0, 0, 0));
        let own = self.bytes(0, HEAP_BASE);
        assert!(own.iter().all(|byte| *byte == 0xEE), "the guest's own data has changed");
        if self.is_eager {
            assert_eq!(report.idle_pages, 0);
        }
    }
}
