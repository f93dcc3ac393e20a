//! Bulk instructions of a metered guest: divided into pieces, with the effect of the instructions.

#![expect(
    clippy::cast_possible_truncation,
    reason = "operands are cut to the index type, and the sizes of a test are small"
)]

use crate::support::engine_with;
use palimpsest_engine::{
    Config, Error, Fuel, Images, Limits, Linker, Module, Poll, Store, Task, TrapCode, Val,
};
use std::{fmt::Write as _, format, string::String, vec::Vec};

/// A piece of a divided instruction, in bytes and in units of fuel.
const PIECE: u64 = 1 << 16;
const PIECE_FUEL: u64 = PIECE / 64;

/// The memories of [`every_instruction`]: their types in text, index types and sizes in bytes.
const MEMORIES: [(&str, &str, u64); 4] = [
    ("10 10", "i32", 10 * PIECE),
    ("i64 9 9", "i64", 9 * PIECE),
    ("600000 600000 (pagesize 1)", "i32", 600_000),
    ("i64 500001 500001 (pagesize 1)", "i64", 500_001),
];

/// The bytes of the passive segment.
const SEGMENT: u64 = 3 * PIECE + 77;

/// Returns a module with every bulk instruction over memories of every type. Each export passes its
/// parameters on: `fill-0`, `copy-0-1`, `init-0`, and `drop`.
fn every_instruction() -> String {
    let mut text = String::from("(module");
    for (index, (ty, ..)) in MEMORIES.iter().enumerate() {
        write!(text, "(memory (export \"{index}\") {ty})").unwrap();
    }
    let mut export = |name: &str, types: &[&str], instruction: &str| {
        write!(text, "(func (export \"{name}\") (param {}) ", types.join(" ")).unwrap();
        (0..types.len()).for_each(|index| write!(text, "(local.get {index})").unwrap());
        write!(text, "{instruction})").unwrap();
    };
    for (to, (_, index, _)) in MEMORIES.iter().enumerate() {
        export(&format!("fill-{to}"), &[index, "i32", index], &format!("memory.fill {to}"));
        export(&format!("init-{to}"), &[index, "i32", "i32"], &format!("memory.init {to} $segment"));
        for (from, (_, from_index, _)) in MEMORIES.iter().enumerate() {
            let len = if [*index, *from_index].contains(&"i32") { "i32" } else { "i64" };
            let copy = format!("memory.copy {to} {from}");
            export(&format!("copy-{to}-{from}"), &[index, from_index, len], &copy);
        }
    }
    export("drop", &[], "data.drop $segment");
    let segment: String = (0..SEGMENT).map(|byte| char::from(b'A' + (byte % 59 % 26) as u8)).collect();
    write!(text, "(data $segment \"{segment}\"))").unwrap();
    text
}

/// What an instruction does to the bytes of a memory.
type Effect = fn(&mut [u8]);

fn load(fuel: Fuel, text: &str) -> Module {
    let (engine, _) = engine_with(Config::default().fuel(fuel).images(Images::Off));
    Module::new(&engine, &wat::parse_str(text).unwrap()).unwrap()
}

/// A guest whose calls run in slices.
struct Sliced {
    store: Option<Store<()>>,
    instance: palimpsest_engine::Instance,
}

impl Sliced {
    fn new(module: &Module) -> Self {
        let mut store = Store::new(module.engine(), ());
        let instance = Linker::new().instantiate(&mut store, module).unwrap();
        Self { store: Some(store), instance }
    }

    /// Calls an export in slices of `fuel` units. Returns how it ended, and the units that each
    /// turn used.
    fn call(&mut self, name: &str, arguments: &[Val], fuel: u64) -> (Result<(), Error>, Vec<u64>) {
        let store = self.store.take().unwrap();
        let func = self.instance.get_func(&store, name).unwrap();
        let mut task = Task::new(store, func, arguments).unwrap();
        let mut turns = Vec::new();
        let ended = loop {
            let before = task.fuel_used();
            let poll = task.run(fuel);
            turns.push(task.fuel_used() - before);
            match poll {
                Poll::Runnable | Poll::Waiting { .. } => {}
                Poll::Returned(_) => break Ok(()),
                Poll::Failed(error) => break Err(error),
            }
        };
        self.store = Some(task.kill());
        (ended, turns)
    }

    fn bytes_mut(&mut self, memory: &str) -> &mut [u8] {
        let store = self.store.as_mut().unwrap();
        self.instance.get_memory(&*store, memory).unwrap().data_mut(store)
    }

    fn bytes(&self, memory: &str) -> &[u8] {
        let store = self.store.as_ref().unwrap();
        self.instance.get_memory(store, memory).unwrap().data(store)
    }
}

/// A generator of operands at and around the bounds of pieces, memories and the segment.
struct Operands(u64);

impl Operands {
    fn next(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    /// Returns an operand that is, as a rule, below `limit` or a little above.
    fn operand(&mut self, limit: u64) -> u64 {
        let near = self.next(9).wrapping_sub(4);
        match self.next(8) {
            0 => near,
            1 => limit.wrapping_add(near),
            2 => u64::MAX.wrapping_add(near) << (self.next(2) * 31),
            3 | 4 => (self.next(limit / PIECE + 1) * PIECE).wrapping_add(near),
            _ => self.next(limit),
        }
    }

    /// Returns a length that fits after `start`, as a rule.
    fn length(&mut self, start: u64, limit: u64) -> u64 {
        let rest = limit.saturating_sub(start);
        match self.next(8) {
            0 => self.operand(limit),
            1 => rest,
            2 => rest.wrapping_add(1),
            _ => self.next(rest + 1),
        }
    }
}

fn val(index: &str, value: u64) -> Val {
    if index == "i32" { Val::I32((value as u32).cast_signed()) } else { Val::I64(value.cast_signed()) }
}

#[test]
fn random_instructions_have_the_same_effect_in_pieces_and_in_one_step() {
    let text = every_instruction();
    let (divided, whole) = (load(Fuel::Metered, &text), load(Fuel::Unmetered, &text));
    let mut divided = Sliced::new(&divided);
    let mut store = Store::new(whole.engine(), ());
    let instance = Linker::new().instantiate(&mut store, &whole).unwrap();
    let mut operands = Operands(0x2545_f491_4f6c_dd1d);
    let (mut traps, mut long) = (0, 0);
    const ROUNDS: u32 = 1_500;
    for round in 0..ROUNDS {
        let to = operands.next(4) as usize;
        let from = operands.next(4) as usize;
        let ((_, index, size), (_, from_index, from_size)) = (MEMORIES[to], MEMORIES[from]);
        let start = operands.operand(size);
        let (name, arguments) = match operands.next(5) {
            0 | 1 => {
                let len = operands.length(start, size);
                let value = operands.next(256);
                (format!("fill-{to}"), [val(index, start), val("i32", value), val(index, len)])
            }
            2 | 3 => {
                let source = operands.operand(from_size);
                let len = operands.length(start.max(source), size.min(from_size));
                let len_index = if [index, from_index].contains(&"i32") { "i32" } else { "i64" };
                let arguments = [val(index, start), val(from_index, source), val(len_index, len)];
                (format!("copy-{to}-{from}"), arguments)
            }
            _ => {
                let source = operands.operand(SEGMENT);
                let len = operands.length(source, SEGMENT);
                (format!("init-{to}"), [val(index, start), val("i32", source), val("i32", len)])
            }
        };
        let func = instance.get_func(&store, &name).unwrap();
        let expected = func.call(&mut store, &arguments, &mut []).map_err(|error| error.as_trap_code());
        let (found, turns) = divided.call(&name, &arguments, PIECE_FUEL + 100);
        let found = found.map_err(|error| error.as_trap_code());
        assert_eq!(found, expected, "round {round}: {name} {arguments:?}");
        (traps, long) = (traps + u32::from(found.is_err()), long + u32::from(turns.len() > 1));
        for memory in ["0", "1", "2", "3"] {
            let expected = instance.get_memory(&store, memory).unwrap().data(&store);
            let same = divided.bytes(memory) == expected;
            assert!(same, "round {round}: memory {memory} after {name} {arguments:?}");
        }
        if round == ROUNDS * 4 / 5 {
            let drop = instance.get_func(&store, "drop").unwrap();
            drop.call(&mut store, &[], &mut []).unwrap();
            divided.call("drop", &[], 100).0.unwrap();
        }
    }
    // Otherwise the operands would test nothing.
    assert!(traps > ROUNDS / 10 && traps < ROUNDS / 2, "{traps} traps");
    assert!(long > ROUNDS / 5, "{long} calls were divided");
}

#[test]
fn no_turn_of_a_long_instruction_exceeds_its_slice_by_more_than_a_piece() {
    const LEN: usize = 63 * PIECE as usize + 1;
    let text = r#"(module (memory (export "0") 64)
        (func (export "fill") (param i32) (memory.fill (i32.const 0) (i32.const 7) (local.get 0)))
        (func (export "up") (param i32) (memory.copy (i32.const 3) (i32.const 0) (local.get 0)))
        (func (export "down") (param i32) (memory.copy (i32.const 0) (i32.const 3) (local.get 0))))"#;
    let effects: [(&str, Effect); 3] = [
        ("fill", |bytes| bytes[..LEN].fill(7)),
        ("up", |bytes| bytes.copy_within(..LEN, 3)),
        ("down", |bytes| bytes.copy_within(3..LEN + 3, 0)),
    ];
    for (name, effect) in effects {
        for fuel in [1, 100, PIECE_FUEL, 5_000] {
            let mut guest = Sliced::new(&load(Fuel::Metered, text));
            let mut expected: Vec<u8> = (0..64 * PIECE).map(|byte| (byte % 251) as u8).collect();
            guest.bytes_mut("0").copy_from_slice(&expected);
            effect(&mut expected);
            let (ended, turns) = guest.call(name, &[val("i32", LEN as u64)], fuel);
            ended.unwrap();
            let longest = turns.iter().max().copied().unwrap_or_default();
            assert!(longest <= fuel + PIECE_FUEL, "{name}: {longest} units in a turn of {fuel}");
            let used: u64 = turns.iter().sum();
            let copying = LEN as u64 / 64;
            assert!((copying..copying + copying / 20).contains(&used), "{name}: {used} units");
            assert!(guest.bytes("0") == expected, "{name} in slices of {fuel}");
        }
    }
}

#[test]
fn a_constant_length_of_one_piece_costs_no_comparison() {
    let fuel_of = |length: &str| {
        let text = format!(
            r#"(module (memory 2) (func (export "fill") (local i32)
                (local.set 0 (i32.const 65536))
                (memory.fill (i32.const 0) (i32.const 7) {length})))"#
        );
        let mut guest = Sliced::new(&load(Fuel::Metered, &text));
        let (ended, turns) = guest.call("fill", &[], 100_000);
        ended.unwrap();
        turns[0]
    };
    let (constant, variable) = (fuel_of("(i32.const 65536)"), fuel_of("(local.get 0)"));
    assert!(constant < variable, "{constant} units with a constant, {variable} with a variable");
    assert!(fuel_of("(i32.const 65537)") > constant + 1);
}

#[test]
fn dense_instructions_and_many_locals_are_divided_without_guards() {
    let many_locals = format!("(local {})", "i64 ".repeat(1_000));
    let dense = "(memory.fill (i32.const 0) (i32.const 3) (local.get 0))".repeat(40);
    for (locals, before) in [(many_locals.as_str(), ""), ("", dense.as_str())] {
        let text = format!(
            r#"(module (memory (export "0") 9) (func (export "fill") (param i32) {locals} {before}
                (memory.fill (i32.const 1) (i32.const 7) (local.get 0))))"#
        );
        for (len, divided) in [(10, false), (8 * PIECE, true)] {
            let mut guest = Sliced::new(&load(Fuel::Metered, &text));
            let (ended, turns) = guest.call("fill", &[val("i32", len)], PIECE_FUEL);
            ended.unwrap();
            assert_eq!(turns.len() >= 8, divided, "{} turns", turns.len());
            let bytes = guest.bytes("0");
            assert!(bytes[1..=len as usize].iter().all(|byte| *byte == 7));
            assert_eq!(bytes[len as usize + 1], 0);
        }
    }
}

#[test]
fn a_segment_of_one_piece_needs_no_function_and_a_longer_one_is_divided() {
    for (bytes, divided) in [(PIECE, false), (PIECE * 8, true)] {
        let text = format!(
            r#"(module (memory (export "0") 9) (data $segment "{}") (func (export "init") (param i32)
                (memory.init $segment (i32.const 3) (i32.const 0) (local.get 0))))"#,
            "x".repeat(bytes as usize)
        );
        let mut guest = Sliced::new(&load(Fuel::Metered, &text));
        let (ended, turns) = guest.call("init", &[val("i32", bytes)], PIECE_FUEL);
        ended.unwrap();
        assert_eq!(turns.len() >= 8, divided, "{} turns", turns.len());
        assert!(guest.bytes("0")[3..3 + bytes as usize].iter().all(|byte| *byte == b'x'));
        let (ended, _) = guest.call("init", &[val("i32", bytes + 1)], PIECE_FUEL);
        assert_eq!(ended.unwrap_err().as_trap_code(), Some(TrapCode::MemoryOutOfBounds));
    }
}

#[test]
fn growing_a_table_costs_fuel_by_its_new_elements() {
    let text = r#"(module (table 0 100000 funcref)
        (func (export "grow") (param i32) (drop (table.grow (ref.null func) (local.get 0)))))"#;
    let mut guest = Sliced::new(&load(Fuel::Metered, text));
    let mut fuel_of = |delta| guest.call("grow", &[val("i32", delta)], 100_000).1[0];
    let (nothing, much) = (fuel_of(0), fuel_of(64_000));
    assert_eq!(much - nothing, 64_000 * 4 / 64);
    assert_eq!(fuel_of(64_000), nothing, "growth above the maximum is refused");
}

#[test]
fn a_table_grows_when_the_growth_is_paid() {
    const ELEMENTS: u32 = 64_000;
    const COST: u64 = ELEMENTS as u64 * 4 / 64;
    let text = r#"(module (table (export "t") 5 100000 funcref) (elem declare func 0)
        (func (export "grow") (result i32) (table.grow (ref.func 0) (i32.const 64000))))"#;
    let module = load(Fuel::Metered, text);
    let mut store = Store::new(module.engine(), ());
    let instance = Linker::new().instantiate(&mut store, &module).unwrap();
    let (table, grow) =
        (instance.get_table(&store, "t").unwrap(), instance.get_func(&store, "grow").unwrap());
    let mut task = Task::new(store, grow, &[]).unwrap();
    for _ in 0..4 {
        assert!(matches!(task.run(COST / 4), Poll::Runnable));
        assert_eq!(table.size(task.store()), 5);
    }
    // The first slice paid for a few other instructions as well.
    let Poll::Returned(results) = task.run(100) else { panic!("the growth is paid") };
    assert!(matches!(results[..], [Val::I32(5)]), "{results:?}");
    assert!((COST..COST + 20).contains(&task.fuel_used()), "{}", task.fuel_used());
    let size = table.size(task.store());
    assert_eq!(size, 5 + u64::from(ELEMENTS));
    let last = table.get(task.store_mut(), size - 1).unwrap();
    assert!(last.as_func().is_some_and(|func| !func.is_null()), "{last:?}");
}

#[test]
fn the_code_that_divides_instructions_counts_against_the_limit_of_code() {
    let memories = "(memory 0)".repeat(8);
    let pairs = (0..8).flat_map(|to| (0..8).map(move |from| (to, from)));
    let copies: String =
        pairs.map(|(to, from)| format!("(memory.copy {to} {from} {})", "(local.get 0)".repeat(3))).collect();
    let wasm = wat::parse_str(format!("(module {memories} (func (param i32) {copies}))")).unwrap();
    let load = |fuel, code_bytes| {
        let mut limits = Limits::default();
        limits.code_bytes = code_bytes;
        let (engine, _) = engine_with(Config::default().fuel(fuel).limits(limits));
        Module::new(&engine, &wasm).map(drop).map_err(|error| error.to_string())
    };
    load(Fuel::Unmetered, 1_000).unwrap();
    let error = load(Fuel::Metered, 1_000).unwrap_err();
    assert!(error.contains("limit `code_bytes` is 1000"), "{error}");
    load(Fuel::Metered, 1_000 + 64 * 200).unwrap();
}

#[test]
fn a_call_that_runs_out_of_fuel_has_executed_the_pieces_that_it_paid_for() {
    let text = r#"(module (memory (export "0") 64)
        (func (export "fill") (param i32) (memory.fill (i32.const 0) (i32.const 7) (local.get 0))))"#;
    let module = load(Fuel::Metered, text);
    let mut store = Store::new(module.engine(), ());
    let instance = Linker::new().instantiate(&mut store, &module).unwrap();
    store.set_fuel(3 * PIECE_FUEL + 200).unwrap();
    let fill = instance.get_func(&store, "fill").unwrap();
    let error = fill.call(&mut store, &[val("i32", 8 * PIECE)], &mut []).unwrap_err();
    assert_eq!(error.as_trap_code(), Some(TrapCode::OutOfFuel));
    let bytes = instance.get_memory(&store, "0").unwrap().data(&store);
    let (paid, rest) = bytes.split_at(3 * PIECE as usize);
    assert!(paid.iter().all(|byte| *byte == 7) && rest.iter().all(|byte| *byte == 0));
}
