//! `random_get`.

use super::{Answer, Next};
use crate::{
    memory::{GuestMemory, Pointer},
    wasi::Wasi,
};

/// The largest number of bytes that the embedder is requested at once.
const PIECE_BYTES: usize = 64 << 10;

/// Fills the buffer, in pieces.
pub(crate) fn random_get(wasi: &mut Wasi, memory: &mut GuestMemory<'_>, buffer: Pointer, len: u32) -> Answer {
    let random = wasi.random()?;
    let mut left = memory.buffer(buffer, len)?;
    while left.len() > 0 {
        let piece = left.split_off_start(PIECE_BYTES);
        random.fill(memory.get_mut(&piece));
    }
    Ok(Next::Return)
}
