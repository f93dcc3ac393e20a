//! `random_get`.

use wasip1::ERRNO_INVAL;

use super::{Answer, Next};
use crate::{
    memory::{GuestMemory, Pointer},
    wasi::Wasi,
};

/// The limit of bytes in one call. Unlike a read, this call cannot return fewer than requested.
const RANDOM_BYTES_MAX: u32 = 16 << 20;

/// Fills the buffer. Returns `EINVAL` for more than 16 MiB.
pub(crate) fn random_get(wasi: &mut Wasi, memory: &mut GuestMemory<'_>, buffer: Pointer, len: u32) -> Answer {
    let random = wasi.random()?;
    let buffer = memory.buffer(buffer, len)?;
    if len > RANDOM_BYTES_MAX {
        return Err(ERRNO_INVAL);
    }
    random.fill(memory.get_mut(&buffer));
    Ok(Next::Return)
}
