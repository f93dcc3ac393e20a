//! Modules that are expensive to load, to translate, or to keep. They are encoded here because
//! their texts would have megabytes.

use alloc::vec::Vec;

use crate::encode::{
    CALL, DROP, END, Encoder, FUNCREF, I32, I32_CONST_0, LOCAL_GET_0, VOID, counted, func_type, number,
    signed, vector,
};

/// A module with the types `types` and one function of type 0, which is exported.
fn one_function(types: &[Vec<u8>], body: &[&[u8]]) -> Vec<u8> {
    let body = [&[0][..], &body.concat()].concat();
    Encoder::new().types(types).functions(&[0]).export_run(0).code(&[body]).finish()
}

const OPERANDS: usize = 900;

/// A jump table whose targets all carry many operands.
pub(super) fn wide_jump_table() -> Vec<u8> {
    const TARGETS: usize = 120_000;
    let block = [&[0x02][..], &number(1)].concat();
    let targets = [&[0x0e][..], &number(120_000), &[0; TARGETS + 1]].concat();
    let operands = I32_CONST_0.repeat(OPERANDS + 1);
    let drops = [DROP].repeat(OPERANDS);
    one_function(
        &[func_type(0, 0), func_type(0, OPERANDS)],
        &[&block, &operands, &targets, &[END], &drops, &[END]],
    )
}

/// The same with many small tables.
pub(super) fn many_jump_tables() -> Vec<u8> {
    const TABLES: usize = 8_000;
    let block = [&[0x02][..], &number(1)].concat();
    // In code that is not reached, the operands come from nowhere, and are still checked.
    let table = [&I32_CONST_0[..], &[0x0e, 10], &[0; 11]].concat().repeat(TABLES);
    let operands = I32_CONST_0.repeat(OPERANDS);
    let drops = [DROP].repeat(OPERANDS);
    one_function(
        &[func_type(0, 0), func_type(0, OPERANDS)],
        &[&block, &operands, &table, &[END], &drops, &[END]],
    )
}

/// Conditional branches over many constants, each of which copies all of them.
pub(super) fn branches_over_constants() -> Vec<u8> {
    const BRANCHES: usize = 120_000;
    let block = [&[0x02][..], &number(1)].concat();
    let branches = [&LOCAL_GET_0[..], &[0x0d, 0]].concat().repeat(BRANCHES);
    let operands = I32_CONST_0.repeat(OPERANDS);
    let drops = [DROP].repeat(OPERANDS);
    let body = [&block[..], &operands, &branches, &[END], &drops, &[END]].concat();
    let with_local = [&[1, 1, I32][..], &body].concat();
    let types = [func_type(0, 0), func_type(0, OPERANDS)];
    Encoder::new().types(&types).functions(&[0]).export_run(0).code(&[with_local]).finish()
}

/// Calls with many parameters and results.
pub(super) fn wide_calls() -> Vec<u8> {
    const CALLS: usize = 250_000;
    let types = [func_type(0, 0), func_type(OPERANDS, OPERANDS)];
    let calls = [CALL, 1].repeat(CALLS);
    let wide = [&[0][..], &LOCAL_GET_0.repeat(OPERANDS), &[END]].concat();
    let body = [&[0][..], &I32_CONST_0.repeat(OPERANDS), &calls, &[DROP].repeat(OPERANDS), &[END]].concat();
    Encoder::new().types(&types).functions(&[0, 1]).export_run(0).code(&[body, wide]).finish()
}

/// Blocks one after another that all take and return many operands.
pub(super) fn wide_blocks() -> Vec<u8> {
    const BLOCKS: usize = 100_000;
    let types = [func_type(0, 0), func_type(OPERANDS, OPERANDS)];
    let blocks = [0x02, 1, END].repeat(BLOCKS);
    let (operands, drops) = (I32_CONST_0.repeat(OPERANDS), [DROP].repeat(OPERANDS));
    one_function(&types, &[&operands, &blocks, &drops, &[END]])
}

/// Loops one after another that all take and return many operands.
pub(super) fn wide_loops() -> Vec<u8> {
    const LOOPS: usize = 100_000;
    let types = [func_type(0, 0), func_type(OPERANDS, OPERANDS)];
    let loops = [0x03, 1, END].repeat(LOOPS);
    let (operands, drops) = (I32_CONST_0.repeat(OPERANDS), [DROP].repeat(OPERANDS));
    one_function(&types, &[&operands, &loops, &drops, &[END]])
}

/// A local that is pushed many times, and set again and again, so that it has to be preserved.
pub(super) fn preserved_locals() -> Vec<u8> {
    const ROUNDS: usize = 100;
    const PUSHES: usize = 1_000;
    let round = [
        &LOCAL_GET_0.repeat(PUSHES)[..],
        &I32_CONST_0,
        &[0x21, 0],
        &[&I32_CONST_0[..], &[0x22, 0, DROP]].concat().repeat(200),
        &[DROP].repeat(PUSHES),
    ]
    .concat();
    let body = [&[1, 1, I32][..], &round.repeat(ROUNDS), &[END]].concat();
    Encoder::new().types(&[func_type(0, 0)]).functions(&[0]).export_run(0).code(&[body]).finish()
}

/// Blocks inside each other, deeper than they may be.
pub(super) fn nested_blocks() -> Vec<u8> {
    const DEPTH: usize = 100_000;
    one_function(&[func_type(0, 0)], &[&[0x02, VOID].repeat(DEPTH), &[END].repeat(DEPTH + 1)])
}

/// One function with more locals than the interpreter has registers for.
pub(super) fn many_locals() -> Vec<u8> {
    let body = [&[1][..], &number(49_000), &[I32], &[END]].concat();
    Encoder::new().types(&[func_type(0, 0)]).functions(&[0]).export_run(0).code(&[body]).finish()
}

/// Many functions with many locals each, in a few bytes.
pub(super) fn locals_everywhere() -> Vec<u8> {
    const FUNCTIONS: usize = 15_000;
    let body = [&[1][..], &number(20_000), &[I32], &[END]].concat();
    let bodies: Vec<_> = (0..FUNCTIONS).map(|_| body.clone()).collect();
    Encoder::new().types(&[func_type(0, 0)]).functions(&[0; FUNCTIONS]).export_run(0).code(&bodies).finish()
}

/// A section that announces more entries than it can have.
pub(super) fn lying_section() -> Vec<u8> {
    Encoder::new().section(1, &number(u32::MAX)).finish()
}

/// A module that ends in the middle of its code.
pub(super) fn truncated() -> Vec<u8> {
    let mut bytes = wide_blocks();
    bytes.truncate(bytes.len() / 2);
    bytes
}

/// More bytes than a module may have.
pub(super) fn too_long() -> Vec<u8> {
    // A custom section with a name of one byte.
    Encoder::new().section(0, &[&[1, b'x'][..], &[0; 9 << 20]].concat()).finish()
}

/// A function of about as many bytes, in instructions that take long to translate.
fn long_body(bytes: usize) -> Vec<u8> {
    // local 0 = local 0 + local 1, with a constant now and then.
    let sum = [0x20, 0, 0x20, 1, 0x6a, 0x21, 0];
    let sum_of_constant = [0x20, 0, 0x41, 7, 0x6a, 0x21, 0];
    let pair = [sum, sum_of_constant].concat();
    [&[1, 2, I32][..], &pair.repeat(bytes / pair.len()), &[END]].concat()
}

/// One function of half a MiB, which is translated at its first call.
pub(super) fn long_function() -> Vec<u8> {
    let body = long_body(500_000);
    Encoder::new().types(&[func_type(0, 0)]).functions(&[0]).export_run(0).code(&[body]).finish()
}

/// Code whose translation the heap has room for.
const CODE_BYTES: usize = 2_000_000;

/// `count` functions of this body, of which the first is exported.
fn functions_of(body: &[u8], count: usize) -> Vec<u8> {
    let bodies: Vec<_> = (0..count).map(|_| body.to_vec()).collect();
    let types: Vec<u32> = bodies.iter().map(|_| 0).collect();
    Encoder::new().types(&[func_type(0, 0)]).functions(&types).export_run(0).code(&bodies).finish()
}

/// As much code as a module may have, whose translation does not fit into the heap.
pub(super) fn too_much_code() -> Vec<u8> {
    let body = long_body(500_000);
    functions_of(&body, (8 << 20) / (body.len() + 8) - 1)
}

/// Much code.
pub(super) fn most_code() -> Vec<u8> {
    let body = long_body(50_000);
    functions_of(&body, CODE_BYTES / body.len())
}

/// The same with as many tables as a module may have, and a function that grows a memory. The
/// engine validates it a second time.
pub(super) fn most_code_with_tables() -> Vec<u8> {
    let body = long_body(50_000);
    // (drop (memory.grow (i32.const 0)))
    let grow = alloc::vec![0, 0x41, 0, 0x40, 0, DROP, END];
    let bodies: Vec<_> = (1..CODE_BYTES / body.len()).map(|_| body.clone()).chain([grow]).collect();
    let types: Vec<u32> = bodies.iter().map(|_| 0).collect();
    let tables: Vec<_> = (0..100).map(|_| table(1, 2)).collect();
    Encoder::new()
        .types(&[func_type(0, 0)])
        .functions(&types)
        .section(4, &vector(tables.iter()))
        .section(5, &[1, 0, 1])
        .export_run(0)
        .code(&bodies)
        .finish()
}

/// Calls of all functions for the first time. They consist of calls, which take the most heap when
/// they are translated: 1.8 MB.
pub(super) fn first_calls() -> Vec<u8> {
    // Skipped when it runs: (block (br_if 0 (i32.eqz (local.get 0))) ...)
    let skipped = [0x02, VOID, 0x20, 0, 0x45, 0x0d, 0];
    let body = [&[1, 1, I32][..], &skipped, &[CALL, 0].repeat(25_000), &[END, END]].concat();
    let count = 160_000 / body.len();
    let calls = (1..=count).flat_map(|index| {
        [&[CALL][..], &number(u32::try_from(index).expect("there are few functions"))].concat()
    });
    let mut bodies = alloc::vec![[&[0][..], &calls.collect::<Vec<_>>(), &[END]].concat()];
    bodies.extend((0..count).map(|_| body.clone()));
    let types: Vec<u32> = bodies.iter().map(|_| 0).collect();
    Encoder::new().types(&[func_type(0, 0)]).functions(&types).export_run(0).code(&bodies).finish()
}

/// A cheap loop again and again, and after each one many rounds of `expensive`, in a function with
/// one local. `others` are the bodies of further functions, of type 0.
fn lulls(types: &[Vec<u8>], expensive: &[u8], others: &[Vec<u8>]) -> Vec<u8> {
    // (local.set 0 (i32.const rounds))
    // (loop body (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
    let repeat = |rounds: u32, body: &[u8]| {
        let count_down = [0x20, 0, 0x41, 1, 0x6b, 0x22, 0, 0x0d, 0, END];
        [&[0x41][..], &signed(rounds), &[0x21, 0, 0x03, VOID], body, &count_down].concat()
    };
    let rounds = [repeat(200_000, &[]), repeat(200_000, expensive)].concat();
    let run = [&[1, 1, I32, 0x03, VOID][..], &rounds, &[0x0c, 0, END, END]].concat();
    let mut bodies = alloc::vec![run];
    bodies.extend_from_slice(others);
    let functions: Vec<u32> = bodies.iter().map(|_| 0).collect();
    Encoder::new().types(types).functions(&functions).export_run(0).code(&bodies).finish()
}

/// Calls of a function with as many locals as it may have.
pub(super) fn lull_and_wide_frames() -> Vec<u8> {
    let callee = [&[1][..], &number(10_000), &[I32], &[END]].concat();
    lulls(&[func_type(0, 0)], &[CALL, 1], &[callee])
}

/// Branches that carry many operands.
pub(super) fn lull_and_wide_branches() -> Vec<u8> {
    // (block (type 1) constants (br_if 0 (local.get 0)) drops and constants) drops
    let (constants, drops) = (I32_CONST_0.repeat(OPERANDS), [DROP].repeat(OPERANDS));
    let block = [&[0x02, 1][..], &constants, &[0x20, 0, 0x0d, 0, END], &drops].concat();
    lulls(&[func_type(0, 0), func_type(0, OPERANDS)], &block, &[])
}

/// As many functions as a module may have, all short.
pub(super) fn most_functions() -> Vec<u8> {
    const FUNCTIONS: usize = 19_999;
    let bodies: Vec<_> = (0..FUNCTIONS).map(|_| alloc::vec![0, 0x01, END]).collect();
    Encoder::new().types(&[func_type(0, 0)]).functions(&[0; FUNCTIONS]).export_run(0).code(&bodies).finish()
}

/// As many globals as a module may have.
pub(super) fn most_globals() -> Vec<u8> {
    const GLOBALS: usize = 19_999;
    let global = [&[I32, 1][..], &I32_CONST_0, &[END]].concat();
    Encoder::new()
        .types(&[func_type(0, 0)])
        .functions(&[0])
        .section(6, &vector((0..GLOBALS).map(|_| &global)))
        .export_run(0)
        .code(&[alloc::vec![0, END]])
        .finish()
}

/// As many types as a module may have, each with many parameters.
pub(super) fn most_types() -> Vec<u8> {
    const TYPES: usize = 1_000;
    let mut types = alloc::vec![func_type(0, 0)];
    types.extend((1..TYPES).map(|count| func_type(count % 1_000, 0)));
    Encoder::new().types(&types).functions(&[0]).export_run(0).code(&[alloc::vec![0, END]]).finish()
}

/// A table type with these bounds.
fn table(initial: u32, maximum: u32) -> Vec<u8> {
    [&[FUNCREF, 1][..], &number(initial), &number(maximum)].concat()
}

/// A module with `count` tables of `initial` elements, whose `run` grows each of them by `delta`
/// again and again until that is refused.
fn tables(count: u32, initial: u32, delta: u32) -> Vec<u8> {
    // (loop (br_if 0 (i32.ne (table.grow t (ref.null func) delta) -1)))
    let grow = |index: u32| {
        let delta = [&[0x41][..], &signed(delta)].concat();
        [
            &[0x03, VOID, 0xd0, FUNCREF][..],
            &delta,
            &[0xfc, 0x0f],
            &number(index),
            &[0x41, 0x7f, 0x47, 0x0d, 0, END],
        ]
        .concat()
    };
    let body = [&[0][..], &(0..count).flat_map(grow).collect::<Vec<_>>(), &[END]].concat();
    let tables: Vec<_> = (0..count).map(|_| table(initial, 1 << 17)).collect();
    Encoder::new()
        .types(&[func_type(0, 0)])
        .functions(&[0])
        .section(4, &vector(tables.iter()))
        .export_run(0)
        .code(&[body])
        .finish()
}

/// Many tables that grow to their maximum.
pub(super) fn growing_tables() -> Vec<u8> {
    tables(90, 0, 1 << 13)
}

/// As many tables as the interpreter itself allows, which only start.
pub(super) fn hundred_tables() -> Vec<u8> {
    let tables: Vec<_> = (0..100).map(|_| table(1, 2)).collect();
    Encoder::new()
        .types(&[func_type(0, 0)])
        .functions(&[0])
        .section(4, &vector(tables.iter()))
        .section(5, &[1, 0, 1])
        .export_run(0)
        // (drop (memory.grow (i32.const 0)))
        .code(&[alloc::vec![0, 0x41, 0, 0x40, 0, DROP, END]])
        .finish()
}

/// Many tables that are large from the start.
pub(super) fn large_tables() -> Vec<u8> {
    tables(90, 1 << 17, 1)
}

/// As many memories as a store may have.
pub(super) fn most_memories() -> Vec<u8> {
    let memory = [0, 1];
    Encoder::new()
        .types(&[func_type(0, 0)])
        .functions(&[0])
        .section(5, &vector((0..64).map(|_| &memory)))
        .export_run(0)
        .code(&[alloc::vec![0, 0x41, 0, 0x40, 0, DROP, END]])
        .finish()
}

/// 7 MiB of data in pieces, each in another page, so that an image of it has many frames.
pub(super) fn scattered_data() -> Vec<u8> {
    const PIECES: u32 = 8_000;
    const PIECE_BYTES: usize = 900;
    let piece =
        |index: u32| [&[0, 0x41][..], &signed(index << 12), &[END], &counted(&[7; PIECE_BYTES])].concat();
    let pieces: Vec<_> = (0..PIECES).map(piece).collect();
    Encoder::new()
        .types(&[func_type(0, 0)])
        .functions(&[0])
        .section(5, &[&[1, 0][..], &number(512)].concat())
        .export_run(0)
        .code(&[alloc::vec![0, 0x03, VOID, 0x0c, 0, END, END]])
        .section(11, &vector(pieces.iter()))
        .finish()
}
