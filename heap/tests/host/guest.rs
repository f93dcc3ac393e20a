//! A guest whose exports pass their arguments to the heap functions, for either index type.

use palimpsest_engine::{
    Config, Engine, Error, Fixed, Instance, Linker, Memory, Module, Poll, SnapshotData, Store, Task, Val,
};
use palimpsest_heap::{Heap, HeapOptions, HeapReport, HeapState, add_to_linker, add_to_linker64};
use std::{boxed::Box, mem::MaybeUninit, ops::Range};

/// Both index types, as the text format writes them.
pub(crate) const INDEX_TYPES: [&str; 2] = ["i32", "i64"];

/// The bytes that the memories of an engine share.
const SLICE_BYTES: usize = 24 << 20;

/// An instance with a store.
pub(crate) struct Guest {
    pub(crate) store: Store<Heap>,
    instance: Instance,
    index: &'static str,
}

/// How a guest is made.
#[derive(Default)]
pub(crate) struct Setup {
    pub(crate) config: Config,
    pub(crate) options: HeapOptions,
    /// Additional fields of the module.
    pub(crate) extra: &'static str,
}

/// Returns a module with a memory of the given limits and `extra` fields.
pub(crate) fn text(index: &str, limits: &str, extra: &str) -> String {
    let functions =
        [("malloc", 1), ("calloc", 2), ("realloc", 2), ("aligned_alloc", 2), ("free", 1), ("usable_size", 1)];
    let mut imports = String::new();
    let mut exports = String::new();
    for (name, count) in functions {
        let params = format!("(param{})", format!(" {index}").repeat(count));
        let result = if name == "free" { String::new() } else { format!("(result {index})") };
        let arguments: String = (0..count).map(|number| format!("(local.get {number})")).collect();
        imports += &format!("(import \"palimpsest\" \"{name}\" (func ${name} {params} {result}))\n");
        exports += &format!("(func (export \"{name}\") {params} {result} (call ${name} {arguments}))\n");
    }
    format!("(module {imports} (memory (export \"memory\") {index} {limits}) {exports} {extra})")
}

/// Returns an engine over a slice that has room for the memories of these tests.
pub(crate) fn engine(config: Config) -> Engine {
    let bytes = Box::leak(vec![MaybeUninit::uninit(); SLICE_BYTES].into_boxed_slice());
    Engine::new(config, Fixed::new(bytes)).expect("a test build's dispatch is flat")
}

/// Assembles and loads `wat`.
pub(crate) fn module(engine: &Engine, wat: &str) -> Module {
    let wasm = wat::parse_str(wat).expect("the test's text is well-formed");
    Module::new(engine, &wasm).expect("the test's module is valid")
}

/// Returns a linker with the heap functions for guests of index type `index`.
pub(crate) fn linker(index: &str) -> Linker<Heap> {
    let mut linker = Linker::new();
    let added = match index {
        "i32" => add_to_linker(&mut linker, |heap| heap),
        _ => add_to_linker64(&mut linker, |heap| heap),
    };
    added.expect("the linker is empty");
    linker
}

impl Guest {
    /// Returns a guest with a memory of `limits`, as the text format writes them.
    pub(crate) fn new(index: &'static str, limits: &str) -> Self {
        Self::with(Setup::default(), index, limits)
    }

    pub(crate) fn with(setup: Setup, index: &'static str, limits: &str) -> Self {
        let engine = engine(setup.config);
        let module = module(&engine, &text(index, limits, setup.extra));
        let mut store = Store::new(&engine, Heap::new(setup.options));
        let instance = linker(index).instantiate(&mut store, &module).expect("the guest links");
        Self { store, instance, index }
    }

    /// Returns a guest in a store with a copy of this one's memory and with its books, as a fork
    /// has them.
    pub(crate) fn fork(&mut self) -> Self {
        let books = self.store.data_mut().save().unwrap();
        self.fork_with(&books)
    }

    /// Returns a guest in a store with a copy of this one's memory, and with these books.
    pub(crate) fn fork_with(&self, books: &HeapState) -> Self {
        let engine = engine(Config::default());
        let module = module(&engine, &text(self.index, "0 64", ""));
        let mut heap = Heap::default();
        heap.restore(books).unwrap();
        let mut store = Store::new(&engine, heap);
        let instance = linker(self.index).instantiate(&mut store, &module).expect("the guest links");
        let mut fork = Self { store, instance, index: self.index };
        let memory = fork.memory();
        memory.grow(&mut fork.store, self.memory().size(&self.store)).expect("its maximum is larger");
        memory.data_mut(&mut fork.store).copy_from_slice(self.memory().data(&self.store));
        fork
    }

    /// Calls the export `name` with arguments of the index type, and returns its result, or 0 if it
    /// has none.
    pub(crate) fn call(&mut self, name: &str, arguments: &[u64]) -> Result<u64, Error> {
        let arguments: Vec<Val> = arguments.iter().map(|number| self.value(*number)).collect();
        let func = self.instance.get_func(&self.store, name).expect("it is exported");
        let mut results = vec![Val::I32(0); func.ty(&self.store).results().len()];
        func.call(&mut self.store, &arguments, &mut results)?;
        Ok(number(&results))
    }

    /// Returns a number as a value of the index type.
    fn value(&self, number: u64) -> Val {
        match self.index {
            "i32" => Val::I32(low_half(number).cast_signed()),
            _ => Val::I64(number.cast_signed()),
        }
    }

    /// Calls the export `name`, which must not trap, in slices of `fuel` units. Returns its result,
    /// and the units that each turn used.
    pub(crate) fn sliced(&mut self, name: &str, arguments: &[u64], fuel: u64) -> (u64, Vec<u64>) {
        let arguments: Vec<Val> = arguments.iter().map(|number| self.value(*number)).collect();
        let func = self.instance.get_func(&self.store, name).expect("it is exported");
        let other = Store::new(self.store.engine(), Heap::default());
        let store = core::mem::replace(&mut self.store, other);
        let mut task = Task::new(store, func, &arguments).expect("the arguments have its type");
        let mut turns = Vec::new();
        let results = loop {
            let before = task.fuel_used();
            let poll = task.run(fuel);
            turns.push(task.fuel_used() - before);
            match poll {
                Poll::Runnable | Poll::Waiting { .. } => {}
                Poll::Returned(results) => break results,
                Poll::Failed(error) => panic!("{name}: {error}"),
            }
        };
        self.store = task.kill();
        (number(&results), turns)
    }

    /// Calls the export `name` in slices of one unit, and ends it after `turns` of them.
    pub(crate) fn kill_after(&mut self, name: &str, arguments: &[u64], turns: usize) {
        let arguments: Vec<Val> = arguments.iter().map(|number| self.value(*number)).collect();
        let func = self.instance.get_func(&self.store, name).expect("it is exported");
        let other = Store::new(self.store.engine(), Heap::default());
        let store = core::mem::replace(&mut self.store, other);
        let mut task = Task::new(store, func, &arguments).expect("the arguments have its type");
        for _ in 0..turns {
            assert!(matches!(task.run(1), Poll::Runnable), "it takes more turns");
        }
        self.store = task.kill();
    }

    /// Calls the export `name`, which must not trap.
    pub(crate) fn get(&mut self, name: &str, arguments: &[u64]) -> u64 {
        self.call(name, arguments).unwrap_or_else(|error| panic!("{name}({arguments:x?}): {error}"))
    }

    /// Frees a live block.
    pub(crate) fn free(&mut self, block: u64) {
        self.get("free", &[block]);
    }

    pub(crate) fn memory(&self) -> Memory {
        self.instance.get_memory(&self.store, "memory").expect("it is exported")
    }

    pub(crate) fn report(&self) -> HeapReport {
        self.store.data().report()
    }

    pub(crate) fn bytes(&self, at: u64, len: u64) -> &[u8] {
        &self.memory().data(&self.store)[range(at, len)]
    }

    pub(crate) fn fill(&mut self, at: u64, len: u64, byte: u8) {
        self.memory().data_mut(&mut self.store)[range(at, len)].fill(byte);
    }

    /// Writes bytes `from..to` of the pattern to the block at `at`. Some pages of the pattern are
    /// zero.
    pub(crate) fn pattern(&mut self, at: u64, from: u64, to: u64) {
        let part = &mut self.memory().data_mut(&mut self.store)[range(at + from, to.saturating_sub(from))];
        (from..).zip(part).for_each(|(offset, byte)| *byte = pattern_byte(offset));
    }

    /// Checks that the block at `at` starts with `len` bytes of the pattern.
    pub(crate) fn expect_pattern(&self, at: u64, len: u64) {
        let wrong = (0..len).zip(self.bytes(at, len)).find(|(offset, byte)| **byte != pattern_byte(*offset));
        assert_eq!(wrong, None);
    }
}

/// Returns the result of a call, or 0 if it has none.
fn number(results: &[Val]) -> u64 {
    match results.first() {
        Some(Val::I32(number)) => u64::from(number.cast_unsigned()),
        Some(Val::I64(number)) => number.cast_unsigned(),
        _ => 0,
    }
}

fn range(at: u64, len: u64) -> Range<usize> {
    let offset = |number: u64| usize::try_from(number).expect("it is inside the memory");
    offset(at)..offset(at + len)
}

/// Returns the part of `number` that a 32-bit guest can pass.
fn low_half(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).expect("it has 32 bits")
}

fn pattern_byte(offset: u64) -> u8 {
    if (offset / 4096) % 3 == 1 { 0 } else { (offset % 251).to_le_bytes()[0] }
}
