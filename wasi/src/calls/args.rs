//! Arguments and environment: two lists of strings, passed to the guest in the same way.

use alloc::vec::Vec;
use wasip1::{ERRNO_OVERFLOW, Errno};

use super::{Answer, Next};
use crate::{
    layout::SIZE_BYTES,
    memory::{GuestMemory, Pointer},
    wasi::Wasi,
};

pub(crate) fn args_get(
    wasi: &mut Wasi,
    memory: &mut GuestMemory<'_>,
    argv: Pointer,
    buffer: Pointer,
) -> Answer {
    strings(memory, &wasi.args, argv, buffer)
}

pub(crate) fn args_sizes_get(
    wasi: &mut Wasi,
    memory: &mut GuestMemory<'_>,
    count: Pointer,
    bytes: Pointer,
) -> Answer {
    sizes(memory, &wasi.args, count, bytes)
}

pub(crate) fn environ_get(
    wasi: &mut Wasi,
    memory: &mut GuestMemory<'_>,
    environ: Pointer,
    buffer: Pointer,
) -> Answer {
    strings(memory, &wasi.environ, environ, buffer)
}

pub(crate) fn environ_sizes_get(
    wasi: &mut Wasi,
    memory: &mut GuestMemory<'_>,
    count: Pointer,
    bytes: Pointer,
) -> Answer {
    sizes(memory, &wasi.environ, count, bytes)
}

/// Writes each string followed by a NUL, and an array of pointers to the strings.
fn strings(memory: &mut GuestMemory<'_>, strings: &[Vec<u8>], pointers: Pointer, buffer: Pointer) -> Answer {
    let (count, bytes) = totals(strings)?;
    let array = memory.buffer(pointers, count.checked_mul(SIZE_BYTES).ok_or(ERRNO_OVERFLOW)?)?;
    let text = memory.buffer(buffer, bytes)?;
    let mut start = buffer;
    let mut starts = Vec::with_capacity(array.len());
    let mut joined = Vec::with_capacity(text.len());
    for string in strings {
        starts.extend(start.to_le_bytes());
        joined.extend_from_slice(string);
        joined.push(0);
        start = start.wrapping_add(string_bytes(string)?);
    }
    memory.put(&text, &joined);
    memory.put(&array, &starts);
    Ok(Next::Return)
}

fn sizes(memory: &mut GuestMemory<'_>, strings: &[Vec<u8>], count: Pointer, bytes: Pointer) -> Answer {
    let totals = totals(strings)?;
    let count = memory.buffer(count, SIZE_BYTES)?;
    let bytes = memory.buffer(bytes, SIZE_BYTES)?;
    memory.put(&count, &totals.0.to_le_bytes());
    memory.put(&bytes, &totals.1.to_le_bytes());
    Ok(Next::Return)
}

/// Returns the number of strings, and their size in bytes including the NULs.
fn totals(strings: &[Vec<u8>]) -> Result<(u32, u32), Errno> {
    let count = u32::try_from(strings.len()).map_err(|_| ERRNO_OVERFLOW)?;
    let mut sum = 0_u32;
    for string in strings {
        sum = sum.checked_add(string_bytes(string)?).ok_or(ERRNO_OVERFLOW)?;
    }
    Ok((count, sum))
}

fn string_bytes(string: &[u8]) -> Result<u32, Errno> {
    u32::try_from(string.len() + 1).map_err(|_| ERRNO_OVERFLOW)
}
