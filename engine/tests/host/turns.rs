//! Turns of a metered guest whose clears take longer than a slice.

use crate::support::engine_with;
use palimpsest_engine::{
    ClearError, Config, Error, Fuel, Instance, Limits, Linker, Memory, Module, Poll, Store, StoreOptions,
    Task, TrapCode, Val,
};
use std::{format, vec::Vec};

/// The memory of the guest in Wasm pages, and in pages of 4 KiB.
const WASM_PAGES: usize = 128;
const PAGES: usize = WASM_PAGES * 16;

/// The pages of a piece on the fixed backing: 1 MiB.
const PIECE_PAGES: usize = 256;

/// The fuel for a page, which this backing zeroes: a unit for 64 bytes.
const PAGE_UNITS: u64 = 64;

/// The forms of a clear, with the type of their numbers.
const FORMS: [(&str, &str); 5] =
    [("clear", "i32"), ("discard", "i64"), ("void", "i32"), ("instruction", "i32"), ("instruction", "i64")];

fn load(index: &str) -> Module {
    let text = format!(
        r#"(module
        (import "palimpsest" "clear_pages" (func $clear (param {index} {index}) (result i32)))
        (import "palimpsest" "discard" (func $discard (param {index} {index}) (result i32)))
        (import "env" "__wbindgen_memory_discard" (func $void (param {index} {index})))
        (memory (export "m") {index} {WASM_PAGES})
        (func (export "clear") (param {index} {index}) (result i32) (call $clear (local.get 0) (local.get 1)))
        (func (export "discard") (param {index} {index}) (result i32)
            (call $discard (local.get 0) (local.get 1)))
        (func (export "void") (param {index} {index}) (result i32)
            (call $void (local.get 0) (local.get 1)) (i32.const 1))
        (func (export "instruction") (param {index} {index}) (result i32)
            (memory.discard (local.get 0) (local.get 1)) (i32.const 1)))"#
    );
    let (engine, _) = engine_with(Config::default().fuel(Fuel::Metered));
    Module::new(&engine, &wat::parse_str(text).unwrap()).unwrap()
}

/// Creates a guest with a full memory.
fn filled(module: &Module, limits: Limits) -> (Store<()>, Instance, Memory) {
    let options = StoreOptions { limits: Some(limits), ..StoreOptions::default() };
    let mut store = Store::with_options(module.engine(), (), options);
    let instance = Linker::new().instantiate(&mut store, module).unwrap();
    let memory = instance.get_memory(&store, "m").unwrap();
    memory.data_mut(&mut store).fill(0xAA);
    (store, instance, memory)
}

/// Returns the arguments that name Wasm pages `start..start + count` in a form.
fn arguments(form: &str, index: &str, start: u32, count: u32) -> [Val; 2] {
    let unit = if form == "clear" { 1 } else { 65_536 };
    [start * unit, count * unit].map(|number| match index {
        "i32" => Val::I32(number.cast_signed()),
        _ => Val::I64(number.into()),
    })
}

fn zero_pages(store: &Store<()>, memory: Memory) -> usize {
    memory.data(store).iter().step_by(4096).filter(|first| **first == 0).count()
}

/// A turn: the fuel that it used, and the pages that it cleared.
#[derive(Clone, Copy, Debug)]
struct Turn {
    units: u64,
    pages: usize,
}

/// Runs a clear in slices of `fuel` units.
fn run(task: &mut Task<()>, memory: Memory, fuel: u64) -> (Result<Vec<Val>, Error>, Vec<Turn>) {
    let mut turns = Vec::new();
    loop {
        let (units, pages) = (task.fuel_used(), zero_pages(task.store(), memory));
        let poll = task.run(fuel);
        let turn = Turn { units: task.fuel_used() - units, pages: zero_pages(task.store(), memory) - pages };
        turns.push(turn);
        match poll {
            Poll::Runnable | Poll::Waiting { .. } => {}
            Poll::Returned(values) => return (Ok(values), turns),
            Poll::Failed(error) => return (Err(error), turns),
        }
    }
}

#[test]
fn a_turn_clears_at_most_a_piece_more_than_its_fuel_pays_for() {
    for (form, index) in FORMS {
        let module = load(index);
        for fuel in [10 * PAGE_UNITS, 300 * PAGE_UNITS, 1_000_000] {
            let (store, instance, memory) = filled(&module, Limits::default());
            let func = instance.get_func(&store, form).unwrap();
            let mut task = Task::new(store, func, &arguments(form, index, 1, 126)).unwrap();
            let (ended, turns) = run(&mut task, memory, fuel);
            assert!(matches!(ended.unwrap()[..], [Val::I32(1)]), "{form}: the frames were retained");
            let cleared = 126 * 16;
            assert_eq!(turns.iter().map(|turn| turn.pages).sum::<usize>(), cleared, "{form}");
            for turn in &turns {
                // Fuel for the instructions is saved up.
                let most = fuel + PIECE_PAGES as u64 * PAGE_UNITS;
                assert!(turn.units <= most + 8, "{form}: {turn:?} in a slice of {fuel}");
                assert!(turn.pages as u64 * PAGE_UNITS <= most, "{form}: {turn:?} in a slice of {fuel}");
            }
            let units: u64 = turns.iter().map(|turn| turn.units).sum();
            let price = cleared as u64 * PAGE_UNITS;
            assert!((price..price + 40).contains(&units), "{form}: {units} units in all");
            let bytes = memory.data(task.store());
            assert!(bytes[..65_536] == [0xAA; 65_536] && bytes[127 * 65_536..] == [0xAA; 65_536], "{form}");
            assert!(bytes[65_536..127 * 65_536].chunks(65_536).all(|page| page == [0; 65_536]), "{form}");
        }
    }
}

#[test]
fn a_divided_clear_costs_what_an_undivided_one_costs() {
    let module = load("i32");
    let limits = Limits::default();
    let cost = |fuel| {
        let (store, instance, memory) = filled(&module, limits);
        let func = instance.get_func(&store, "clear").unwrap();
        let mut task = Task::new(store, func, &arguments("clear", "i32", 0, 128)).unwrap();
        let (ended, _) = run(&mut task, memory, fuel);
        ended.unwrap();
        task.fuel_used()
    };
    let in_slices = cost(10 * PAGE_UNITS);
    assert_eq!(in_slices, cost(1_000_000));
    let (mut store, instance, _) = filled(&module, limits);
    store.set_fuel(1_000_000).unwrap();
    let clear = instance.get_typed_func::<(u32, u32), i32>(&store, "clear").unwrap();
    assert_eq!(clear.call(&mut store, (0, 128)).unwrap(), 1);
    assert_eq!(1_000_000 - store.get_fuel().unwrap(), in_slices);
}

#[test]
fn the_arguments_of_a_divided_clear_are_checked_before_the_first_piece() {
    let module = load("i32");
    let (store, instance, memory) = filled(&module, Limits::default());
    let func = instance.get_func(&store, "clear").unwrap();
    let mut task = Task::new(store, func, &arguments("clear", "i32", 1, 128)).unwrap();
    let (ended, turns) = run(&mut task, memory, 5);
    let expected = ClearError::OutOfBounds { start: 1, count: 128, size: 128 };
    assert_eq!(ended.unwrap_err().downcast_ref(), Some(&expected));
    assert!(turns.iter().all(|turn| turn.pages == 0), "{turns:?}");
}

#[test]
fn a_guest_that_is_killed_in_a_clear_leaves_nothing() {
    let module = load("i32");
    // The slice of the engine has room for one such memory, and so has the second round.
    for _ in 0..2 {
        let (store, instance, memory) = filled(&module, Limits::default());
        let func = instance.get_func(&store, "clear").unwrap();
        let mut task = Task::new(store, func, &arguments("clear", "i32", 0, 128)).unwrap();
        while zero_pages(task.store(), memory) < PAGES / 2 {
            assert!(matches!(task.run(50 * PAGE_UNITS), Poll::Runnable));
        }
        let mut store = task.kill();
        assert!(zero_pages(&store, memory) < PAGES);
        // The store is still of use, and what was left of the clear does not reach later calls.
        store.set_fuel(1_000_000).unwrap();
        memory.data_mut(&mut store).fill(0xAA);
        let clear = instance.get_typed_func::<(u32, u32), i32>(&store, "clear").unwrap();
        clear.call(&mut store, (127, 1)).unwrap();
        assert_eq!(zero_pages(&store, memory), 16);
    }
}

#[test]
fn a_guest_whose_quota_is_used_up_in_a_clear_ends() {
    let module = load("i32");
    let mut limits = Limits::default();
    limits.fuel = Some(700 * PAGE_UNITS);
    for fuel in [PAGE_UNITS, 90 * PAGE_UNITS, 10_000 * PAGE_UNITS] {
        let (store, instance, memory) = filled(&module, limits);
        let func = instance.get_func(&store, "clear").unwrap();
        let mut task = Task::new(store, func, &arguments("clear", "i32", 0, 128)).unwrap();
        let (ended, turns) = run(&mut task, memory, fuel);
        assert_eq!(ended.unwrap_err().as_trap_code(), Some(TrapCode::OutOfFuel));
        let pages: usize = turns.iter().map(|turn| turn.pages).sum();
        assert_eq!(pages, 3 * PIECE_PAGES, "three pieces began while fuel was left");
        assert!(turns.len() <= 702, "{} turns", turns.len());
    }
}
