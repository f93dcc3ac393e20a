//! Steps 1 to 4: 4 GiB that use no frames, a thousand pages, and a clear that releases all of them.

use kernel_demo::{Machine, clock, println};

use super::{Program, TourError, must_be};

const WASM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/sparse.wasm"));

/// The number of pages that are written, and of others that are read.
const PAGES: u32 = 1_000;
/// The distance from a written page to one that is not, in bytes. It is in the next page table.
const ELSEWHERE: u32 = 2 << 20;
/// The size of the whole memory in Wasm pages.
const ALL: u32 = 65_536;

pub(super) fn steps_1_to_4(machine: &Machine) -> Result<Program, TourError> {
    let mut program = instantiate(machine)?;
    let free_when_new = machine.frames().free_frames();
    write(&mut program)?;
    read(machine, &mut program)?;
    clear(machine, &mut program, free_when_new)?;
    Ok(program)
}

fn instantiate(machine: &Machine) -> Result<Program, TourError> {
    println!("1. (memory 65536 65536): 4 GiB");
    let before = clock::ticks();
    let program = Program::start(machine, WASM)?;
    let ticks = clock::ticks() - before;
    let held = program.memory()?.residency(&program.store);
    println!(
        "   {} data frames, {} table frames; {ticks} ticks with engine and module",
        held.resident_frames, held.table_frames
    );
    must_be("data frames of a new memory", held.resident_frames, 0)?;
    must_be("table frames of a new memory", held.table_frames, 0)?;
    Ok(program)
}

fn write(program: &mut Program) -> Result<(), TourError> {
    println!("2. the guest writes one byte into each of {PAGES} scattered pages");
    program.call::<u32, ()>("write", PAGES)?;
    let held = program.memory()?.residency(&program.store);
    println!("   {} data frames, {} table frames", held.resident_frames, held.table_frames);
    must_be("data frames", held.resident_frames, PAGES.into())
}

fn read(machine: &Machine, program: &mut Program) -> Result<(), TourError> {
    println!("3. it reads {PAGES} other pages");
    let free = machine.frames().free_frames();
    let sum: u32 = program.call("sum", (PAGES, ELSEWHERE))?;
    let held = program.memory()?.residency(&program.store);
    let taken = free - machine.frames().free_frames();
    println!("   sum of the bytes {sum}; {taken} frames more, all of them tables");
    must_be("sum of untouched bytes", sum.into(), 0)?;
    must_be("data frames", held.resident_frames, PAGES.into())
}

fn clear(machine: &Machine, program: &mut Program, free_when_new: u64) -> Result<(), TourError> {
    println!("4. it calls clear_pages(0, {ALL})");
    let before = program.memory()?.residency(&program.store);
    let status: u32 = program.call("clear", (0_u32, ALL))?;
    let after = program.memory()?.residency(&program.store);
    println!(
        "   {} data frames and {} table frames released; {} frames free, as many as in step 1",
        after.frames_released - before.frames_released,
        before.table_frames - after.table_frames,
        machine.frames().free_frames(),
    );
    must_be("what clear_pages answers", status.into(), 0)?;
    must_be("data frames released", after.frames_released - before.frames_released, PAGES.into())?;
    must_be("free frames", machine.frames().free_frames(), free_when_new)?;
    let sum: u32 = program.call("sum", (PAGES, 0_u32))?;
    must_be("sum of cleared bytes", sum.into(), 0)?;
    program.call::<u32, ()>("write", 1)?;
    let sum: u32 = program.call("sum", (1_u32, 0_u32))?;
    println!("   the pages read zero, and a write works again");
    must_be("the byte that was written again", sum.into(), 1)
}
