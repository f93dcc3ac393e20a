//! Step 5: `memory.grow` moves a limit.

use kernel_demo::{Machine, clock, println};

use super::{Program, TourError, must_be};

const WASM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/grow.wasm"));

/// Times each growth on an instance that has run before, and only after a first round. The first
/// run translates the function, and under TCG also the kernel's code.
pub(super) fn step_5(machine: &Machine) -> Result<Program, TourError> {
    println!("5. memory.grow from 1 Wasm page");
    timed_growth(machine, 1)?;
    timed_growth(machine, 65_535)?;
    let (_, by_one) = timed_growth(machine, 1)?;
    let (program, by_all) = timed_growth(machine, 65_535)?;
    let held = program.memory()?.residency(&program.store);
    println!("   by 1: {by_one} ticks; by 65535: {by_all} ticks; {} data frames", held.resident_frames);
    must_be("data frames of a grown memory", held.resident_frames, 0)?;
    Ok(program)
}

fn timed_growth(machine: &Machine, wasm_pages: u32) -> Result<(Program, u64), TourError> {
    let mut program = Program::start(machine, WASM)?;
    program.call::<u32, u32>("grow", 0)?;
    let before = clock::ticks();
    let old: u32 = program.call("grow", wasm_pages)?;
    let ticks = clock::ticks() - before;
    must_be("the size before", old.into(), 1)?;
    must_be("the size after", program.memory()?.size(&program.store), u64::from(wasm_pages) + 1)?;
    Ok((program, ticks))
}
