//! `random_get`.

use wasip1::ERRNO_IO;

use super::{Answer, Next};
use crate::{
    memory::{BYTES_PER_UNIT, GuestMemory, Pointer, Turn},
    wasi::Wasi,
};

/// The largest number of bytes that the embedder is requested at once, and that one call of a task
/// fills.
const PIECE_BYTES: u32 = 64 << 10;

/// Fills the buffer, in pieces.
///
/// In a task each piece is a call. Otherwise the guest must be able to pay for all of them.
pub(crate) fn random_get(wasi: &mut Wasi, memory: &mut GuestMemory<'_>, buffer: Pointer, len: u32) -> Answer {
    let random = wasi.random()?;
    let mut left = memory.buffer(buffer, len)?;
    match memory.turn() {
        Turn::Divided if len > PIECE_BYTES => {
            let piece = left.split_off_start(PIECE_BYTES as usize);
            random.fill(memory.get_mut(&piece)).map_err(|_| ERRNO_IO)?;
            return Ok(Next::Again([buffer + PIECE_BYTES, len - PIECE_BYTES]));
        }
        Turn::Whole { units } if units < u64::from(len) / BYTES_PER_UNIT => return Ok(Next::OutOfFuel),
        Turn::Divided | Turn::Whole { .. } => {}
    }
    while left.len() > 0 {
        let piece = left.split_off_start(PIECE_BYTES as usize);
        random.fill(memory.get_mut(&piece)).map_err(|_| ERRNO_IO)?;
    }
    Ok(Next::Return)
}
