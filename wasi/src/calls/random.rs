//! Random numbers.

use wasip1::ERRNO_INVAL;

use super::{Answer, Next};
use crate::{
    memory::{GuestMemory, Pointer},
    wasi::Wasi,
};

/// The most bytes of one call: they cannot be fewer than the guest asks for, as a transfer can.
const RANDOM_BYTES_MAX: u32 = 16 << 20;

/// Fills the buffer; above 16 MiB it is `EINVAL`.
pub(crate) fn random_get(wasi: &mut Wasi, memory: &mut GuestMemory<'_>, buffer: Pointer, len: u32) -> Answer {
    let random = wasi.random()?;
    let buffer = memory.buffer(buffer, len)?;
    if len > RANDOM_BYTES_MAX {
        return Err(ERRNO_INVAL);
    }
    random.fill(memory.get_mut(&buffer));
    Ok(Next::Return)
}
