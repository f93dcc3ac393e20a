//! Step 6: LodePNG, a program compiled by others, encodes and decodes a picture.

use alloc::vec::Vec;
use kernel_demo::{Machine, println};
use palimpsest_protocol::files;

use super::{Program, TourError, doing, must_be};

/// The width and height of the picture, in pixels of 4 bytes.
const SIDE: u32 = 512;

/// The size of a Wasm page in bytes.
const WASM_PAGE: u32 = 65_536;

/// A block of the guest's heap.
#[derive(Clone, Copy)]
struct Block {
    start: u32,
    len: u32,
}

/// Returns the program, or None if the module is not in the boot archive.
pub(super) fn step_6(machine: &Machine) -> Result<Option<Program>, TourError> {
    let Some(wasm) = machine.file(files::LODEPNG) else {
        println!(
            "6. a real program: lodepng.wasm is not here (it is fetched from npm); this step is left out"
        );
        return Ok(None);
    };
    println!("6. a real program: lodepng.wasm, {} bytes, as npm has it", wasm.len());
    let mut program = Program::start(machine, wasm)?;
    let picture = picture();
    let png = encode(&mut program, &picture)?;
    let pixels = decode(&mut program, png, &picture)?;
    println!("   {SIDE} x {SIDE} pixels come back equal out of {} bytes of PNG", png.len);
    clear(machine, &mut program, pixels)?;
    decode(&mut program, png, &picture)?;
    println!("   and it decodes the picture again, to the same pixels");
    Ok(Some(program))
}

/// Encodes `picture`, and returns the guest's block with the PNG.
fn encode(program: &mut Program, picture: &[u8]) -> Result<Block, TourError> {
    let input = allocate(program, picture)?;
    let words = allocate(program, &[0; 8])?;
    let at = words.start;
    let status: u32 = program.call("lodepng_encode32", (at, at + 4, input.start, SIDE, SIDE))?;
    must_be("what lodepng_encode32 answers", status.into(), 0)?;
    let png = Block { start: word(program, at)?, len: word(program, at + 4)? };
    free(program, &[input, words])?;
    Ok(png)
}

/// Decodes `png` and compares it with `picture`. Returns the guest's block with the pixels, freed.
fn decode(program: &mut Program, png: Block, picture: &[u8]) -> Result<Block, TourError> {
    let words = allocate(program, &[0; 12])?;
    let at = words.start;
    let status: u32 = program.call("lodepng_decode32", (at, at + 4, at + 8, png.start, png.len))?;
    must_be("what lodepng_decode32 answers", status.into(), 0)?;
    must_be("the width that comes back", word(program, at + 4)?.into(), SIDE.into())?;
    must_be("the height that comes back", word(program, at + 8)?.into(), SIDE.into())?;
    let pixels = Block { start: word(program, at)?, len: SIDE * SIDE * 4 };
    let bytes = program.memory()?.data(&program.store);
    let decoded = bytes.iter().skip(pixels.start as usize).take(pixels.len as usize);
    let wrong = decoded.zip(picture).filter(|(byte, original)| byte != original).count();
    must_be("bytes of pixels that changed", wrong as u64, 0)?;
    free(program, &[words, pixels])?;
    Ok(pixels)
}

fn free(program: &mut Program, blocks: &[Block]) -> Result<(), TourError> {
    blocks.iter().try_for_each(|block| program.call::<u32, ()>("free", block.start))
}

/// Clears the Wasm pages of a block that the program has freed. Omits the first and the last page,
/// because the program's `malloc` keeps its data about the free block there.
fn clear(machine: &Machine, program: &mut Program, freed: Block) -> Result<(), TourError> {
    let memory = program.memory()?;
    let before = memory.residency(&program.store).resident_frames;
    let free = machine.frames().free_frames();
    let first = freed.start / WASM_PAGE + 1;
    let count = (freed.start + freed.len) / WASM_PAGE - first;
    let cleared = memory.clear_pages(&mut program.store, first.into(), count.into());
    let cleared = doing("clearing what was freed", cleared)?;
    println!("   {} of {before} resident frames released, of what it has freed", cleared.frames_released);
    let expected = free + cleared.frames_released + cleared.tables_released;
    must_be("free frames after the clear", machine.frames().free_frames(), expected)?;
    must_be("frames of the cleared Wasm pages", cleared.frames_released, u64::from(count) * 16)
}

/// Copies `bytes` into a new block of the guest's heap.
fn allocate(program: &mut Program, bytes: &[u8]) -> Result<Block, TourError> {
    let len = u32::try_from(bytes.len()).expect("the picture is 1 MiB");
    let start: u32 = program.call("malloc", len)?;
    let written = program.memory()?.write(&mut program.store, start as usize, bytes);
    doing("writing what malloc gave", written)?;
    Ok(Block { start, len })
}

/// Reads a little-endian word of the guest.
fn word(program: &Program, address: u32) -> Result<u32, TourError> {
    let mut bytes = [0; 4];
    let read = program.memory()?.read(&program.store, address as usize, &mut bytes);
    doing("reading a result", read)?;
    Ok(u32::from_le_bytes(bytes))
}

/// Returns a picture with smooth areas and with noise.
fn picture() -> Vec<u8> {
    let mut noise = 1_u32;
    let pixel = |n: u32| {
        let x = n % SIDE;
        let y = n / SIDE;
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let grain = if y < SIDE / 2 { 0 } else { noise >> 28 };
        [x / 2, y / 2, (x ^ y) + grain, 255].map(|channel| channel.to_le_bytes()[0])
    };
    (0..SIDE * SIDE).flat_map(pixel).collect()
}
