//! The fuel for instructions that move many values.

use palimpsest_engine::{Config, Fuel, Linker, Store};
use std::fmt::Write as _;

use crate::support::{engine_with, module};

/// Returns the units that one round of `body` takes, in a function with the locals `$i` and `$n`.
/// `items` are further items of the module.
fn units_of(items: &str, body: &str) -> u64 {
    let (engine, _) = engine_with(Config::default().fuel(Fuel::Metered));
    let text = format!(
        r#"(module {items}
            (func (export "run") (param $rounds i32) (local $i i32) (local $n i64)
                (block $end
                    (loop $again
                        (br_if $end (i32.eqz (local.get $rounds)))
                        {body}
                        (local.set $rounds (i32.sub (local.get $rounds) (i32.const 1)))
                        (br $again)))))"#
    );
    let module = module(&engine, &text);
    let mut store = Store::new(&engine, ());
    let instance = Linker::new().instantiate(&mut store, &module).unwrap();
    let run = instance.get_typed_func::<u32, ()>(&store, "run").unwrap();
    let mut used = |rounds| {
        store.set_fuel(1_000_000).unwrap();
        run.call(&mut store, rounds).unwrap();
        1_000_000 - store.get_fuel().unwrap()
    };
    let (one, eleven) = (used(1), used(11));
    (eleven - one) / 10
}

/// Returns `text`, repeated `count` times.
fn times(count: usize, text: &str) -> String {
    (0..count).fold(String::new(), |mut all, _| {
        write!(all, "{text} ").unwrap();
        all
    })
}

#[test]
fn a_call_costs_by_the_locals_of_its_callee() {
    let call = |locals: usize| units_of(&format!("(func $f (local {}))", times(locals, "i64")), "(call $f)");
    let plain = call(0);
    assert_eq!(call(100), plain);
    // Zeroing eight takes as long as a unit.
    assert_eq!(call(1_280), plain + 160);
    assert_eq!(call(10_000), plain + 78 * 16);
}

#[test]
fn a_parameter_is_not_zeroed() {
    let call = |params: usize| {
        let items = format!("(func $f (param {}))", times(params, "i32"));
        units_of(&items, &format!("(call $f {})", times(params, "(i32.const 1)")))
    };
    // A unit for each constant.
    assert_eq!(call(300) - call(0), 300);
}

#[test]
fn a_return_costs_by_its_results() {
    let call = |results: usize| {
        let items = format!(
            "(func $f (result {all}) (call $g)) (func $g (result {all}) {consts})",
            all = times(results, "i32"),
            consts = times(results, "(i32.const 1)")
        );
        units_of(&items, &format!("(call $f) {}", times(results, "(drop)")))
    };
    // Two functions return them, and a unit for each constant.
    assert_eq!(call(1_000) - call(1), 999 + 2 * 62 * 16);
}

#[test]
fn a_branch_costs_by_the_operands_that_it_carries_once_for_all_targets() {
    let branch = |operands: usize, branch: &str| {
        let items = format!("(type $t (func (result {})))", times(operands, "i32"));
        let body = format!(
            "(block $b (type $t) {} {branch}) {}",
            times(operands, "(i32.const 1)"),
            times(operands, "(drop)")
        );
        units_of(&items, &body)
    };
    // The block itself has as many results.
    for instruction in ["(br_if $b (local.get $i))", "(br $b)", "(br_table $b $b $b $b (local.get $i))"] {
        assert_eq!(branch(1_000, instruction) - branch(1, instruction), 999 + 2 * 62 * 16, "{instruction}");
        assert_eq!(branch(16, instruction) - branch(1, instruction), 15, "{instruction}");
    }
}

#[test]
fn a_block_costs_by_its_parameters_and_results() {
    let block = |operands: usize| {
        let all = times(operands, "i32");
        let items = format!("(type $t (func (param {all}) (result {all})))");
        let body =
            format!("{} (block (type $t)) {}", times(operands, "(i32.const 1)"), times(operands, "(drop)"));
        units_of(&items, &body)
    };
    assert_eq!(block(8) - block(1), 7);
    assert_eq!(block(500) - block(1), 499 + 62 * 16);
}
