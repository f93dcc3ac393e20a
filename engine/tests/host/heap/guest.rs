//! A guest that passes its exports' arguments on to the heap, for either index type.

use crate::support::module;
use palimpsest_engine::{Config, Engine, Error, Fixed, HeapReport, Instance, Linker, Memory, Store, Val};
use std::{boxed::Box, mem::MaybeUninit, ops::Range, sync::Arc};

/// Both, as the text format has them.
pub(super) const INDEX_TYPES: [&str; 2] = ["i32", "i64"];

/// Bytes behind each engine, and what a memory can have of them.
const SLICE_BYTES: usize = 24 << 20;

/// An instance in a store of its own.
pub(super) struct Guest {
    pub(super) store: Store<()>,
    instance: Instance,
    index: &'static str,
}

/// The module: a memory of the given limits, and `extra` fields.
pub(super) fn text(index: &str, limits: &str, extra: &str) -> String {
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
    format!("(module {imports} (memory (export \"m\") {index} {limits}) {exports} {extra})")
}

/// An engine over a slice that has room for the memories of these tests.
pub(super) fn engine(config: Config) -> Engine {
    let bytes = Box::leak(vec![MaybeUninit::uninit(); SLICE_BYTES].into_boxed_slice());
    Engine::new(config, Arc::new(Fixed::new(bytes, 16 << 20))).expect("a test build's dispatch is flat")
}

impl Guest {
    /// A guest with a memory of `limits`, as the text format has them.
    pub(super) fn new(index: &'static str, limits: &str) -> Self {
        Self::with_config(Config::default(), index, limits, "")
    }

    /// The same with `extra` fields in the module.
    pub(super) fn with_config(config: Config, index: &'static str, limits: &str, extra: &str) -> Self {
        let engine = engine(config);
        let module = module(&engine, &text(index, limits, extra));
        let mut store = Store::new(&engine, ());
        let instance = Linker::new().instantiate(&mut store, &module).expect("the guest links");
        Self { store, instance, index }
    }

    /// Calls the export `name` with arguments and a result of the index type; 0 where there is none.
    pub(super) fn call(&mut self, name: &str, arguments: &[u64]) -> Result<u64, Error> {
        let value = |number: &u64| match self.index {
            "i32" => Val::I32(low_half(*number).cast_signed()),
            _ => Val::I64(number.cast_signed()),
        };
        let arguments: Vec<Val> = arguments.iter().map(value).collect();
        let func = self.instance.get_func(&self.store, name).expect("it is exported");
        let mut results = vec![Val::I32(0); func.ty(&self.store).results().len()];
        func.call(&mut self.store, &arguments, &mut results)?;
        Ok(match results.first() {
            Some(Val::I32(number)) => u64::from(number.cast_unsigned()),
            Some(Val::I64(number)) => number.cast_unsigned(),
            _ => 0,
        })
    }

    /// Calls the export `name`, which must return.
    pub(super) fn get(&mut self, name: &str, arguments: &[u64]) -> u64 {
        self.call(name, arguments).unwrap_or_else(|error| panic!("{name}({arguments:x?}): {error}"))
    }

    /// Frees a live block.
    pub(super) fn free(&mut self, block: u64) {
        self.get("free", &[block]);
    }

    pub(super) fn memory(&self) -> Memory {
        self.instance.get_memory(&self.store, "m").expect("it is exported")
    }

    pub(super) fn report(&self) -> HeapReport {
        self.memory().heap_report(&self.store)
    }

    pub(super) fn bytes(&self, at: u64, len: u64) -> &[u8] {
        &self.memory().data(&self.store)[range(at, len)]
    }

    pub(super) fn fill(&mut self, at: u64, len: u64, byte: u8) {
        self.memory().data_mut(&mut self.store)[range(at, len)].fill(byte);
    }

    /// Writes bytes `from..to` of a pattern to the block at `at`. Some of its pages are zero.
    pub(super) fn pattern(&mut self, at: u64, from: u64, to: u64) {
        let part = &mut self.memory().data_mut(&mut self.store)[range(at + from, to.saturating_sub(from))];
        (from..).zip(part).for_each(|(offset, byte)| *byte = pattern_byte(offset));
    }

    /// Checks the first `len` bytes of it.
    pub(super) fn expect_pattern(&self, at: u64, len: u64) {
        let wrong = (0..len).zip(self.bytes(at, len)).find(|(offset, byte)| **byte != pattern_byte(*offset));
        assert_eq!(wrong, None);
    }
}

fn range(at: u64, len: u64) -> Range<usize> {
    let offset = |number: u64| usize::try_from(number).expect("it is inside the memory");
    offset(at)..offset(at + len)
}

/// What of a number a 32-bit guest can pass.
fn low_half(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).expect("it has 32 bits")
}

fn pattern_byte(offset: u64) -> u8 {
    if (offset / 4096) % 3 == 1 { 0 } else { (offset % 251).to_le_bytes()[0] }
}
