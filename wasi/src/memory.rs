//! The guest's memory during one call. Every pointer and length is checked here.
//!
//! Pointers need no alignment. A range that ends beyond the memory is `EFAULT`. No allocation has a
//! size that the guest chose. A call checks all ranges and reads all inputs before it writes.
//! Overlapping buffers are filled in the order of their vector, and results are written last. The
//! bytes that a call reads and writes determine its price in fuel.

use alloc::vec::Vec;
use core::{cell::Cell, mem, ops::Range, str};
use wasip1::{ERRNO_FAULT, ERRNO_ILSEQ, ERRNO_INVAL, ERRNO_NAMETOOLONG, Errno};

/// A pointer of the guest.
pub(crate) type Pointer = u32;

/// The limit of vectors in one call: `IOV_MAX` on most systems.
const VECTORS_MAX: u32 = 1024;

/// The size of an `iovec` or `ciovec` of a 32-bit guest: a pointer and a length.
const VECTOR_BYTES: u32 = 8;

/// The limit of bytes in a path: `PATH_MAX` on most systems.
const PATH_MAX: u32 = 4096;

/// The number of bytes that one unit of fuel pays for.
pub(crate) const BYTES_PER_UNIT: u64 = 64;

/// How much of its work a call may do at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// A bounded part. A task makes the call again for the rest.
    Divided,
    /// All of it, if the guest has enough units of fuel.
    Whole { units: u64 },
}

/// The memory that the calling guest exports.
#[derive(Debug)]
pub(crate) struct GuestMemory<'a> {
    bytes: &'a mut [u8],
    turn: Turn,
    /// The number of bytes that were read or written.
    transferred: Cell<u64>,
}

/// A checked range of a [`GuestMemory`].
#[derive(Debug)]
pub(crate) struct Buffer(Range<usize>);

impl Buffer {
    /// Returns the number of bytes.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Splits off the first `len` bytes, or all if there are fewer.
    pub(crate) fn split_off_start(&mut self, len: usize) -> Self {
        let middle = self.0.end.min(self.0.start.saturating_add(len));
        let start = mem::replace(&mut self.0.start, middle);
        Self(start..middle)
    }

    /// Keeps only the first `len` bytes.
    fn truncate(&mut self, len: usize) {
        self.0.end = self.0.end.min(self.0.start.saturating_add(len));
    }
}

impl<'a> GuestMemory<'a> {
    pub(crate) fn new(bytes: &'a mut [u8], turn: Turn) -> Self {
        Self { bytes, turn, transferred: Cell::new(0) }
    }

    /// Returns how much of its work the call may do.
    pub(crate) fn turn(&self) -> Turn {
        self.turn
    }

    /// Returns the price of the call so far, in units of fuel.
    pub(crate) fn units(&self) -> u64 {
        1 + self.transferred.get() / BYTES_PER_UNIT
    }

    /// Returns the range of `len` bytes at `start`. An empty range at the end of the memory is
    /// valid.
    ///
    /// # Errors
    ///
    /// `EFAULT` if it ends beyond the memory.
    pub(crate) fn buffer(&self, start: Pointer, len: u32) -> Result<Buffer, Errno> {
        let range = usize::try_from(start).ok().zip(usize::try_from(len).ok());
        let (start, len) = range.ok_or(ERRNO_FAULT)?;
        let end = start.checked_add(len).filter(|&end| end <= self.bytes.len()).ok_or(ERRNO_FAULT)?;
        Ok(Buffer(start..end))
    }

    /// Returns the bytes of a range.
    pub(crate) fn get(&self, buffer: &Buffer) -> &[u8] {
        self.transferred.set(self.transferred.get() + buffer.len() as u64);
        &self.bytes[buffer.0.clone()]
    }

    /// Returns the bytes of a range for writing.
    pub(crate) fn get_mut(&mut self, buffer: &Buffer) -> &mut [u8] {
        self.transferred.set(self.transferred.get() + buffer.len() as u64);
        &mut self.bytes[buffer.0.clone()]
    }

    /// Writes a result, truncated to the range.
    pub(crate) fn put(&mut self, buffer: &Buffer, value: &[u8]) {
        let start = buffer.0.start;
        let written = Buffer(start..start + value.len().min(buffer.len()));
        for (to, from) in self.get_mut(&written).iter_mut().zip(value) {
            *to = *from;
        }
    }

    /// Returns a path.
    ///
    /// # Errors
    ///
    /// `EFAULT`; `ENAMETOOLONG` above 4096 bytes; `EILSEQ` if it is not UTF-8; `EINVAL` if it
    /// contains a NUL.
    pub(crate) fn path(&self, start: Pointer, len: u32) -> Result<&str, Errno> {
        let buffer = self.buffer(start, len)?;
        if len > PATH_MAX {
            return Err(ERRNO_NAMETOOLONG);
        }
        let path = str::from_utf8(self.get(&buffer)).map_err(|_| ERRNO_ILSEQ)?;
        if path.contains('\0') { Err(ERRNO_INVAL) } else { Ok(path) }
    }

    /// Returns the ranges of `count` vectors at `start`, truncated to `limit` bytes in total. The
    /// truncation makes the transfer a short one.
    ///
    /// # Errors
    ///
    /// `EFAULT` if the vectors or one of their ranges end beyond the memory; `EINVAL` for more than
    /// 1024 vectors, or if the sum of their lengths does not fit into a `size`.
    pub(crate) fn vectors(&self, start: Pointer, count: u32, limit: usize) -> Result<Vec<Buffer>, Errno> {
        if count > VECTORS_MAX {
            return Err(ERRNO_INVAL);
        }
        let array = self.buffer(start, count * VECTOR_BYTES)?;
        let mut buffers = Vec::new();
        let mut sum = 0_u32;
        let mut room = limit;
        for vector in self.get(&array).chunks_exact(VECTOR_BYTES as usize) {
            let start = u32_at(vector, 0);
            let len = u32_at(vector, 4);
            sum = sum.checked_add(len).ok_or(ERRNO_INVAL)?;
            let mut buffer = self.buffer(start, len)?;
            buffer.truncate(room);
            room -= buffer.len();
            if buffer.len() > 0 {
                buffers.push(buffer);
            }
        }
        Ok(buffers)
    }
}

/// Returns the little-endian number at `offset` of a record.
///
/// # Panics
///
/// Panics if the number ends beyond the record. Both are constants of the caller.
pub(crate) fn u32_at(record: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(array_at(record, offset))
}

/// Returns the little-endian number at `offset` of a record.
///
/// # Panics
///
/// Panics if the number ends beyond the record. Both are constants of the caller.
pub(crate) fn u64_at(record: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(array_at(record, offset))
}

fn array_at<const N: usize>(record: &[u8], offset: usize) -> [u8; N] {
    let field = record.get(offset..).and_then(|rest| rest.first_chunk());
    *field.expect("a field is inside its record")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_inside_up_to_the_last_byte() {
        let mut bytes = [0; 100];
        let memory = GuestMemory::new(&mut bytes, Turn::Divided);
        assert_eq!(memory.buffer(0, 100).map(|buffer| buffer.len()), Ok(100));
        assert_eq!(memory.buffer(100, 0).map(|buffer| buffer.len()), Ok(0));
        for (start, len) in [(101, 0), (100, 1), (0, 101), (u32::MAX, 1), (1, u32::MAX), (u32::MAX, u32::MAX)]
        {
            assert_eq!(memory.buffer(start, len).err(), Some(ERRNO_FAULT), "{start} {len}");
        }
    }

    #[test]
    fn vectors_are_cut_at_the_limit() {
        let mut bytes = [0; 100];
        for (at, value) in [(0, 40), (4, 10), (8, 50), (12, 0), (16, 50), (20, 10), (24, 60), (28, 10)] {
            bytes[at] = value;
        }
        let memory = GuestMemory::new(&mut bytes, Turn::Divided);
        let lens = |limit| memory.vectors(0, 4, limit).unwrap_or_default().iter().map(Buffer::len).collect();
        assert_eq!(
            (lens(100), lens(15), lens(10)),
            (Vec::from([10, 10, 10]), Vec::from([10, 5]), Vec::from([10]))
        );
    }

    #[test]
    fn vectors_that_no_call_can_mean_are_refused() {
        let mut bytes = [0xFF; 64];
        bytes[..12].copy_from_slice(&[20, 0, 0, 0, 4, 0, 0, 0, 20, 0, 0, 0]);
        let memory = GuestMemory::new(&mut bytes, Turn::Divided);
        let error = |start, count| memory.vectors(start, count, usize::MAX).err();
        // The second length is 2^32 - 1. It is out of bounds, and added to the first it overflows.
        assert_eq!((error(8, 1), error(0, 2)), (Some(ERRNO_FAULT), Some(ERRNO_INVAL)));
        assert_eq!((error(0, 1025), error(0, 1024)), (Some(ERRNO_INVAL), Some(ERRNO_FAULT)));
    }
}
